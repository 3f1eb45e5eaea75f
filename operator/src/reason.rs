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
    ApiError: "A call to the API server failed; it is tried again."
        => "Nothing to do, unless it stays.",
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn each_says_what_it_means_and_what_to_do() {
        for reason in Reason::ALL {
            assert!(reason.meaning().ends_with('.'), "{reason}");
            assert!(!reason.remedy().is_empty(), "{reason}");
        }
    }
}
