//! Every reason that a condition or an event gives, what it means and what a person can do. Names never change within an API
//! version.

macro_rules! reasons {
    ($($name:ident: $meaning:literal => $remedy:literal,)+) => {
        /// Why a condition is as it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the table for users.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name as it stands in a condition.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// What a person can do.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

reasons! {
    Serving: "Every pod serves what the spec asks for."
        => "Nothing to do.",
    Starting: "Pods are being made or start."
        => "Wait. `kubectl describe pod` shows what a pod that does not start waits for.",
    PodsNotReady: "Some pods do not serve."
        => "The message names them; `kubectl describe pod` and `kubectl logs` say why.",
    MemberUnreachable: "The node of a pod does not report; another pod would need proof that it is off."
        => "Bring the node back. If it is off for good, taint it with node.kubernetes.io/out-of-service=nodeshutdown:NoExecute.",
    Unschedulable: "A pod finds no node."
        => "Free or add nodes, or change spec.resources and spec.placement. The message is the scheduler's.",
    ImagePullFailed: "A node cannot get the image of the broker."
        => "Correct spec.image or spec.imagePullSecrets, or make the image available.",
    CrashLooping: "The broker of a pod ends again and again."
        => "`kubectl logs --previous` says why.",
    Stopped: "spec.stopped is true: no pod runs, the volumes stay."
        => "Set spec.stopped to false to start the pods again.",
    Paused: "The operator writes nothing but status."
        => "Set spec.paused to false, or remove the annotation cmq.dev/paused.",
    RollingOut: "Pods change to a new revision, one at a time."
        => "Wait.",
    RolloutStuck: "A pod of the new revision did not serve; the pods are back at the last revision that did."
        => "Correct the spec; the message says what was wrong with the pod.",
    Resizing: "Volumes grow."
        => "Wait. A volume that does not grow for long says why in the events of its claim.",
    ResizeRefused: "The storage class cannot grow volumes."
        => "Set spec.storage.size back, or move to a new Broker on a class that can.",
    ShrinkRefused: "spec.storage.size is less than the volumes have; volumes never shrink."
        => "Set spec.storage.size back to the size that the message names.",
    VolumePending: "A claim has no volume yet."
        => "The events of the claim say what it waits for.",
    VolumesRetained: "Claims of these names hold the data of a former Broker."
        => "Set the annotation cmq.dev/adopt to \"true\" to go on with that data, or delete the claims.",
    VolumeLost: "A pod's volume is empty or belongs to another cluster, and the pod refuses to start on it."
        => "Bring the volume back. If its data is lost, set the annotation cmq.dev/replace-volume to the pod's ordinal.",
    StorageReady: "Every volume has the size that the spec asks for."
        => "Nothing to do.",
    DiskFull: "A broker refuses sends because its volume is nearly full."
        => "Let messages be consumed, or raise spec.storage.size.",
    NameConflict: "An object that this one needs to make exists and belongs to somebody else."
        => "Remove or rename the object that the message names, or use another name here.",
    Invalid: "The spec asks for something that cannot be."
        => "Correct the field that the message names.",
    SecretMissing: "A Secret that the spec refers to does not exist, or lacks the key."
        => "Make the Secret; it is noticed within seconds.",
    SecretInvalid: "A Secret does not hold what it should."
        => "Correct the Secret; the message says what is wrong.",
    KindNotInstalled: "The spec asks for an object of a kind that this cluster does not have."
        => "Install what brings the kind (Prometheus Operator, cert-manager), or remove the field.",
    CertificatesPending: "Certificates are not there yet."
        => "Wait. With an issuer of cert-manager the events of the Certificate say more.",
    CertificatesRotating: "Authority or certificates are replaced, step by step, without a restart."
        => "Wait.",
    CertificatesValid: "Certificates are in use and are renewed by themselves."
        => "Nothing to do.",
    BrokerUnreachable: "The admin API of a pod cannot be reached."
        => "The message has the last error. Look at the pod, at NetworkPolicies and at the certificates.",
    InUse: "Others refer to this object, so that it is not deleted."
        => "Delete what the message names first, or set the annotation cmq.dev/force-delete to \"true\".",
    Deleting: "The object is being deleted."
        => "Wait.",
    Forbidden: "The operator lacks a permission."
        => "Give it the permission that the message names; the chart's roles have all that is needed.",
    ForceDeleted: "The object went by the annotation cmq.dev/force-delete; nothing was cleaned up."
        => "Nothing to do.",

    Declared: "The queue is on the broker as the object says."
        => "Nothing to do.",
    Answering: "The broker answers the operator."
        => "Nothing to do.",
    BrokerNotFound: "The Broker that the queue is on does not exist."
        => "Make it. Where spec.brokerRef is wrong, make the Queue anew: it cannot be changed.",
    BrokerNotReady: "No pod of the Broker serves."
        => "If it lasts, the conditions of the Broker say why.",
    BrokerStopped: "The Broker is stopped; the queue is on its volumes with its messages."
        => "Set spec.stopped of the Broker to false.",
    BrokerDeleting: "The Broker is being deleted."
        => "Delete the Queue too, or make the Broker again.",
    BrokerBusy: "The broker has no room for more at the moment; it is tried again."
        => "Nothing to do, unless it stays.",
    BrokerRefused: "The broker does not take what the operator tells it."
        => "The message has its words. If it stays, compare the versions of operator and broker.",
    NamespaceNotAllowed: "The Broker does not serve objects of this namespace."
        => "Its owner allows the namespace by spec.allowedNamespaces of the Broker.",
    QueueExists: "A call of a client made a queue of that name; it is not touched."
        => "Set the annotation cmq.dev/adopt to \"true\" to take it over with its messages, or delete it by a call.",
    NameClosed: "A queue of that name was deleted a moment ago, and the name is closed for a while."
        => "Wait.",
    DeadLetterQueueMissing: "The queue works without its dead-letter queue, which does not exist yet."
        => "Make the Queue that spec.deadLetter.queueRef names.",
    DeadLetterOnOtherBroker: "The dead-letter queue is on another Broker."
        => "Name a dead-letter queue of the same Broker.",
    DeadLetterChain: "The dead-letter queue has a dead-letter queue itself."
        => "Remove spec.deadLetter from one of the two.",
    DeadLetterCycle: "The queue and its dead-letter queue are each other's dead-letter queue."
        => "Remove spec.deadLetter from one of the two.",
    DeadLetterSources: "The dead-letter queue serves as many queues as it can."
        => "Name another dead-letter queue.",
    DeadLetterTypeMismatch: "One of the queue and its dead-letter queue is FIFO, and the other is not."
        => "Name a dead-letter queue of the same type.",
    NotEmpty: "The queue is deleted once it holds no message; until then it takes no sends."
        => "Receive or purge the messages, or set spec.deletionPolicy to Delete or Retain.",
    BrokerGone: "The Queue went without a word to its broker, which is gone, going, stopped or does not answer."
        => "Nothing to do.",
    NamespaceGone: "The Queue went with its namespace; the queue may still be on the broker."
        => "Nothing to do.",
    Withdrawn: "The queue was deleted from the broker."
        => "Nothing to do.",
    Retained: "The queue stays on the broker, as one that no object declares."
        => "Nothing to do.",
    Adopted: "A queue that existed on the broker was taken over."
        => "Nothing to do.",
    DriftCorrected: "The queue on the broker was not as declared, and is again."
        => "Find out who changed it, if it happens again.",
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Reason;

    /// The page for users.
    fn page() -> String {
        let rows = Reason::ALL
            .iter()
            .map(|reason| format!("| `{reason}` | {} | {} |\n", reason.meaning(), reason.remedy()));
        format!(
            "# Reasons\n\n\
             Why a condition of a Broker or a Queue is as it is. `kubectl get cmq` shows the reason of `Ready`; `kubectl describe` \
             shows every\ncondition with a message that says what it is about and what to do. Events have reasons of this table too. \
             A name never changes\nwithin an API version.\n\n\
             | Reason | What it means | What to do |\n|---|---|---|\n{}\n\
             `CMQ_UPDATE=1 cargo test -p cmq-operator --lib reason` writes this page from `operator/src/reason.rs`.\n",
            rows.collect::<String>()
        )
    }

    #[test]
    fn every_reason_is_documented() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
        if std::env::var_os("CMQ_UPDATE").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page(),
            "CMQ_UPDATE=1 cargo test -p cmq-operator --lib reason writes docs/reasons.md"
        );
    }

    #[test]
    fn each_says_what_it_means_and_what_to_do() {
        for reason in Reason::ALL {
            assert!(reason.meaning().ends_with('.'), "{reason}");
            assert!(!reason.remedy().is_empty(), "{reason}");
        }
    }
}
