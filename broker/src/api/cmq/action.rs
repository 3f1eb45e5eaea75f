//! The actions of the CMQ protocol.

/// An action that this broker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes a queue.
    CreateQueue,
    /// Lists queues by a part of their name.
    ListQueue,
    /// Says everything about a queue.
    GetQueueAttributes,
    /// Changes attributes of a queue.
    SetQueueAttributes,
    /// Removes a queue with its messages.
    DeleteQueue,
    /// Takes a queue's dead-letter policy away.
    UnbindDeadLetterQueue,
    /// Lists the queues that have this one as dead-letter queue.
    ListDeadLetterSourceQueues,
    /// Removes the messages of a queue.
    ClearQueue,
    /// Brings deleted messages back.
    RewindQueue,
    /// Asks for servers of the TCP protocol.
    QueryQueueRoute,
    /// Stores a message.
    SendMessage,
    /// Stores up to 16 messages.
    BatchSendMessage,
    /// Hands out a message.
    ReceiveMessage,
    /// Hands out up to 16 messages.
    BatchReceiveMessage,
    /// Deletes a message that was handed out.
    DeleteMessage,
    /// Deletes up to 16 of them.
    BatchDeleteMessage,
}

/// Names of the served actions in the order of [`Action`]; label values of the request metrics.
pub(crate) const SERVED: [(Action, &str); 16] = [
    (Action::CreateQueue, "CreateQueue"),
    (Action::ListQueue, "ListQueue"),
    (Action::GetQueueAttributes, "GetQueueAttributes"),
    (Action::SetQueueAttributes, "SetQueueAttributes"),
    (Action::DeleteQueue, "DeleteQueue"),
    (Action::UnbindDeadLetterQueue, "UnbindDeadLetterQueue"),
    (Action::ListDeadLetterSourceQueues, "ListDeadLetterSourceQueues"),
    (Action::ClearQueue, "ClearQueue"),
    (Action::RewindQueue, "RewindQueue"),
    (Action::QueryQueueRoute, "QueryQueueRoute"),
    (Action::SendMessage, "SendMessage"),
    (Action::BatchSendMessage, "BatchSendMessage"),
    (Action::ReceiveMessage, "ReceiveMessage"),
    (Action::BatchReceiveMessage, "BatchReceiveMessage"),
    (Action::DeleteMessage, "DeleteMessage"),
    (Action::BatchDeleteMessage, "BatchDeleteMessage"),
];

/// Actions of the protocol that this broker does not serve.
const NOT_SERVED: [&str; 14] = [
    "CreateTopic",
    "ListTopic",
    "GetTopicAttributes",
    "SetTopicAttributes",
    "DeleteTopic",
    "PublishMessage",
    "BatchPublishMessage",
    "QueryTopicRoute",
    "Subscribe",
    "Unsubscribe",
    "ListSubscriptionByTopic",
    "GetSubscriptionAttributes",
    "SetSubscriptionAttributes",
    "ClearSubscriptionFilterTags",
];

/// What an action name means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// The broker serves it.
    Served(Action),
    /// The protocol has it under this name, the broker does not serve it.
    NotServed(&'static str),
    /// The protocol does not have it.
    Unknown,
}

impl Action {
    /// Whether the replay guard holds for it: a repetition would do lasting harm. Receives and deletes are left out on
    /// purpose. What a repeated receive takes comes back by itself, a repeated delete finds nothing; and workers of a
    /// client with a poor source of nonces, started in the same second, sign equal receives without any bad intent.
    pub(crate) fn counts_once(self) -> bool {
        match self {
            Self::SendMessage
            | Self::BatchSendMessage
            | Self::SetQueueAttributes
            | Self::DeleteQueue
            | Self::UnbindDeadLetterQueue
            | Self::ClearQueue
            | Self::RewindQueue => true,
            Self::CreateQueue
            | Self::ListQueue
            | Self::GetQueueAttributes
            | Self::ListDeadLetterSourceQueues
            | Self::QueryQueueRoute
            | Self::ReceiveMessage
            | Self::BatchReceiveMessage
            | Self::DeleteMessage
            | Self::BatchDeleteMessage => false,
        }
    }

    /// Looks an action up by its name, whatever its capitals: public clients send odd ones. One public client calls
    /// `BatchDeleteMessage` by the name of its own request type.
    pub(crate) fn named(name: &str) -> Named {
        let name =
            if name.eq_ignore_ascii_case("BatchDeleteMessageReq") { "BatchDeleteMessage" } else { name };
        if let Some((action, _)) = SERVED.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)) {
            return Named::Served(*action);
        }
        match NOT_SERVED.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            Some(known) => Named::NotServed(known),
            None => Named::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_actions_stand_at_their_number() {
        for (index, (action, name)) in SERVED.into_iter().enumerate() {
            assert_eq!(action as usize, index);
            assert_eq!(format!("{action:?}"), name);
        }
    }

    #[test]
    fn capitals_do_not_matter() {
        for (name, meant) in [
            ("SendMessage", Named::Served(Action::SendMessage)),
            ("sendmessage", Named::Served(Action::SendMessage)),
            ("BatchDeleteMessageReq", Named::Served(Action::BatchDeleteMessage)),
            ("ClearSUbscriptionFIlterTags", Named::NotServed("ClearSubscriptionFilterTags")),
            ("SendMessages", Named::Unknown),
            ("", Named::Unknown),
        ] {
            assert_eq!(Action::named(name), meant, "{name}");
        }
    }
}
