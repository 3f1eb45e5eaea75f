//! Names, types and labels are those of `docs/metrics.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;

type Families = BTreeMap<String, (String, BTreeSet<String>)>;

/// The rows of the page whose names are ours.
fn documented() -> Families {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md")).unwrap();
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let kind = cells.next()?.to_owned();
        let labels = cells.next()?.split(',').map(str::trim).filter(|label| !label.is_empty());
        name.starts_with(PREFIX).then(|| (name.to_owned(), (kind, labels.map(str::to_owned).collect())))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let metrics = Arc::new(Metrics::new());
    metrics.reconcile("queue").failed("api");
    metrics.watch_opened("queues");
    metrics.watch_failed("queues");
    metrics.set_objects("queue", 3);
    metrics.set_leader(true);
    metrics.broker_called("declare", "ok");
    metrics.rollout("step");
    metrics.resize("done");
    let family = |family: &prometheus::proto::MetricFamily| {
        let labels = family.get_metric()[0].get_label().iter().map(|label| label.name().to_owned()).collect();
        (family.name().to_owned(), (format!("{:?}", family.get_field_type()).to_lowercase(), labels))
    };
    let shown: Families = metrics.registry().gather().iter().map(family).collect();
    assert_eq!(shown, documented());
}

#[test]
fn a_look_that_is_cut_off_is_counted() {
    let metrics = Arc::new(Metrics::new());
    let look = metrics.reconcile("queue");
    assert_eq!(metrics.in_flight.with_label_values(&["queue"]).get(), 1);
    drop(look);
    metrics.reconcile("queue").done();
    assert_eq!(metrics.in_flight.with_label_values(&["queue"]).get(), 0);
    for result in ["cut_off", "ok"] {
        assert_eq!(metrics.reconciles.with_label_values(&["queue", result]).get(), 1, "{result}");
    }
}
