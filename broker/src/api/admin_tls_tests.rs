//! The admin port with TLS: who may call what, over real sockets and certificates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use super::Console;
use super::testing::Broker;
use crate::tls::testing::{Authority, ask, client, write};
use crate::tls::{Peers, Tls};

struct Place {
    dir: TempDir,
    authority: Authority,
    tls: Tls,
    broker: Broker,
}

impl Place {
    async fn start() -> Self {
        let (dir, authority) = (TempDir::new().unwrap(), Authority::new("first"));
        write(dir.path(), &authority.broker(), &[&authority]);
        let tls = Tls::open(dir.path(), Peers::MayShowCertificate).unwrap();
        let broker = Broker::start_with(1, Console::new(true, Some(tls.clone()), None)).await;
        Self { dir, authority, tls, broker }
    }

    fn address(&self) -> SocketAddr {
        self.broker.address
    }
}

fn status(answer: &str) -> u16 {
    answer[9..12].parse().unwrap()
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn only_the_operator_may_call_the_api() {
    let place = Place::start().await;
    let authority = &place.authority;
    let other = Authority::new("other");
    let operator = authority.operator();
    let pod =
        authority.leaf("orders-cmq-1.orders-cmq-pods.shop.svc", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    let stranger = other.operator();
    for (who, certificate, calls) in [
        ("operator", Some(&operator), true),
        ("nobody", None, false),
        ("a pod", Some(&pod), false),
        ("a stranger", Some(&stranger), false),
    ] {
        let client = client(&[authority], certificate, &["http/1.1"]);
        for page in ["/livez", "/readyz", "/metrics"] {
            let answer = ask(place.address(), &client, "GET", page, "").await.unwrap();
            assert_eq!(status(&answer), 200, "{who} {page}: {answer}");
        }
        for (method, target) in [
            ("GET", "/api/v1/broker"),
            ("GET", "/api/v1/queues"),
            ("POST", "/api/v1/declare"),
            ("DELETE", "/api/v1/queues/q/messages/7"),
            ("GET", "/api/v2"),
        ] {
            let answer = ask(place.address(), &client, method, target, "{}").await.unwrap();
            if calls {
                assert_ne!(status(&answer), 403, "{who} {target}: {answer}");
            } else {
                assert_eq!(status(&answer), 403, "{who} {target}: {answer}");
                let error = &body(&answer)["error"];
                assert_eq!(error["code"], "certificate_not_allowed", "{answer}");
                assert!(error["allowed"].as_str().unwrap().contains("operator.cmq.dev"), "{answer}");
            }
        }
    }
    let client = client(&[authority], Some(&operator), &["http/1.1"]);
    let answer = body(&ask(place.address(), &client, "GET", "/api/v1/broker", "").await.unwrap());
    let facts = place.tls.facts();
    let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(answer["tls"]["admin"]["leafSha256"], hex(facts.leaf_sha256));
    assert_eq!(answer["tls"]["admin"]["caSha256"], hex(facts.ca_sha256.unwrap()));
    assert_eq!(answer["tls"]["admin"]["notAfterMs"], facts.not_after_ms);
    assert_eq!(answer["tls"]["client"], Value::Null);
    assert_eq!(
        (&answer["clusterId"], &answer["ready"]),
        (&"00000000000000000000000000000001".into(), &true.into())
    );
    assert_eq!(
        (&answer["queues"], &answer["shards"], &answer["volumeBytes"]),
        (&0.into(), &1.into(), &2.into())
    );
    place.broker.end().await;
}

/// Calls go on, each on a connection of its own, while first the bundle and then the certificates of both sides change.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_fails_no_call() {
    let place = Place::start().await;
    let metrics = crate::metrics::Metrics::new().admin_port;
    let (stop, stopped) = watch::channel(false);
    let following = tokio::spawn(crate::tls::follow(place.tls.clone(), metrics.tls.clone(), stopped.clone()));
    let (first, second) = (&place.authority, Authority::new("second"));
    let trusting_both = |own| client(&[first, &second], Some(own), &["http/1.1"]);
    let (before, after) = (first.operator(), second.operator());
    let (use_client, used) = watch::channel(trusting_both(&before));
    let calling = {
        let (address, mut stopped) = (place.address(), stopped);
        tokio::spawn(async move {
            let mut calls = 0_usize;
            while !*stopped.borrow_and_update() {
                let client: Arc<rustls::ClientConfig> = used.borrow().clone();
                let answer = ask(address, &client, "GET", "/api/v1/broker", "").await;
                let answer = answer.unwrap_or_else(|error| panic!("call {calls}: {error}"));
                assert_eq!(status(&answer), 200, "call {calls}: {answer}");
                calls += 1;
            }
            calls
        })
    };
    let took = async |leaf: &crate::tls::testing::Leaf, authorities: &[&Authority]| {
        let before = place.tls.facts();
        write(place.dir.path(), leaf, authorities);
        while place.tls.facts() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    took(&first.broker(), &[first, &second]).await;
    took(&second.broker(), &[first, &second]).await;
    use_client.send_replace(trusting_both(&after));
    tokio::time::sleep(Duration::from_millis(200)).await;

    // Bad files change nothing, and are told once.
    let facts = place.tls.facts();
    std::fs::write(place.dir.path().join("tls.key"), first.broker().key).unwrap();
    while metrics.tls.refusals() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(3 * crate::follow::PERIOD).await;
    assert_eq!((place.tls.facts(), metrics.tls.refusals()), (facts, 1));

    took(&second.broker(), &[&second]).await;
    assert_eq!(metrics.tls.expiry(), place.tls.facts().not_after_ms as f64 / 1_000.0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.send_replace(true);
    let calls = calling.await.unwrap();
    following.await.unwrap();
    println!("{calls} calls while certificates changed, none failed");
    assert!(calls > 100, "{calls}");
    // The authority of before opens no door any more.
    let old = client(&[first, &second], Some(&before), &["http/1.1"]);
    let answer = ask(place.address(), &old, "GET", "/api/v1/broker", "").await.unwrap();
    assert_eq!(status(&answer), 403, "{answer}");
    place.broker.end().await;
}
