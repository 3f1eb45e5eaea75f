//! Bugs put in on purpose, so that tests can prove that the simulator finds them. Without the feature `test-faults` every
//! question here is a constant `false`.

/// A bug that a test can switch on for its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Clients are answered before the entry is on disk.
    AnswerBeforeSync,
    /// An entry is applied a second time after a restart.
    ApplyTwice,
    /// A handle works although its lease has ended or a later receive replaced it.
    StaleLease,
    /// A replica that lost synced data votes on.
    VoteAfterLostDisk,
    /// Overwriting a log index leaves the rows of the old tail behind.
    KeptRowsAfterTruncation,
    /// Bodies are read from entries that are not committed.
    ReadUncommittedBody,
    /// Messages move to the dead-letter queue one receive too late.
    DeadLetterLate,
    /// A message group hands out messages while others of it are in flight.
    GroupUnlocked,
    /// Deduplication ids are forgotten after half their window.
    ShortDeduplication,
    /// A checkpoint leaves out the records of messages in flight.
    CheckpointWithoutRecords,
    /// Bodies are deleted when their message is handed out.
    BodyDeletedEarly,
    /// A vote is sent before it is on disk.
    VoteBeforeSync,
    /// A snapshot leaves out the last page of bodies.
    ShortSnapshot,
    /// Bodies of finished messages stay on disk.
    KeptBodies,
    /// A receive that waits is forgotten when another one waits already.
    ForgottenWaiter,
    /// Leases end half a second early.
    LeaseEndsEarly,
    /// A message that moves to the dead-letter queue gets lost on the way.
    LostDeadLetter,
    /// A message that moved to the dead-letter queue comes back by a rewind, too.
    RewindMoved,
    /// Deleted messages are out of reach after a restart.
    RewindForgets,
    /// A rewind happens again with every later change of the queue.
    RewindAgain,
    /// A purge leaves the messages where they are.
    PurgeLeaves,
    /// A message in flight that an operator removes comes back when its lease ends.
    RemovedComesBack,
    /// A message that an operator returns stays hidden until its time.
    ReturnedHides,
    /// A closed queue takes messages.
    ClosedTakes,
    /// A closed queue is found empty on shards that do not know yet that it is closed.
    ClosingUnfenced,
    /// A queue that is to be retained goes with its messages.
    RetainDeletes,
}

impl Fault {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::AnswerBeforeSync,
        Self::ApplyTwice,
        Self::StaleLease,
        Self::VoteAfterLostDisk,
        Self::KeptRowsAfterTruncation,
        Self::ReadUncommittedBody,
        Self::DeadLetterLate,
        Self::GroupUnlocked,
        Self::ShortDeduplication,
        Self::CheckpointWithoutRecords,
        Self::BodyDeletedEarly,
        Self::VoteBeforeSync,
        Self::ShortSnapshot,
        Self::KeptBodies,
        Self::ForgottenWaiter,
        Self::LeaseEndsEarly,
        Self::LostDeadLetter,
        Self::RewindMoved,
        Self::RewindForgets,
        Self::RewindAgain,
        Self::PurgeLeaves,
        Self::RemovedComesBack,
        Self::ReturnedHides,
        Self::ClosedTakes,
        Self::ClosingUnfenced,
        Self::RetainDeletes,
    ];
}

#[cfg(feature = "test-faults")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Switches one bug on for this thread, or all off.
#[cfg(feature = "test-faults")]
pub fn activate(fault: Option<Fault>) {
    ACTIVE.set(fault);
}

/// Whether the bug is switched on.
#[cfg(feature = "test-faults")]
pub fn is_active(fault: Fault) -> bool {
    ACTIVE.get() == Some(fault)
}

/// Whether the bug is switched on: never, in a build without the feature.
#[cfg(not(feature = "test-faults"))]
#[inline(always)]
pub const fn is_active(_: Fault) -> bool {
    false
}
