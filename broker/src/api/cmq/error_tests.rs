//! What callers read.

use super::*;

/// One refusal of every kind, with what the caller must read.
#[test]
fn refusals_have_the_codes_of_the_protocol() {
    use ServiceError as R;
    let name = || "orders".to_owned();
    for (refusal, said) in [
        (R::QueueMissing(name()), "4440 (10100)queue is not existed, or deleted"),
        (R::QueueExists(name()), "4000 (4460)queue is already existed,case insensitive"),
        (R::TooManyQueues(1000), "4450 (10220)number of queues has reached the limit"),
        (
            R::RecreatedTooSoon(name()),
            "6040 (10660)it will take some time to release resources of previous queue, please try again later",
        ),
        (R::InUseAsDeadLetterQueue(name()), "4000 (10750)queue is a dead-letter queue, cannot be deleted"),
        (R::DeadLetterQueueMissing(name()), "4000 (10730)dead-letter queue missing"),
        (R::DeadLetterNesting(name()), "4000 (10740)dead-letter nesting"),
        (R::DeadLetterTooManySources(name()), "4000 (10780)dead-letter queue bound too often"),
        (
            R::Declared(name(), "Queue default/orders".to_owned()),
            "4000 (10110)request parameters error: queue orders is declared by Queue default/orders; \
             change it there",
        ),
        (
            R::KindIsFixed(name()),
            "4000 (10110)request parameters error: queue orders exists, and FIFO or not cannot be changed",
        ),
        (
            R::DeadLetterKind(name()),
            "4000 (10110)request parameters error: dead-letter queue orders is FIFO and the queue is not, \
             or the other way round",
        ),
        (
            R::QueueClosed(name()),
            "4000 (10110)request parameters error: queue orders takes no more messages: it is deleted once it is empty",
        ),
        (
            R::QueueChanged(name()),
            "4000 (10110)request parameters error: queue orders changed meanwhile; look at it again",
        ),
        (
            R::MessageTooLarge { size: 9, limit: 8 },
            "4400 (10230)exceed maximum message size: the queue allows 8 bytes",
        ),
        (
            R::RewindAboveRetention(name()),
            "4000 (10700)rewindSeconds cannot be greater than msgRetentionSeconds",
        ),
        (
            R::TimeToLiveNotBelowRetention(name()),
            "4000 (10350)parameter maxTimeToLive value or length is out of range: 300 to 43200, and less than \
             msgRetentionSeconds, is allowed",
        ),
        (R::RewindOff(name()), "6050 (10670)your queue cannot be rewinded"),
        (
            R::RewindTime { earliest: 7 },
            "4000 (10680)invalid rewind time, you can get the vaild range of that via GetQueueAttributes: the start \
             of a rewind must be between 7 and now, in Unix seconds",
        ),
        (R::QueueRate, "4420 (10250)qps throttling"),
        (R::ManageRate, "4480 (10460)exceed interface frequency limit, please slow down"),
        (R::HeapFull, "4410 (10240)reach maximum retention number of message"),
        (R::TooManyInFlightOrDelayed, "6070 (10690)too many unacked(inactive) messages or delayed messages"),
        (R::HandleInvalid, "4430 (10260)receipt handle is invalid"),
        (R::HandleStale, "4430 (10260)receipt handle is invalid"),
        (R::Busy("inbox"), "6000 (10050)server internal error: the broker is busy: inbox; retry"),
        (
            R::DiskFull,
            "6000 (10050)server internal error: the disk is full; retry when messages have been deleted",
        ),
        (R::Stopping, "6000 (10050)server internal error: the broker is stopping; retry"),
        (R::Internal("a secret of the house".to_owned()), "6000 (10050)server internal error"),
    ] {
        let error = Error::from(refusal);
        assert_eq!(error.to_string(), said);
        assert!(outer_codes().any(|(code, _)| code == error.code), "{error} has no metric label");
    }
}

#[test]
fn long_echoes_are_cut() {
    let name = "你".repeat(1000);
    let text = Error::action_unknown(&name).text;
    assert_eq!(text, format!("action name {}… is not existed", "你".repeat(64)));
}
