//! Every row of the protocol's error tables: each that a call can cause is caused over a real broker, and `docs/cmq.md`
//! has a line for each of them and for each that cannot occur.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use cmq_engine::attributes::QueueAttributes;
use cmq_engine::catalogue::{DeletionPolicy, Owner};
use cmq_engine::limits::QUEUES_MAX;
use tokio::task::JoinSet;

use super::error::ROWS;
use crate::access;
use crate::api::http::limits::Limits;
use crate::api::testing::{Broker, Setup, encode, object};
use crate::service::declare::{Leaving, Realm, Takeover, WantedQueue};
use crate::service::{Rates, Waits};

type Row = (u32, u32);

/// Module codes of the protocol by outer code.
const PROTOCOL: &[(u32, &[u32])] = &[
    (
        4000,
        &[
            4460, 10000, 10010, 10020, 10110, 10120, 10280, 10310, 10320, 10330, 10350, 10360, 10370, 10380,
            10390, 10400, 10410, 10420, 10430, 10440, 10450, 10461, 10470, 10490, 10500, 10510, 10520, 10530,
            10540, 10580, 10590, 10620, 10630, 10640, 10670, 10680, 10691, 10692, 10700, 10710, 10720, 10730,
            10740, 10750, 10760, 10770, 10780,
        ],
    ),
    (4100, &[10030, 10031, 10032, 10080, 10270]),
    (4300, &[10040]),
    (4400, &[10230]),
    (4410, &[10240]),
    (4420, &[10250]),
    (4430, &[10260]),
    (4440, &[10100, 10600]),
    (4450, &[10220, 10610]),
    (4460, &[10550]),
    (4470, &[10300]),
    (4480, &[10460]),
    (4490, &[10470, 10770, 10780, 10790]),
    (4500, &[10480]),
    (4510, &[10570]),
    (6000, &[10050, 10090, 10130, 10140, 10160, 10170, 10180, 10190]),
    (6010, &[10150]),
    (6020, &[10290]),
    (6030, &[10650, 10730]),
    (6040, &[10660, 10750, 10760]),
    (6050, &[10670, 10740]),
    (6070, &[10690]),
    (7000, &[10200]),
];

/// What was caused so far.
#[derive(Default)]
struct Caused(BTreeSet<Row>);

impl Caused {
    /// Calls with a form, which must be answered by this row.
    async fn by(&mut self, broker: &Broker, form: &str, row: Row) {
        let said = broker.said(form).await;
        self.note(form, &said, row);
    }

    /// Calls with a form until it is answered by this row: a rate lets one more through now and then.
    async fn soon_by(&mut self, broker: &Broker, form: &str, row: Row) {
        let prefix = format!("{} ({})", row.0, row.1);
        for _ in 0..100 {
            let said = broker.said(form).await;
            if said.starts_with(&prefix) {
                return self.note(form, &said, row);
            }
        }
        panic!("{form} was never refused by {prefix}");
    }

    fn note(&mut self, form: &str, said: &str, row: Row) {
        let shown: String = form.chars().take(100).collect();
        let due = ROWS.iter().find(|error| (error.code, error.module) == row).expect("a row that is served");
        let (start, end) = due.text.split_once("%s").unwrap_or((due.text.as_ref(), ""));
        let prefix = format!("{} ({}){start}", row.0, row.1);
        assert!(said.starts_with(&prefix) && said.contains(end), "{shown}: {said}");
        self.0.insert(row);
    }
}

async fn done(broker: &Broker, form: &str) {
    assert_eq!(broker.said(form).await, "0 ", "{form}");
}

fn policy(json: &str) -> String {
    format!("&deadLetterPolicy={}", encode(json))
}

#[tokio::test]
async fn every_row_can_be_caused() {
    let mut caused = Caused::default();
    requests(&mut caused).await;
    queues(&mut caused).await;
    dead_letters(&mut caused).await;
    messages(&mut caused).await;
    keys(&mut caused).await;
    bounds(&mut caused).await;
    let served: BTreeSet<Row> = ROWS.iter().map(|error| (error.code, error.module)).collect();
    assert_eq!(caused.0, served);
}

