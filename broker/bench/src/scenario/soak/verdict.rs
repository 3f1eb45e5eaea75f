//! What the soak asks of the series, and whether they are so.
//!
//! The bounds were set before any run. A series passes when its slope over the time after the settling, times an hour,
//! stays below its bound; a slope is the median of all pairs of looks, so that the saw teeth of flushes and compactions
//! and a spell of a busy machine do not count, and what grows all the time does.

use super::findings::Finding;
use super::trend;
use super::watch::Watch;
use super::world::{Kind, World};
use crate::report::{Bound, Section, grouped, megabytes};

/// Shortest time after the settling over which slopes decide. A shorter run shows them.
const JUDGED_SECONDS: f64 = 1_800.0;

/// A queue that lost 10 % of its disk an hour would fill a volume with twice its need in seven hours; compaction alone
/// moves a level of 64 MB in or out of the figure, which is why it is not less.
const DISK_PERCENT_MAX: f64 = 10.0;

/// 5 % of 100 MB is 5 MB an hour: 4 bytes for each of the 1.4 million messages of an hour. No record, handle or row that is
/// forgotten is that small.
const RESIDENT_PERCENT_MAX: f64 = 5.0;

/// One forgotten file or socket for each of the 1,800 queues or 30 rewinds of an hour is far above it.
const HANDLES_MAX: f64 = 2.0;

/// The machine and its disk swing by more than this from minute to minute, but not in one direction for an hour.
const LATENCY_PERCENT_MAX: f64 = 20.0;

/// Latencies below this count as this, in milliseconds: a sync and a turn of the scheduler swing by as much.
const LATENCY_MS_MIN: f64 = 5.0;

/// Latencies that are judged: those with hundreds of calls between two looks.
const JUDGED: [Kind; 4] = [Kind::Send, Kind::Receive, Kind::Delete, Kind::Delivery];

/// The bounds in words, for the start of the run.
pub(super) fn bounds() -> String {
    let latencies = JUDGED.map(Kind::name).join(", ");
    format!(
        "Bounds, each on the median slope (Theil–Sen) after the settling, times one hour: disk below {DISK_PERCENT_MAX} % \
         of its median, resident memory below {RESIDENT_PERCENT_MAX} %, file handles below {HANDLES_MAX}, p99 of {latencies} \
         below {LATENCY_PERCENT_MAX} % of the median (at least {LATENCY_MS_MIN} ms). No failed call, no finding, no message \
         left."
    )
}

/// The series' table and its gates.
pub(super) fn series(watch: &Watch, settled_after: f64) -> Section {
    let how = format!(
        "One look every {} s; the first {:.0} minutes are settling. Growth is the median slope of all pairs of looks \
         (Theil–Sen), for an hour. MB are 10⁶ bytes.",
        super::watch::INTERVAL.as_secs(),
        settled_after / 60.0
    );
    let mut section = Section::new("Series", how, &["", "median", "smallest – largest", "growth an hour"]);
    let points = |column: &str| -> Vec<(f64, f64)> {
        let Some(at) = watch.columns.iter().position(|name| name == column) else { return Vec::new() };
        let settled = watch.rows.iter().filter(|row| row[0] >= settled_after);
        settled.map(|row| (row[0], row[at])).collect()
    };
    let time = points("seconds");
    let judged =
        time.last().zip(time.first()).is_some_and(|(last, first)| last.0 - first.0 >= JUDGED_SECONDS);
    let mut add =
        |what: &str, points: &[(f64, f64)], text: &dyn Fn(f64) -> String, gate: Option<(f64, f64)>| {
            let (median, growth) = (trend::median(points), trend::slope(points) * 3_600.0);
            let least = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
            let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
            let sign = if growth < 0.0 { "−" } else { "+" };
            section.row([
                what.into(),
                text(median),
                format!("{} – {}", text(least), text(most)),
                format!("{sign}{}", text(growth.abs())),
            ]);
            match gate {
                Some((bound, 0.0)) if judged => {
                    section.gate(&format!("{what}: growth an hour"), growth, Bound::Below(bound));
                }
                Some((bound, at_least)) if judged => {
                    let percent = 100.0 * growth / median.max(at_least);
                    section.gate(&format!("{what}: growth an hour, %"), percent, Bound::Below(bound));
                }
                _ => {}
            }
        };
    let mb = |bytes: f64| format!("{:.1}", megabytes(bytes.max(0.0) as u64));
    let whole = |value: f64| if value < 10.0 { format!("{value:.1}") } else { grouped(value) };
    let ms = |value: f64| format!("{value:.2}");
    add("disk, MB", &points("disk_bytes"), &mb, Some((DISK_PERCENT_MAX, 1.0)));
    add("journals, MB", &points("journal_bytes"), &mb, None);
    add("resident memory, MB", &points("resident_bytes"), &mb, Some((RESIDENT_PERCENT_MAX, 1.0)));
    add("file handles", &points("handles"), &whole, Some((HANDLES_MAX, 0.0)));
    add("threads", &points("threads"), &whole, None);
    add("CPU, % of a core", &points("cpu_percent"), &whole, None);
    add("messages stored", &points("messages"), &whole, None);
    for kind in JUDGED {
        let p99 = points(&format!("{}_p99_ms", kind.name()));
        add(&format!("p99 of {}, ms", kind.name()), &p99, &ms, Some((LATENCY_PERCENT_MAX, LATENCY_MS_MIN)));
    }
    add("one fdatasync of the machine, ms", &points("probe_ms"), &ms, None);
    if !judged {
        section.how.push_str(" The run was too short for slopes to decide.");
    }
    section
}

/// The messages' table and its gates.
pub(super) fn messages(world: &World) -> Section {
    let how = "Every acknowledged message came out where it should, and nothing else did; the last column counts what did not."
        .to_owned();
    let columns =
        ["queue", "sent", "received", "deleted", "expired", "dead letters", "rewound", "cleared", "findings"];
    let mut section = Section::new("Messages", how, &columns);
    let mut findings = [0u64; Finding::ALL.len()];
    for (lane, ledger) in world.lanes.iter().zip(&world.ledgers) {
        let ledger = ledger.borrow();
        let totals = ledger.totals;
        let counts = [
            totals.sent,
            totals.received,
            totals.deleted,
            totals.expired,
            totals.dead_lettered,
            totals.rewound,
            totals.cleared,
            ledger.findings.total(),
        ];
        let mut row = vec![format!("{}: {}", lane.name, lane.about)];
        row.extend(counts.map(|count| grouped(count as f64)));
        section.rows.push(row);
        for finding in Finding::ALL {
            findings[finding as usize] += ledger.findings.count(finding);
        }
        for text in ledger.findings.shown() {
            eprintln!("soak: {}: {text}", lane.name);
        }
    }
    for finding in Finding::ALL {
        section.gate(finding.name(), findings[finding as usize] as f64, Bound::AtMost(0.0));
    }
    section.gate("failed calls", world.failed() as f64, Bound::AtMost(0.0));
    section
}
