//! What a run did, counted by kind, so that a campaign can show that nothing was left out.

use std::fmt;

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All kinds, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        }
    };
}

kinds! {
    /// What is done to a broker.
    Blow {
        /// The process ends; the operating system keeps what it was given.
        Kill => "process killed",
        /// A node loses power, and with it what was not synced.
        PowerCut => "power cut",
        /// A node loses power while a batch is being written.
        TornWrite => "torn write",
        /// A node loses power between saying what is to be done and doing it.
        MidTurn => "crash in the middle of a turn",
        /// All nodes lose power at the same moment.
        PowerCutAll => "power cut everywhere",
        /// A process is asked to stop.
        Stop => "graceful stop",
        /// A node loses power, and synced batches with it. It stays out.
        LostSynced => "synced writes lost",
        /// Syncs take long for a while.
        SlowSync => "slow sync",
        /// A page of the disk cannot be read any more. Whoever reads it stays out.
        DamagedPage => "damaged page",
        /// There is no room for more messages for a while.
        DiskFull => "disk full",
        /// A write fails for lack of room: the process ends, and starts again when there is room.
        OutOfSpace => "write without room",
        /// The network falls into two parts.
        Partition => "partition",
        /// One node is heard by nobody, or hears nobody.
        AsymmetricPartition => "asymmetric partition",
        /// Many messages get lost for a while.
        Loss => "spell of loss",
        /// Many messages arrive twice for a while.
        Duplication => "spell of duplicates",
        /// Messages overtake each other for a while.
        Reordering => "spell of reordering",
        /// Messages take long for a while.
        Delay => "spell of delay",
        /// A wall clock jumps forward.
        ClockForward => "clock jumps forward",
        /// A wall clock jumps backward.
        ClockBackward => "clock jumps backward",
        /// A process stands still for a while.
        Pause => "process stands still",
    }
}

impl Blow {
    /// Whether it takes other replicas, to be cut off from or to go on without this one.
    pub fn needs_peers(self) -> bool {
        match self {
            Self::LostSynced | Self::DamagedPage | Self::Partition | Self::AsymmetricPartition => true,
            Self::Loss | Self::Duplication | Self::Reordering | Self::Delay => true,
            Self::Kill | Self::PowerCut | Self::TornWrite | Self::MidTurn | Self::PowerCutAll => false,
            Self::Stop | Self::SlowSync | Self::DiskFull | Self::OutOfSpace | Self::Pause => false,
            Self::ClockForward | Self::ClockBackward => false,
        }
    }
}

kinds! {
    /// What clients do.
    Deed {
        /// A queue is created.
        Create => "create a queue",
        /// A queue is declared, with what becomes of it when its owner withdraws.
        Declare => "declare a queue",
        /// The owner of a queue withdraws.
        Withdraw => "withdraw from a queue",
        /// A closed queue that was found empty is deleted.
        DeleteClosed => "delete a closed queue",
        /// A queue is deleted with what is in it.
        Remove => "delete a queue",
        /// One message to a standard queue.
        Send => "send",
        /// Several messages to a standard queue.
        SendBatch => "send a batch",
        /// With a delay.
        SendDelayed => "send with a delay",
        /// To a FIFO queue.
        SendFifo => "send to a group",
        /// With a deduplication id.
        SendDeduplicated => "send with a deduplication id",
        /// One message, without a wait.
        Receive => "receive",
        /// Several messages.
        ReceiveBatch => "receive a batch",
        /// With a wait.
        ReceiveWaiting => "receive with a wait",
        /// From a FIFO queue.
        ReceiveFifo => "receive from a FIFO queue",
        /// From a dead-letter queue.
        ReceiveDead => "receive dead letters",
        /// With a handle that was just received.
        Delete => "delete",
        /// Several handles.
        DeleteBatch => "delete a batch",
        /// With an old handle.
        DeleteStale => "delete with an old handle",
        /// With a handle that was never handed out.
        DeleteForeign => "delete with a foreign handle",
        /// Counts are asked for.
        Count => "count",
        /// Attributes of a queue that holds messages are changed.
        Change => "change attributes",
        /// All messages of a queue are dropped.
        Purge => "purge",
        /// Deleted messages are brought back.
        Rewind => "rewind",
        /// An operator removes a message.
        RemoveOne => "remove a message",
        /// An operator makes a message ready.
        ReturnOne => "return a message",
    }
}