async fn requests(caused: &mut Caused) {
    let broker = Broker::open().await;
    for (form, row) in [
        ("", (4000, 10280)),
        ("Action=Fly", (4000, 10430)),
        ("Action=PublishMessage&topicName=t&msgBody=m", (4000, 10430)),
        ("Action=ListQueue&limit=51", (4000, 10350)),
        ("Action=ListQueue&limit=all", (4000, 10360)),
        ("Action=ListQueue&limit=1&limit=2", (4000, 10330)),
        ("Action=DeleteQueue", (4000, 10390)),
        ("Action=BatchSendMessage&queueName=q&msgBody.one=m", (4000, 10310)),
        ("Action=BatchSendMessage&queueName=q&msgBody.1=m&msgBody.3=m", (4000, 10380)),
        ("Action=SendMessage&queueName=q&msgBody=", (4000, 10120)),
        ("Action=SendMessage&queueName=q&msgBody=m&delaySeconds=3601", (4000, 10692)),
    ] {
        caused.by(&broker, form, row).await;
    }
    let many: String = (0..17).map(|number| format!("&msgBody.{number}=m")).collect();
    caused.by(&broker, &format!("Action=BatchSendMessage&queueName=q{many}"), (4000, 10370)).await;
    let half = "x".repeat(600_000);
    let large = format!("Action=BatchSendMessage&queueName=q&msgBody.1={half}&msgBody.2={half}");
    caused.by(&broker, &large, (4470, 10300)).await;
    let parameters = "&a=b".repeat(300);
    caused.by(&broker, &format!("Action=ListQueue{parameters}"), (4000, 10420)).await;
    let put = b"PUT /v2/index.php HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let answer = object(&broker.raw(put).await);
    caused.note("PUT", &format!("{} {}", answer["code"], answer["message"].as_str().unwrap()), (4000, 10410));
}

async fn queues(caused: &mut Caused) {
    let waits = Waits { recreate: Duration::from_secs(60), ..Waits::default() };
    let broker = Broker::start(Setup { waits, ..Setup::default() }).await;
    let owner =
        Owner { name: Realm::Manifests.owner("default", "declared"), deletion: DeletionPolicy::Retain };
    let (name, attributes) = ("declared".into(), QueueAttributes::default());
    let declared = WantedQueue { name, owner, attributes, dead_letter: None, takeover: Takeover::Nothing };
    let outcome = broker.service.declare(Realm::Manifests, &[declared], Leaving::Others).await;
    assert_eq!(outcome.problems, []);
    done(&broker, "Action=CreateQueue&queueName=q").await;
    done(&broker, "Action=CreateQueue&queueName=gone").await;
    done(&broker, "Action=DeleteQueue&queueName=gone").await;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let rewind_now = format!("RewindQueue&queueName=q&startConsumeTime={now}");
    for (form, row) in [
        ("CreateQueue&queueName=2q", (4000, 10020)),
        ("CreateQueue&queueName=Q", (4000, 4460)),
        ("CreateQueue&queueName=gone", (6040, 10660)),
        ("CreateQueue&queueName=new&rewindSeconds=61&msgRetentionSeconds=60", (4000, 10700)),
        ("SetQueueAttributes&queueName=q&rewindSeconds=345601", (4000, 10700)),
        ("SetQueueAttributes&queueName=none&visibilityTimeout=1", (4440, 10100)),
        ("SetQueueAttributes&queueName=declared&visibilityTimeout=1", (4000, 10110)),
        ("UnbindDeadLetterQueue&queueName=declared", (4000, 10110)),
        ("DeleteQueue&queueName=declared", (4000, 10110)),
        ("QueryQueueRoute&queueName=q", (4000, 10110)),
        ("QueryQueueRoute&queueName=none", (4440, 10100)),
        ("ListDeadLetterSourceQueues&deadLetterQueueName=none", (4440, 10100)),
        ("ClearQueue&queueName=none", (4440, 10100)),
        ("RewindQueue&queueName=none&startConsumeTime=1", (4440, 10100)),
        (rewind_now.as_str(), (6050, 10670)),
    ] {
        caused.by(&broker, &format!("Action={form}"), row).await;
    }
    let named = broker.said("Action=SetQueueAttributes&queueName=declared").await;
    assert!(named.contains("Queue default/declared"), "{named}");
    done(&broker, "Action=SetQueueAttributes&queueName=q&rewindSeconds=100").await;
    for start in [now - 1_000, now + 1_000] {
        let form = format!("Action=RewindQueue&queueName=q&startConsumeTime={start}");
        caused.by(&broker, &form, (4000, 10680)).await;
    }
}

