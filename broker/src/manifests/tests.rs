use std::path::{Path, PathBuf};

use cmq_crds::queue::DeletionPolicy;
use cmq_engine::attributes::{DeadLetterRule, DeduplicationScope, QueueAttributes, QueueKind};
use proptest::prelude::*;

use super::{DeclaredQueue, FILE_BYTES_MAX, ManifestError, Manifests, load};

/// The queue `name` on a shared Broker, with further lines of the spec.
fn queue(name: &str, spec: &str) -> String {
    let head = format!("apiVersion: cmq.dev/v1alpha1\nkind: Queue\nmetadata:\n  name: {name}\n");
    format!("{head}spec:\n  brokerRef: {{name: shared}}\n{spec}")
}

fn dead_letter(name: &str) -> String {
    format!("  deadLetter:\n    queueRef:\n      name: {name}\n    maxReceiveCount: 3\n")
}

/// Loads files of these names and texts from a directory; errors name files without it.
fn load_files(files: &[(&str, &str)]) -> Result<Vec<DeclaredQueue>, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    load(folder.path())
        .map(Manifests::into_queues)
        .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

/// The names, in order, that files declare.
fn check(files: &[(&str, &str)], expected: &[&str]) {
    let queues = load_files(files).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>(), expected);
}

/// What each line of the error begins with, and a part of what it says.
fn check_error(files: &[(&str, &str)], expected: &[(&str, &str)]) {
    let error = load_files(files).expect_err("these files are wrong");
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{error}");
    for (line, (start, part)) in lines.iter().zip(expected) {
        assert!(
            line.starts_with(start) && line.contains(part),
            "expected {start:?} … {part:?}, found {line:?}"
        );
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

#[test]
fn the_quickstart_declares_two_queues() {
    let path = example("quickstart.yaml");
    let queues = load(&path).unwrap().into_queues();
    let [dead, orders] = queues.as_slice() else { panic!("{queues:?}") };
    assert_eq!((dead.name.as_str(), orders.name.as_str()), ("orders-dead", "orders"));
    assert_eq!(orders.dead_letter, Some(("orders-dead".into(), DeadLetterRule::MaxReceiveCount(5))));
    assert_eq!(orders.attributes, QueueAttributes { polling_wait_seconds: 10, ..QueueAttributes::default() });
    assert_eq!(
        dead.attributes,
        QueueAttributes { retention_seconds: 1_209_600, ..QueueAttributes::default() }
    );
    assert_eq!(
        (dead.deletion_policy, orders.deletion_policy),
        (DeletionPolicy::Retain, DeletionPolicy::DeleteIfEmpty)
    );
    assert_eq!((dead.ignored_placement, orders.ignored_placement), (true, false));
    assert!(dead.cluster_warnings.is_empty() && orders.cluster_warnings.is_empty());
    let place = format!("in {}:", path.display());
    assert!(
        orders.source.starts_with("Queue orders ") && orders.source.contains(&place),
        "{}",
        orders.source
    );
}

#[test]
fn what_files_declare() {
    check(&[], &[]);
    check(&[("a.yaml", "# nothing yet\n")], &[]);
    check(
        &[("a.yaml", &format!("---\n{}---\n---\n{}", queue("one", ""), queue("two", "")))],
        &["one", "two"],
    );
    check(
        &[
            ("b.yml", &queue("from-b", "")),
            ("a.yaml", &queue("from-a", "")),
            (
                "c.json",
                "{\n\t\"apiVersion\": \"cmq.dev/v1alpha1\", \"kind\": \"Queue\",\n\t\"metadata\": {\"name\": \"from-c\"}, \"spec\": {\"broker\": {}}\n}\n",
            ),
            (".hidden.yaml", "not: a queue"),
            ("notes.txt", "not a queue"),
        ],
        &["from-a", "from-b", "from-c"],
    );
    // Windows line ends, a byte order mark, an anchor.
    let text = format!("\u{feff}{}", queue("marked", "  delaySeconds: &d 5\n  rewindSeconds: *d\n"))
        .replace('\n', "\r\n");
    check(&[("a.yaml", &text)], &["marked"]);
    // Sources before and after their dead-letter queue, also in another file.
    check(
        &[
            ("a.yaml", &format!("{}---\n{}", queue("s1", &dead_letter("dead")), queue("plain", ""))),
            (
                "b.yaml",
                &format!(
                    "{}---\n{}",
                    queue("dead", "  queueName: Dead\n"),
                    queue("s2", &dead_letter("dead"))
                ),
            ),
        ],
        &["plain", "Dead", "s1", "s2"],
    );
    // One object name in two namespaces, with two names on the wire.
    let elsewhere = queue("orders", "  queueName: other-orders\n")
        .replace("name: orders", "name: orders\n  namespace: b");
    check(&[("a.yaml", &format!("{}---\n{elsewhere}", queue("orders", "")))], &["orders", "other-orders"]);
}

#[test]
fn attributes_arrive() {
    let text = queue(
        "o",
        "  queueName: O_1.fifo\n  deletionPolicy: Delete\n  delaySeconds: 1\n  visibilityTimeoutSeconds: 2\n  \
         retentionSeconds: 600\n  rewindSeconds: 0\n  pollingWaitSeconds: 3\n  maxMessageBytes: 2048\n  \
         maxMessages: 2000000\n  maxInFlight: 5\n  maxDelayed: 6\n  fifo:\n    deduplicationScope: MessageGroup\n    \
         contentBasedDeduplication: true\n  deadLetter:\n    queueRef: {name: d}\n    maxTimeToLiveSeconds: 300\n",
    );
    let text = format!("{text}---\n{}", queue("d", "  queueName: D.fifo\n  fifo: {}\n"));
    let queues = load_files(&[("a.yaml", &text)]).unwrap();
    let queue = &queues[1];
    assert_eq!(
        queue.attributes,
        QueueAttributes {
            kind: QueueKind::Fifo { deduplication: DeduplicationScope::MessageGroup },
            content_based_deduplication: true,
            delay_seconds: 1,
            visibility_timeout_seconds: 2,
            retention_seconds: 600,
            rewind_seconds: 0,
            polling_wait_seconds: 3,
            max_message_bytes: 2_048,
            max_messages: 2_000_000,
            max_in_flight: 5,
            max_delayed: 6,
            dead_letter: None,
            closed: false,
        }
    );
    assert_eq!((queue.name.as_str(), queue.deletion_policy), ("O_1.fifo", DeletionPolicy::Delete));
    assert_eq!(queue.dead_letter, Some(("D.fifo".into(), DeadLetterRule::MaxTimeToLiveSeconds(300))));
    assert!(!queues[0].attributes.content_based_deduplication);
}

#[test]
fn wrong_fields_are_named_with_their_line() {
    for (spec, start, part) in [
        ("  delaySecond: 1\n", "a.yaml:7: spec.delaySecond: unknown field", "delaySeconds"),
        ("  delaySeconds: 3601\n", "a.yaml:7: spec.delaySeconds: is 3601; allowed:", "from 0 to 3600"),
        ("  delaySeconds: soon\n", "a.yaml:7: spec.delaySeconds: is the text \"soon\"", "a whole number"),
        ("  delaySeconds: 020\n", "a.yaml:7: spec.delaySeconds: is the text \"020\"", "a whole number"),
        (
            "  delaySeconds: 1\n\n  rewindSeconds: [1]\n",
            "a.yaml:9: spec.rewindSeconds: is a list",
            "from 0 to",
        ),
        ("  queueName: a b\n", "a.yaml:7: spec.queueName: is \"a b\"", "matches"),
        (
            "  queueName:\n    orders\n  broker:\n    storage:\n      sizes: 1Gi\n",
            "a.yaml:11: spec.broker.storage.sizes",
            "size",
        ),
        ("  deadLetter:\n    maxReceiveCount: 1\n", "a.yaml:7: spec.deadLetter.queueRef: is missing", "name"),
        ("  broker: {}\n", "a.yaml:5: spec: has both", "exactly one of"),
        (
            "  rewindSeconds: 345601\n",
            "a.yaml:7: spec.rewindSeconds: is 345601",
            "spec.retentionSeconds, which is 345600",
        ),
        (
            "  delaySeconds: 1\n  delaySeconds: 2\n",
            "a.yaml:8: (syntax): duplicate mapping key `delaySeconds`",
            "YAML",
        ),
        ("  delaySeconds: {\n", "a.yaml:", "(syntax)"),
        ("  queueName: !include x\n", "a.yaml:7: (syntax)", ""),
    ] {
        check_error(&[("a.yaml", &queue("orders", spec))], &[(start, part)]);
    }
}

#[test]
fn other_objects_are_refused() {
    for (text, start, part) in [
        (
            "apiVersion: v1\nkind: ConfigMap\ndata: {}\n",
            "a.yaml:1: apiVersion: is \"v1\"",
            "cmq.dev/v1alpha1",
        ),
        (
            "apiVersion: cmq.dev/v1\nkind: Queue\n",
            "a.yaml:1: apiVersion: is \"cmq.dev/v1\"",
            "cmq.dev/v1alpha1",
        ),
        (
            "# text\napiVersion: cmq.dev/v1alpha1\nkind: Topic\n",
            "a.yaml:3: kind: is \"Topic\"",
            "Queue or Broker",
        ),
        ("apiVersion: cmq.dev/v1alpha1\n", "a.yaml:1: kind: is missing", "Queue or Broker"),
        ("kind: Queue\n", "a.yaml:1: apiVersion: is missing", "cmq.dev/v1alpha1"),
        ("- a list\n", "a.yaml:1: (the object): is not a set of fields", "metadata"),
        ("text\n", "a.yaml:1: (the object): is not a set of fields", "metadata"),
    ] {
        check_error(&[("a.yaml", text)], &[(start, part)]);
    }
}

/// The Broker `name`, with further lines of the object.
fn broker(name: &str, spec: &str) -> String {
    format!("apiVersion: cmq.dev/v1alpha1\nkind: Broker\nmetadata:\n  name: {name}\nspec: {spec}\n")
}

#[test]
fn brokers_are_checked_and_then_ignored() {
    let shared = broker("shared", "{storage: {size: 20Gi}}");
    let files = [("a.yaml", format!("{shared}---\n{}", queue("orders", "")))];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    check(&files, &["orders"]);
    assert!(load_files(&files).unwrap()[0].cluster_warnings.is_empty());
    check(&[("a.yaml", &shared)], &[]);
    // Queues and Brokers may share a name, two Brokers of one namespace may not.
    check(&[("a.yaml", &broker("orders", "{}")), ("b.yaml", &queue("orders", ""))], &["orders"]);
    let elsewhere = shared.replace("name: shared", "name: shared\n  namespace: b");
    check(&[("a.yaml", &shared), ("b.yaml", &elsewhere)], &[]);
    check_error(
        &[("a.yaml", &shared), ("b.yaml", &shared)],
        &[(
            "b.yaml:4: metadata.name: \"shared\" is the name of Broker shared in a.yaml:1 already",
            "each name once",
        )],
    );
    check_error(
        &[("a.yaml", &broker("shared", "{storage: {size: 1Mi}, replica: 3}"))],
        &[("a.yaml:5: spec.replica: unknown field", "replicas")],
    );
    check_error(
        &[("a.yaml", &broker("shared", "{storage: {size: 1Mi}}"))],
        &[("a.yaml:5: spec.storage.size: is \"1Mi\"", "at least 1Gi")],
    );
    // Pods of its own would have the name of pods that are there.
    let own = queue("orders", "").replace("brokerRef: {name: shared}", "broker: {}");
    let taken = load_files(&[("a.yaml", &own), ("b.yaml", &broker("orders", "{}"))]).unwrap();
    let [warning] = taken[0].cluster_warnings.as_slice() else { panic!("{taken:?}") };
    assert!(warning.contains("Broker orders in") && warning.contains("NameConflict"), "{warning}");
}

#[test]
fn every_problem_of_every_file_is_reported() {
    check_error(
        &[
            (
                "a.yaml",
                &format!(
                    "{}---\n{}",
                    queue("one", "  maxDelayed: 0\n  delaySeconds: -1\n"),
                    queue("Two", "")
                ),
            ),
            ("b.yaml", "a: b: c\n"),
        ],
        &[
            ("a.yaml:7: spec.maxDelayed: is 0", ""),
            ("a.yaml:8: spec.delaySeconds: is -1", ""),
            ("a.yaml:13: metadata.name: is \"Two\"", ""),
            ("b.yaml:1: (syntax)", ""),
        ],
    );
    let many: String = (0..60).map(|_| queue("many", "  delaySeconds: -1\n") + "---\n").collect();
    let error = load_files(&[("a.yaml", &many)]).expect_err("sixty problems");
    assert_eq!((error.lines().count(), error.lines().last()), (51, Some("and 10 more")));
}

#[test]
fn names_clash() {
    let two = |first: String, second: String| format!("{first}---\n{second}");
    for (text, start, part) in [
        (
            two(queue("a", ""), queue("a", "")),
            "a.yaml:11: metadata.name: \"a\" is the name of Queue a in",
            "a.yaml:1",
        ),
        (
            two(queue("a", ""), queue("b", "  queueName: a\n")),
            "a.yaml:14: spec.queueName: \"a\" is declared by",
            "a.yaml:1",
        ),
        (
            two(queue("a", ""), queue("b", "  queueName: A\n")),
            "a.yaml:14: spec.queueName: \"A\" is declared by",
            "as \"a\"",
        ),
        (
            two(queue("b", "  queueName: A\n"), queue("a", "")),
            "a.yaml:12: metadata.name: \"a\" is declared by",
            "as \"A\"",
        ),
    ] {
        check_error(&[("a.yaml", &text)], &[(start, part)]);
    }
    check_error(
        &[("a.yaml", &queue("q", "")), ("b.yaml", &queue("q", ""))],
        &[("b.yaml:4: metadata.name: \"q\" is the name of Queue q in a.yaml:1", "")],
    );
}

#[test]
fn dead_letter_queues_must_be_able_to_be_one() {
    let field = "spec.deadLetter.queueRef.name";
    let source = queue("source", &dead_letter("target"));
    let check_target = |target: String, part: &str| {
        check_error(
            &[("a.yaml", &format!("{source}---\n{target}"))],
            &[(&format!("a.yaml:9: {field}: "), part)],
        );
    };
    check_target(queue("other", ""), "\"target\" is not declared");
    check_target(queue("other", "  queueName: target\n"), "\"target\" is not declared");
    check_target(
        queue("target", "").replace("name: target", "name: target\n  namespace: b"),
        "of namespace default",
    );
    check_target(queue("target", "  queueName: t.fifo\n  fifo: {}\n"), "is of another type");
    // A chain and a circle.
    check_error(
        &[(
            "a.yaml",
            &format!("{source}---\n{}---\n{}", queue("target", &dead_letter("end")), queue("end", "")),
        )],
        &[(
            &format!("a.yaml:9: {field}: Queue target in a.yaml:12 has a dead-letter queue itself"),
            "without deadLetter",
        )],
    );
    check_error(
        &[("a.yaml", &format!("{source}---\n{}", queue("target", &dead_letter("source"))))],
        &[(&format!("a.yaml:9: {field}: "), "itself"), (&format!("a.yaml:20: {field}: "), "itself")],
    );
    let six: String = (0..6).map(|n| queue(&format!("s{n}"), &dead_letter("target")) + "---\n").collect();
    let target = queue("target", "");
    assert_eq!(load_files(&[("a.yaml", &format!("{six}{target}"))]).unwrap().len(), 7);
    check_error(
        &[("a.yaml", &format!("{six}{source}---\n{target}"))],
        &[(&format!("a.yaml:75: {field}: "), "serves 6 queues before this one; allowed: at most 6 sources")],
    );
}

#[test]
fn placement_is_told_apart_and_a_broker_too_far_is_told() {
    let own = |name: &str, broker: &str, spec: &str| {
        queue(name, spec).replace("brokerRef: {name: shared}", &format!("broker: {broker}"))
    };
    for (text, ignored, warned) in [
        (own("a", "{}", ""), false, false),
        (own("a", "{replicas: 1}", ""), false, false),
        (own("a", "{storage: {size: 20Gi}}", ""), true, false),
        (queue("a", ""), true, false),
        (queue("a", &dead_letter("d")) + "---\n" + &queue("d", ""), true, false),
        (own("shared", "{}", &dead_letter("d")) + "---\n" + &queue("d", ""), false, false),
        (own("a", "{}", &dead_letter("d")) + "---\n" + &queue("d", ""), false, true),
        (own("a", "{}", &dead_letter("d")) + "---\n" + &own("d", "{}", ""), false, true),
    ] {
        let queues = load_files(&[("a.yaml", &text)]).unwrap();
        let queue = queues.last().unwrap();
        assert_eq!(
            (queue.ignored_placement, !queue.cluster_warnings.is_empty()),
            (ignored, warned),
            "{text}\n{queue:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load(&folder.path().join("missing.yaml"));
    assert!(matches!(missing, Err(ManifestError::Read { .. })), "{missing:?}");
    let binary = folder.path().join("binary.yaml");
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    assert!(matches!(load(&binary), Err(ManifestError::Read { .. })));
    let large = folder.path().join("large.yaml");
    std::fs::File::create(&large).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    assert!(matches!(load(&large), Err(ManifestError::FileTooLarge { .. })));
}

/// Deep nesting and repeated aliases are refused, not followed.
#[test]
fn bombs_are_refused() {
    let deep = ["[", "{a: ", "- "].map(|open| open.repeat(100_000));
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let item = format!("*a{}, ", level - 1);
        laughs += &format!("a{level}: &a{level} [{}]\n", item.repeat(10).trim_end_matches(", "));
    }
    for text in deep.into_iter().chain([laughs]) {
        let error = load_files(&[("a.yaml", &text)]).expect_err("a bomb");
        assert!(error.contains("(syntax)"), "{error}");
    }
}

/// As many queues as a Broker takes, in one file; one more is refused.
#[test]
fn ten_thousand_queues_in_one_file() {
    let mut text: String =
        (0..10_000).map(|n| queue(&format!("q{n}"), "  delaySeconds: 1\n") + "---\n").collect();
    assert_eq!(load_files(&[("a.yaml", &text)]).unwrap().len(), 10_000);
    text += &queue("one-more", "");
    let error = load_files(&[("a.yaml", &text)]).expect_err("too many queues");
    assert!(
        error.contains("metadata.name: is one of 10001 queues; allowed: at most 10000 queues"),
        "{error}"
    );
}

proptest! {
    /// Whatever is done to a file, it is read or refused, and what is refused is refused at a line that is there.
    #[test]
    fn damaged_files_are_read_or_refused(
        edits in prop::collection::vec((0..2_000_usize, 0..40_usize, "[-a-z0-9:{}\\[\\]&*!|>#\"' \n\t]{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = std::fs::read_to_string(example("quickstart.yaml")).unwrap().chars().collect();
        for (at, removed, put) in edits {
            let start = at.min(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        match load(file.path()) {
            Ok(manifests) => prop_assert!(manifests.into_queues().len() <= 2),
            Err(ManifestError::Invalid(problems)) => {
                let lines = text.split('\n').count() as u64;
                for problem in problems {
                    prop_assert!((1..=lines).contains(&problem.line), "{problem}\n{text}");
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
