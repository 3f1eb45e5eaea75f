//! Annotations by which a user tells the operator something that is no lasting part of what is wanted.

/// The operator writes nothing but status.
pub const PAUSED: &str = "cmq.dev/paused";
/// Has the operator look at the object now.
pub const RECONCILE_AT: &str = "cmq.dev/reconcile-at";
/// Restarts the pods.
pub const RESTART_AT: &str = "cmq.dev/restart-at";
/// Ends a deletion that waits.
pub const FORCE_DELETE: &str = "cmq.dev/force-delete";
/// Takes over what exists already.
pub const ADOPT: &str = "cmq.dev/adopt";
/// Renews the authority and the certificates.
pub const ROTATE_CERTIFICATES: &str = "cmq.dev/rotate-certificates";
/// Gives up the data of pods.
pub const REPLACE_VOLUME: &str = "cmq.dev/replace-volume";

/// One annotation, as users are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Its name.
    pub name: &'static str,
    /// The kinds that it does something on.
    pub kinds: &'static [&'static str],
    /// What it is set to.
    pub value: &'static str,
    /// What it does.
    pub effect: &'static str,
}

/// Every annotation that users set.
pub const ALL: [Annotation; 7] = [
    Annotation {
        name: PAUSED,
        kinds: &["Broker", "Queue"],
        value: "\"true\"",
        effect: "the operator writes nothing but the status of this object; deleting it still works",
    },
    Annotation {
        name: RECONCILE_AT,
        kinds: &["Broker", "Queue"],
        value: "any new text",
        effect: "the operator looks at this object at once",
    },
    Annotation {
        name: FORCE_DELETE,
        kinds: &["Broker", "Queue"],
        value: "\"true\"",
        effect: "a deletion does not wait: not for a queue to be empty, for the queues of a Broker, or for pods that do not \
                 answer; what could not be deleted stays",
    },
    Annotation {
        name: ADOPT,
        kinds: &["Broker", "Queue"],
        value: "\"true\"",
        effect: "takes over what has the name already: the volumes of a former Broker, or a queue that was made by a call",
    },
    Annotation {
        name: RESTART_AT,
        kinds: &["Broker"],
        value: "any new text",
        effect: "restarts the pods, one at a time",
    },
    Annotation {
        name: ROTATE_CERTIFICATES,
        kinds: &["Broker"],
        value: "any new text",
        effect: "makes a new authority and new certificates, without a failed call",
    },
    Annotation {
        name: REPLACE_VOLUME,
        kinds: &["Broker"],
        value: "ordinals of pods, as \"0\" or \"0,2\"",
        effect: "lets these pods begin anew on an empty volume, once: gives up the messages of one that is lost",
    },
];

/// The annotations of a kind as running text, for `kubectl explain`.
pub(crate) fn text(kind: &str) -> String {
    let of_kind = ALL.iter().filter(|annotation| annotation.kinds.contains(&kind));
    let lines = of_kind.map(|Annotation { name, value, effect, .. }| format!("{name} ({value}): {effect}."));
    format!("Annotations that the operator follows:\n\n{}", lines.collect::<Vec<_>>().join("\n\n"))
}
