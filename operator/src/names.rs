//! How everything that belongs to a Broker is called. All of it derives from the Broker's name, so that it is found again
//! without looking anything up.

/// Ends the names of a Broker's children, so that they do not collide with an application of the Broker's name.
const SUFFIX: &str = "cmq";

/// Port of clients, by number and name.
pub const CLIENT_PORT: i32 = 9324;
/// Name of [`CLIENT_PORT`].
pub const CLIENT_PORT_NAME: &str = "client";
/// Port between pods.
pub const PEER_PORT: i32 = 9325;
/// Name of [`PEER_PORT`].
pub const PEER_PORT_NAME: &str = "peer";
/// Port of probes, metrics and the admin API.
pub const ADMIN_PORT: i32 = 9326;
/// Name of [`ADMIN_PORT`].
pub const ADMIN_PORT_NAME: &str = "admin";

/// Container of the broker.
pub const CONTAINER: &str = "broker";
/// Volume and claim template of the data.
pub const DATA_VOLUME: &str = "data";

/// The DNS name in the operator's certificate: to a broker, the name is the permission.
pub const OPERATOR_DNS_NAME: &str = "operator.cmq.dev";

/// The StatefulSet, client Service, disruption budget, ServiceAccount, ConfigMap, NetworkPolicy and PodMonitor of a Broker.
pub fn child(broker: &str) -> String {
    format!("{broker}-{SUFFIX}")
}

/// The headless Service, which gives each pod a DNS name.
pub fn pods_service(broker: &str) -> String {
    format!("{broker}-{SUFFIX}-pods")
}

/// The Secret of the authority; only the operator reads it.
pub fn authority_secret(broker: &str) -> String {
    format!("{broker}-{SUFFIX}-ca")
}

/// The Secret that the pods mount: leaf, key and bundle of the admin and peer ports.
pub fn tls_secret(broker: &str) -> String {
    format!("{broker}-{SUFFIX}-tls")
}

/// The Secret of the client port's certificate, where the operator or cert-manager makes it.
pub fn client_tls_secret(broker: &str) -> String {
    format!("{broker}-{SUFFIX}-client-tls")
}

/// The Secret of the operator's own certificate, where cert-manager makes it.
pub fn operator_tls_secret(broker: &str) -> String {
    format!("{broker}-{SUFFIX}-operator-tls")
}

/// The pod of an ordinal.
pub fn pod(broker: &str, ordinal: i32) -> String {
    format!("{broker}-{SUFFIX}-{ordinal}")
}

/// The claim of an ordinal.
pub fn claim(broker: &str, ordinal: i32) -> String {
    format!("{DATA_VOLUME}-{broker}-{SUFFIX}-{ordinal}")
}

/// The ordinal of a pod of this Broker; nothing for any other name.
pub fn pod_ordinal(broker: &str, name: &str) -> Option<i32> {
    let number = name.strip_prefix(&child(broker))?.strip_prefix('-')?;
    let canonical = number == "0" || !number.starts_with(['0', '+', '-']);
    number.parse().ok().filter(|_| canonical)
}

/// The ordinal of a claim of this Broker; nothing for any other name.
pub fn claim_ordinal(broker: &str, name: &str) -> Option<i32> {
    pod_ordinal(broker, name.strip_prefix(DATA_VOLUME)?.strip_prefix('-')?)
}

/// Where clients in the cluster connect: host name of the client Service.
pub fn client_host(broker: &str, namespace: &str) -> String {
    format!("{}.{namespace}.svc", child(broker))
}

/// Host name of one pod, for as long as the pod exists, ready or not.
pub fn pod_host(broker: &str, namespace: &str, ordinal: i32) -> String {
    format!("{}.{}.{namespace}.svc", pod(broker, ordinal), pods_service(broker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_of_pods_and_claims() {
        for (name, expected) in [
            ("orders-cmq-0", Some(0)),
            ("orders-cmq-31", Some(31)),
            ("orders-cmq-01", None),
            ("orders-cmq-+1", None),
            ("orders-cmq-", None),
            ("orders-cmq-pods", None),
            ("orders-cmq-cmq-0", None),
            ("other-cmq-0", None),
            ("data-orders-cmq-0", None),
        ] {
            assert_eq!(pod_ordinal("orders", name), expected, "{name}");
            assert_eq!(claim_ordinal("orders", &format!("data-{name}")), expected, "claim of {name}");
        }
        assert_eq!(
            pod_ordinal("data-orders", "data-orders-cmq-4"),
            Some(4),
            "a pod whose name looks like a claim's"
        );
        assert_eq!(claim_ordinal("orders", "orders-cmq-0"), None);
    }
}
