//! The tables of `docs/limits.md` say what the constants say.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cmq_broker::api::{admin, http::limits as http};
use cmq_broker::replication::{browse, fold, runtime, waiters};
use cmq_broker::service::{operator, types};
use cmq_broker::storage::{SEARCH_BYTES_MAX, budget, options};
use cmq_broker::{access, manifests, server, tls};
use cmq_engine::limits as engine;

fn number(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().ok().expect("a limit is not negative").to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

fn bytes(bytes: impl TryInto<u64>) -> String {
    let bytes = bytes.try_into().ok().expect("a limit is not negative");
    match bytes {
        mib if mib % (1 << 20) == 0 => format!("{} MiB", number(mib >> 20)),
        kib if kib % (1 << 10) == 0 => format!("{} KiB", number(kib >> 10)),
        odd => number(odd),
    }
}

fn time(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// Every constant of the page, with its value as the page writes it.
fn constants() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("api::http::limits::CONNECTIONS_MAX", number(http::CONNECTIONS_MAX)),
        ("server::DESCRIPTORS_KEPT", number(server::DESCRIPTORS_KEPT)),
        ("api::http::limits::CALLS_MAX", number(http::CALLS_MAX)),
        ("api::admin::CONNECTIONS_MAX", number(admin::CONNECTIONS_MAX)),
        ("api::admin::CALLS_MAX", number(admin::CALLS_MAX)),
        ("api::admin::ANSWERS_BYTES_MAX", bytes(admin::ANSWERS_BYTES_MAX)),
        ("api::admin::BODY_BYTES_MAX", bytes(admin::BODY_BYTES_MAX)),
        ("api::admin::declare::BODY_BYTES_MAX", bytes(admin::declare::BODY_BYTES_MAX)),
        ("api::admin::declare::OBJECTS_MAX", number(admin::declare::OBJECTS_MAX)),
        ("api::admin::declare::SPEC_BYTES_MAX", bytes(admin::declare::SPEC_BYTES_MAX)),
        ("api::http::limits::HANDSHAKE_WITHIN", time(http::HANDSHAKE_WITHIN)),
        ("tls::FILE_BYTES_MAX", bytes(tls::FILE_BYTES_MAX)),
        ("api::http::limits::STREAMS_MAX", number(http::STREAMS_MAX)),
        ("api::http::limits::RESETS_MAX", number(http::RESETS_MAX)),
        ("api::http::limits::BUFFER_BYTES_MAX", bytes(http::BUFFER_BYTES_MAX)),
        ("api::http::limits::HEADERS_MAX", number(http::HEADERS_MAX)),
        ("api::http::limits::HEADER_LIST_BYTES_MAX", bytes(http::HEADER_LIST_BYTES_MAX)),
        ("api::http::limits::LARGE_HEADS_BYTES_MAX", bytes(http::LARGE_HEADS_BYTES_MAX)),
        ("api::http::limits::BODY_BYTES_MAX", bytes(http::BODY_BYTES_MAX)),
        ("api::http::limits::DRAINED_BYTES_MAX", bytes(http::DRAINED_BYTES_MAX)),
        ("api::http::limits::STREAM_WINDOW_BYTES", bytes(http::STREAM_WINDOW_BYTES)),
        ("api::http::limits::CONNECTION_WINDOW_BYTES", bytes(http::CONNECTION_WINDOW_BYTES)),
        ("api::http::limits::STREAM_SEND_BYTES_MAX", bytes(http::STREAM_SEND_BYTES_MAX)),
        ("api::http::limits::FIRST_BYTES_WITHIN", time(http::FIRST_BYTES_WITHIN)),
        ("api::http::limits::NEXT_REQUEST_WITHIN", time(http::NEXT_REQUEST_WITHIN)),
        ("api::http::limits::BODY_WITHIN", time(http::BODY_WITHIN)),
        ("api::http::limits::READS_ANSWER_WITHIN", time(http::READS_ANSWER_WITHIN)),
        ("service::types::BATCH_MESSAGES_MAX", number(types::BATCH_MESSAGES_MAX)),
        ("service::types::LIST_PAGE_MAX", number(types::LIST_PAGE_MAX)),
        ("access::KEYS_MAX", number(access::KEYS_MAX)),
        ("replication::runtime::REQUESTS_MAX", number(runtime::REQUESTS_MAX)),
        ("replication::runtime::LOOKS_MAX", number(runtime::LOOKS_MAX)),
        ("replication::fold::WAITING_OPERATIONS_MAX", number(fold::WAITING_OPERATIONS_MAX)),
        ("replication::fold::WAITING_BYTES_MAX", bytes(fold::WAITING_BYTES_MAX)),
        ("replication::fold::WAITING_CHANGES_MAX", number(fold::WAITING_CHANGES_MAX)),
        ("replication::fold::ENTRY_BYTES_MAX", bytes(fold::ENTRY_BYTES_MAX)),
        ("engine::limits::ENTRY_BODIES_MAX", number(engine::ENTRY_BODIES_MAX)),
        ("replication::fold::TURN_BYTES_MAX", bytes(fold::TURN_BYTES_MAX)),
        ("replication::fold::TURN_ANSWER_BYTES_MAX", bytes(fold::TURN_ANSWER_BYTES_MAX)),
        ("engine::limits::RECEIVE_BYTES_MAX", bytes(engine::RECEIVE_BYTES_MAX)),
        ("replication::waiters::WAITERS_PER_QUEUE_MAX", number(waiters::WAITERS_PER_QUEUE_MAX)),
        ("replication::waiters::WAITERS_MAX", number(waiters::WAITERS_MAX)),
        ("storage::options::COMMIT_BYTES_MAX", bytes(options::COMMIT_BYTES_MAX)),
        ("storage::options::COMMIT_QUEUE_BYTES_MAX", bytes(options::COMMIT_QUEUE_BYTES_MAX)),
        ("storage::budget::SEALED_MEMTABLES_MAX", number(budget::SEALED_MEMTABLES_MAX)),
        ("engine::limits::QUEUES_MAX", number(engine::QUEUES_MAX)),
        ("engine::limits::RECORDS_MAX", number(engine::RECORDS_MAX)),
        ("engine::limits::LANES_MAX", number(engine::LANES_MAX)),
        ("engine::limits::DEDUPLICATION_IDS_MAX", number(engine::DEDUPLICATION_IDS_MAX)),
        ("engine::limits::DISORDERED_CHUNKS_MAX", number(engine::DISORDERED_CHUNKS_MAX)),
        ("engine::limits::STEPS_MAX", number(engine::STEPS_MAX)),
        ("engine::limits::REMOVALS_MAX", number(engine::REMOVALS_MAX)),
        ("engine::limits::SHARDS_MAX", number(engine::SHARDS_MAX)),
        ("manifests::DEPTH_MAX", number(manifests::DEPTH_MAX)),
        ("manifests::FILE_BYTES_MAX", bytes(manifests::FILE_BYTES_MAX)),
        ("manifests::FILES_MAX", number(manifests::FILES_MAX)),
        ("service::operator::WALKS_MAX", number(operator::WALKS_MAX)),
        ("service::operator::PAGE_MESSAGES_MAX", number(operator::PAGE_MESSAGES_MAX)),
        ("service::operator::PAGE_QUEUES_MAX", number(operator::PAGE_QUEUES_MAX)),
        ("service::operator::PAGE_BODY_BYTES_MAX", bytes(operator::PAGE_BODY_BYTES_MAX)),
        ("service::operator::CALL_LOOKS_MAX", number(operator::CALL_LOOKS_MAX)),
        ("service::operator::SEARCHED_MESSAGES_MAX", number(operator::SEARCHED_MESSAGES_MAX)),
        ("service::operator::SEARCHED_BYTES_MAX", bytes(operator::SEARCHED_BYTES_MAX)),
        ("replication::browse::STEP_LOOKS_MAX", number(browse::STEP_LOOKS_MAX)),
        ("replication::browse::STEP_PAGES_MAX", number(browse::STEP_PAGES_MAX)),
        ("storage::SEARCH_BYTES_MAX", bytes(SEARCH_BYTES_MAX)),
        ("storage::options::JOURNAL_BYTES_MAX", bytes(options::JOURNAL_BYTES_MAX)),
        ("storage::options::RESERVE_BYTES", bytes(options::RESERVE_BYTES)),
        ("storage::options::VOLUME_BYTES_MIN", bytes(options::VOLUME_BYTES_MIN)),
    ])
}

#[test]
fn the_page_says_what_the_constants_say() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/limits.md")).unwrap();
    let mut wanted = constants();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Some(constant) = cells.get(3).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`')) else {
            continue;
        };
        let value = wanted.remove(constant);
        assert_eq!(value.as_deref(), Some(cells[2]), "the limit of {constant} in docs/limits.md");
    }
    assert!(wanted.is_empty(), "docs/limits.md lacks {wanted:?}");
}