kinds! {
    /// What was seen to happen.
    Sight {
        /// A message was handed out again.
        Redelivery => "message handed out again",
        /// A message came out of a dead-letter queue.
        DeadLetter => "dead letter handed out",
        /// A send was a duplicate.
        Duplicate => "duplicate recognized",
        /// A stale handle was refused.
        Refusal => "handle refused",
        /// A long poll got a message that came after it.
        LongPoll => "long poll served",
        /// An operation whose outcome nobody knows.
        Doubt => "outcome in doubt",
        /// A node began to lead a group.
        Election => "leader elected",
        /// A node recovered from its disk.
        Restart => "node restarted",
        /// The last page of a snapshot arrived.
        Snapshot => "snapshot sent",
        /// A node stopped because of its disk, and stayed out.
        Outcast => "replica out for good",
        /// A message that was deleted came out again after a rewind.
        CameBack => "deleted message came back",
        /// A message was removed by an operator.
        Removed => "message removed",
        /// A message was made ready by an operator.
        Returned => "message returned early",
        /// A closed queue refused a message.
        Closed => "send to a closed queue refused",
        /// A closed queue was deleted.
        ClosedGone => "closed queue deleted",
        /// Several requests went in one turn.
        Folding => "requests folded into one turn",
    }
}

/// Counts of a run, or of many.
#[derive(Clone, Debug)]
pub struct Tally {
    /// By kind of fault.
    pub blows: Vec<u64>,
    /// By kind of operation; an operation may be of several kinds.
    pub deeds: Vec<u64>,
    /// By what was seen.
    pub sights: Vec<u64>,
    /// Operations that were answered for certain.
    pub operations: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// Runs.
    pub runs: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            blows: vec![0; Blow::ALL.len()],
            deeds: vec![0; Deed::ALL.len()],
            sights: vec![0; Sight::ALL.len()],
            operations: 0,
            virtual_ms: 0,
            runs: 0,
        }
    }
}

impl Tally {
    /// Counts a fault.
    pub fn blow(&mut self, kind: Blow) {
        self.blows[kind as usize] += 1;
    }

    /// Counts an operation.
    pub fn deed(&mut self, kind: Deed) {
        self.deeds[kind as usize] += 1;
    }

    /// Counts something that was seen.
    pub fn sight(&mut self, kind: Sight) {
        self.sights[kind as usize] += 1;
    }

    /// Faults of all kinds.
    pub fn faults(&self) -> u64 {
        self.blows.iter().sum()
    }

    /// Adds what another run did.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.blows, &other.blows),
            (&mut self.deeds, &other.deeds),
            (&mut self.sights, &other.sights),
        ];
        for (sums, counts) in pairs {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        self.operations += other.operations;
        self.virtual_ms += other.virtual_ms;
        self.runs += other.runs;
    }

    /// All cells with their names.
    pub fn cells(&self) -> Vec<(String, u64)> {
        let blows = Blow::ALL.iter().zip(&self.blows).map(|(kind, count)| (kind.to_string(), *count));
        let deeds = Deed::ALL.iter().zip(&self.deeds).map(|(kind, count)| (kind.to_string(), *count));
        let sights = Sight::ALL.iter().zip(&self.sights).map(|(kind, count)| (kind.to_string(), *count));
        blows.chain(deeds).chain(sights).collect()
    }
}

impl fmt::Display for Tally {
    /// Tables in Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = |title: &str, cells: Vec<(String, u64)>| {
            writeln!(f, "| {title} | Count |\n|---|---:|")?;
            cells.iter().try_for_each(|(name, count)| writeln!(f, "| {name} | {count} |"))?;
            writeln!(f)
        };
        let names = |count: usize, from: usize| -> Vec<(String, u64)> {
            self.cells().into_iter().skip(from).take(count).collect()
        };
        table("Fault", names(Blow::ALL.len(), 0))?;
        table("Operation", names(Deed::ALL.len(), Blow::ALL.len()))?;
        table("Seen", names(Sight::ALL.len(), Blow::ALL.len() + Deed::ALL.len()))?;
        writeln!(
            f,
            "{} runs, {} operations, {} faults, {} hours of virtual time",
            self.runs,
            self.operations,
            self.faults(),
            self.virtual_ms / 3_600_000
        )
    }
}