async fn dead_letters(caused: &mut Caused) {
    let broker = Broker::open().await;
    let bind = policy(r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":1}"#);
    for name in ["dead", "other", "source-7"] {
        done(&broker, &format!("Action=CreateQueue&queueName={name}")).await;
    }
    for number in 1..=6 {
        done(&broker, &format!("Action=CreateQueue&queueName=source-{number}{bind}")).await;
    }
    let nested = policy(r#"{"deadLetterQueue":"source-1","policy":0,"maxReceiveCount":1}"#);
    for (form, row) in [
        (policy("none"), (4000, 10710)),
        (policy(r#"{"deadLetterQueue":"dead","policy":0}"#), (4000, 10720)),
        (policy(r#"{"deadLetterQueue":"none","policy":0,"maxReceiveCount":1}"#), (4000, 10730)),
        (nested, (4000, 10740)),
        (policy(r#"{"policy":0,"maxReceiveCount":1}"#), (4000, 10760)),
        (policy(r#"{"deadLetterQueue":"dead","policy":2}"#), (4000, 10770)),
        (bind, (4000, 10780)),
        (policy(r#"{"deadLetterQueue":"dead","policy":1,"maxTimeToLive":299}"#), (4000, 10350)),
    ] {
        caused.by(&broker, &format!("Action=CreateQueue&queueName=new{form}"), row).await;
        caused.by(&broker, &format!("Action=SetQueueAttributes&queueName=source-7{form}"), row).await;
    }
    caused.by(&broker, "Action=DeleteQueue&queueName=dead", (4000, 10750)).await;
    // Messages must be old enough for the dead-letter queue before they expire, whatever changes first.
    let by_age = policy(r#"{"deadLetterQueue":"other","policy":1,"maxTimeToLive":300}"#);
    done(&broker, &format!("Action=SetQueueAttributes&queueName=source-7{by_age}")).await;
    let shorter = "Action=SetQueueAttributes&queueName=source-7&msgRetentionSeconds=300";
    caused.by(&broker, shorter, (4000, 10350)).await;
}

async fn messages(caused: &mut Caused) {
    let broker = Broker::open().await;
    done(&broker, "Action=CreateQueue&queueName=q&maxMsgSize=1024").await;
    let narrow = QueueAttributes { max_in_flight: 1, max_delayed: 1, ..QueueAttributes::default() };
    broker.service.create_queue("narrow", narrow, None).await.unwrap();
    // Fewer than a call or a manifest can ask for, so that the test needs few.
    let shallow = QueueAttributes { max_messages: 2, ..QueueAttributes::default() };
    broker.service.create_queue("shallow", shallow, None).await.unwrap();

    let large = "x".repeat(1_025);
    caused.by(&broker, &format!("Action=SendMessage&queueName=q&msgBody={large}"), (4400, 10230)).await;
    let batch = format!("Action=BatchSendMessage&queueName=q&msgBody.0=small&msgBody.1={large}");
    caused.by(&broker, &batch, (4400, 10230)).await;
    caused.by(&broker, "Action=ReceiveMessage&queueName=q", (7000, 10200)).await;
    caused.by(&broker, "Action=DeleteMessage&queueName=q&receiptHandle=none", (4430, 10260)).await;

    done(&broker, "Action=SendMessage&queueName=shallow&msgBody=m").await;
    let two = "Action=BatchSendMessage&queueName=shallow&msgBody.0=a&msgBody.1=b";
    caused.by(&broker, two, (4410, 10240)).await;

    done(&broker, "Action=BatchSendMessage&queueName=narrow&msgBody.0=a&msgBody.1=b").await;
    let taken = broker.post("Action=ReceiveMessage&queueName=narrow").await;
    caused.by(&broker, "Action=ReceiveMessage&queueName=narrow", (6070, 10690)).await;
    done(&broker, "Action=SendMessage&queueName=narrow&msgBody=m&delaySeconds=60").await;
    let delayed = "Action=SendMessage&queueName=narrow&msgBody=m&delaySeconds=60";
    caused.by(&broker, delayed, (6070, 10690)).await;

    let handle = taken["receiptHandle"].as_str().unwrap();
    let delete = |other: &str| {
        format!("Action=BatchDeleteMessage&queueName=narrow&receiptHandle.0={other}&receiptHandle.1={handle}")
    };
    caused.by(&broker, &delete("none"), (6010, 10150)).await;
    caused.by(&broker, &delete("none"), (6020, 10290)).await;
}

async fn keys(caused: &mut Caused) {
    let access = access::with_keys([("AKIDexample", "example-secret-key")]);
    let broker = Broker::start(Setup { access, ..Setup::default() }).await;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let form = |id: &str| {
        format!(
            "Action=ListQueue&Nonce=1&Timestamp={now}&SecretId={id}&Signature=AAAAAAAAAAAAAAAAAAAAAAAAAAA%3D"
        )
    };
    caused.by(&broker, &form("AKIDexample"), (4100, 10030)).await;
    caused.by(&broker, &form("AKIDother"), (4100, 10270)).await;
    caused.by(&broker, &form("example"), (4000, 10450)).await;
}

async fn bounds(caused: &mut Caused) {
    let rates = Rates { queue: NonZeroU32::new(1), manage: NonZeroU32::new(2) };
    let limits = Limits { body_bytes: 100, ..Limits::default() };
    let broker = Broker::start(Setup { rates, limits, ..Setup::default() }).await;
    done(&broker, "Action=CreateQueue&queueName=q").await;
    caused.soon_by(&broker, "Action=SendMessage&queueName=q&msgBody=m", (4420, 10250)).await;
    caused.soon_by(&broker, "Action=ReceiveMessage&queueName=q", (4420, 10250)).await;
    caused.soon_by(&broker, "Action=GetQueueAttributes&queueName=q", (4480, 10460)).await;
    let body = "x".repeat(100);
    caused.by(&broker, &format!("Action=SendMessage&queueName=q&msgBody={body}"), (6000, 10050)).await;

    let full = Broker::open().await;
    const AT_ONCE: usize = 100;
    let mut making = JoinSet::new();
    for part in 0..AT_ONCE {
        let service = full.service.clone();
        making.spawn(async move {
            for number in (part..QUEUES_MAX).step_by(AT_ONCE) {
                service.create_queue(&format!("q{number}"), QueueAttributes::default(), None).await.unwrap();
            }
        });
    }
    making.join_all().await;
    caused.by(&full, "Action=CreateQueue&queueName=more", (4450, 10220)).await;
}

/// The lines of the table in `docs/cmq.md`: codes, text, and how a call causes it or why none can.
#[test]
fn the_documented_rows_are_the_ones_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cmq.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut documented = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [codes, text, cause] = cells[..] else { continue };
        let Some((code, module)) = codes.split_once(" / ") else { continue };
        let (Ok(code), Ok(module)) = (code.parse::<u32>(), module.parse::<u32>()) else { continue };
        let twice = documented.insert((code, module), (text.to_owned(), !cause.starts_with("never:")));
        assert!(twice.is_none(), "{codes} is there twice");
    }
    let known: BTreeSet<Row> =
        PROTOCOL.iter().flat_map(|(code, modules)| modules.iter().map(|module| (*code, *module))).collect();
    assert_eq!(documented.keys().copied().collect::<BTreeSet<Row>>(), known);
    let served: BTreeMap<Row, String> =
        ROWS.iter().map(|error| ((error.code, error.module), error.text.to_string())).collect();
    for (row, (text, is_served)) in documented {
        assert_eq!(is_served.then_some(&text), served.get(&row), "{row:?}");
    }
}
