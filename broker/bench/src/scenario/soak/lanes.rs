//! The queues of the soak, each for one way that a message can go.

use std::time::Duration;

use super::ledger::{DeadLetters, Rules};

/// The longest that a due message may wait where consumers ask for it all the time. An idle broker answers within
/// milliseconds; this is for a machine that does something else for a while.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// How consumers take messages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Taking {
    /// They wait in long polls, and take everything at once.
    Waiting {
        /// How long a poll is, in seconds.
        poll: u32,
        /// As many at least.
        takers: usize,
    },
    /// They call at a rate and leave so many messages in the queue.
    Paced {
        /// Messages taken for each one sent.
        share: f64,
        /// Messages left.
        depth: usize,
    },
    /// Now and then somebody takes one and does not delete it.
    Peeking,
    /// Nobody takes anything from the queue.
    Nobody,
}

/// A queue, what is sent to it, and what must become of that.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) name: &'static str,
    /// What it is for, in the words of the table.
    pub(super) about: &'static str,
    pub(super) attributes: &'static [(&'static str, &'static str)],
    /// The queue that its dead letters go to.
    pub(super) dead_letter_queue: Option<&'static str>,
    /// Part of the rate of all messages.
    pub(super) share: f64,
    /// Messages in a send.
    pub(super) batch: usize,
    /// Longest delay of a message, in seconds; each gets one of its own.
    pub(super) delay_max: u64,
    pub(super) taking: Taking,
    /// Whether consumers delete what they take.
    pub(super) deletes: bool,
    pub(super) rules: Rules,
}

/// Messages that lie in the standing queues all the time.
const DEPTH: usize = 10_000;

const MINUTE: Duration = Duration::from_secs(60);

/// For how long the rewound queue keeps deleted messages.
const REWIND: Duration = Duration::from_secs(180);

/// All of them; the shares add up to 1.
pub(super) fn lanes() -> Vec<Lane> {
    let plain = Lane {
        name: "plain",
        about: "long polls take and delete",
        attributes: &[],
        dead_letter_queue: None,
        share: 0.25,
        batch: 1,
        delay_max: 0,
        taking: Taking::Waiting { poll: 5, takers: 4 },
        deletes: true,
        rules: Rules { visibility: Duration::from_secs(30), wait: Some(WAIT_MAX), ..Rules::default() },
    };
    let unwatched = Rules { wait: None, ..plain.rules };
    let standing = Taking::Paced { share: 1.05, depth: DEPTH };
    vec![
        plain.clone(),
        Lane {
            name: "standing",
            about: "10,000 messages lie there; taken one by one",
            share: 0.20,
            taking: standing,
            rules: unwatched,
            ..plain.clone()
        },
        Lane {
            name: "batches",
            about: "10,000 messages lie there; sent, taken and deleted by 16",
            share: 0.20,
            batch: 16,
            taking: standing,
            rules: unwatched,
            ..plain.clone()
        },
        Lane { name: "delayed", about: "delays of 1 to 60 s", share: 0.10, delay_max: 60, ..plain.clone() },
        Lane {
            name: "expiring",
            about: "retention of 60 s, never deleted",
            attributes: &[("msgRetentionSeconds", "60"), ("visibilityTimeout", "5")],
            share: 0.05,
            taking: Taking::Peeking,
            deletes: false,
            rules: Rules {
                visibility: Duration::from_secs(5),
                wait: None,
                retention: Some(MINUTE),
                ..Rules::default()
            },
            ..plain.clone()
        },
        Lane {
            name: "failing",
            about: "received twice without a delete, then a dead letter",
            attributes: &[("visibilityTimeout", "1")],
            dead_letter_queue: Some("dead-by-count"),
            share: 0.03,
            deletes: false,
            rules: Rules {
                visibility: Duration::from_secs(1),
                dead_letters: Some(DeadLetters::ByCount(2)),
                ..plain.rules
            },
            ..plain.clone()
        },
        Lane {
            name: "ageing",
            about: "never received, a dead letter after 300 s",
            dead_letter_queue: Some("dead-by-age"),
            share: 0.03,
            taking: Taking::Nobody,
            rules: Rules { dead_letters: Some(DeadLetters::ByAge(MINUTE * 5)), ..plain.rules },
            ..plain.clone()
        },
        Lane {
            name: "rewound",
            about: "the last minute comes back every two minutes",
            attributes: &[("rewindSeconds", "180")],
            share: 0.07,
            // A rewind brings a minute's messages at once.
            rules: Rules { rewind: Some(REWIND), wait: Some(MINUTE), ..plain.rules },
            ..plain.clone()
        },
        Lane {
            name: "cleared",
            about: "half of it is taken, the rest cleared every minute",
            share: 0.05,
            taking: Taking::Paced { share: 0.5, depth: 0 },
            rules: unwatched,
            ..plain.clone()
        },
        Lane {
            name: "polled",
            about: "100 polls of 20 s for few messages",
            share: 0.02,
            taking: Taking::Waiting { poll: 20, takers: 100 },
            ..plain
        },
    ]
}

impl Lane {
    /// The text of its `deadLetterPolicy`.
    pub(super) fn dead_letter_policy(&self) -> Option<String> {
        let queue = self.dead_letter_queue?;
        Some(match self.rules.dead_letters? {
            DeadLetters::ByCount(count) => {
                format!(r#"{{"deadLetterQueue":"{queue}","policy":0,"maxReceiveCount":{count}}}"#)
            }
            DeadLetters::ByAge(age) => {
                let seconds = age.as_secs();
                format!(r#"{{"deadLetterQueue":"{queue}","policy":1,"maxTimeToLive":{seconds}}}"#)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole_rate() {
        let sum: f64 = lanes().iter().map(|lane| lane.share).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }
}
