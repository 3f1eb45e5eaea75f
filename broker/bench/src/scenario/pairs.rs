//! Sends and full cycles in a closed loop, the broker against the floor.

use super::{Bench, alternate, create_queue, floor_counts};
use crate::error::Result;
use crate::load::{Round, closed_loop};
use crate::process::Server;
use crate::report::{Bound, Section, grouped, spread};
use crate::stats::Series;
use crate::work::{Cycle, FloorCycle, FloorSend, Send};

/// Size of a message, in bytes.
pub const MESSAGE_BYTES: usize = 1024;

/// The broker's rate against the floor's, for sends and for cycles.
const RATE_RATIO_MIN: f64 = 0.5;

/// The broker's CPU time for a send against the floor's.
const CPU_RATIO_MAX: f64 = 2.5;

/// The floor counts only when it groups its commits at least this well.
const FLOOR_MESSAGES_PER_FLUSH_MIN: f64 = 10.0;

/// What a message goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A durable send, against one append.
    Send,
    /// Send, receive and delete, against append, empty exchange and append.
    Cycle,
}

/// A measured comparison.
pub struct Comparison {
    /// What is printed.
    pub section: Section,
    /// Median of the broker's rates, messages a second.
    pub broker_rate: f64,
}

/// A floor round, with how well it grouped.
struct FloorRound {
    round: Round,
    messages_per_flush: f64,
}

/// Runs the pairs and compares.
///
/// # Errors
/// A server does not start, or a call fails.
pub async fn compare(bench: &Bench, kind: Kind) -> Result<Comparison> {
    let floor = bench.start_floor().await?;
    let broker = bench.start_broker(kind.name()).await?;
    create_queue(&broker, kind.name()).await?;
    let rounds = alternate(
        bench.pairs,
        [&floor, &broker],
        async || floor_round(bench, kind, &floor).await,
        async || broker_round(bench, kind, &broker).await,
    )
    .await?;
    floor.stop().await?;
    broker.stop().await?;
    Ok(evaluate(bench, kind, &rounds))
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Send => "send",
            Kind::Cycle => "cycle",
        }
    }
}

async fn floor_round(bench: &Bench, kind: Kind, floor: &Server) -> Result<FloorRound> {
    let before = floor_counts(floor).await?;
    let (address, usage) = (floor.client, || floor.usage());
    let round = match kind {
        Kind::Send => closed_loop(address, bench.plan, |i| FloorSend::new(MESSAGE_BYTES, i), usage).await?,
        Kind::Cycle => closed_loop(address, bench.plan, |i| FloorCycle::new(MESSAGE_BYTES, i), usage).await?,
    };
    let after = floor_counts(floor).await?;
    let messages_per_flush = (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64;
    eprintln!("{}: floor {}/s, {messages_per_flush:.1} a flush", kind.name(), grouped(round.rate()));
    Ok(FloorRound { round, messages_per_flush })
}

async fn broker_round(bench: &Bench, kind: Kind, broker: &Server) -> Result<Round> {
    let (address, usage, queue) = (broker.client, || broker.usage(), kind.name());
    let round = match kind {
        Kind::Send => closed_loop(address, bench.plan, |i| Send::one(queue, MESSAGE_BYTES, i), usage).await?,
        Kind::Cycle => {
            closed_loop(address, bench.plan, |i| Cycle::new(queue, MESSAGE_BYTES, i), usage).await?
        }
    };
    eprintln!("{}: broker {}/s", kind.name(), grouped(round.rate()));
    Ok(round)
}

fn evaluate(bench: &Bench, kind: Kind, rounds: &[(FloorRound, Round)]) -> Comparison {
    let (title, floor_does) = match kind {
        Kind::Send => ("Durable send", "one append"),
        Kind::Cycle => ("Full cycle: send, receive, delete", "append, empty exchange, append"),
    };
    let how = format!(
        "{MESSAGE_BYTES} bytes, one message a call, {} keep-alive connections in a closed loop; the floor \
         does {floor_does}. {} alternating pairs of {} s; median (smallest – largest); a ratio is taken within \
         each pair.",
        bench.plan.connections,
        rounds.len(),
        bench.plan.window.as_secs_f64(),
    );
    let mut section = Section::new(title, how, &["", "floor", "broker", "ratio"]);
    let mut compare = |name: &str, decimals, of: fn(&Round) -> f64| {
        let floor: Series = rounds.iter().map(|(floor, _)| of(&floor.round)).collect();
        let broker: Series = rounds.iter().map(|(_, broker)| of(broker)).collect();
        let ratio: Series = rounds.iter().map(|(floor, broker)| of(broker) / of(&floor.round)).collect();
        section.row([name.into(), spread(&floor, decimals), spread(&broker, decimals), spread(&ratio, 2)]);
        (broker.median(), ratio.median())
    };
    let (broker_rate, rate_ratio) = compare("messages/s", 0, Round::rate);
    let (_, cpu_ratio) = compare("server CPU, µs a message", 1, Round::cpu_micros_per_message);
    compare("load generator CPU, µs a message", 1, Round::generator_micros_per_message);
    compare("written to disk, bytes a message", 0, Round::written_bytes_per_message);
    let grouping: Series = rounds.iter().map(|(floor, _)| floor.messages_per_flush).collect();
    section.row(["appends a flush".into(), spread(&grouping, 1), "–".into(), "–".into()]);
    section.gate("rate against the floor", rate_ratio, Bound::AtLeast(RATE_RATIO_MIN));
    if kind == Kind::Send {
        section.gate("server CPU a message against the floor", cpu_ratio, Bound::AtMost(CPU_RATIO_MAX));
    }
    let what = "the floor counts: its appends a flush";
    section.gate(what, grouping.median(), Bound::AtLeast(FLOOR_MESSAGES_PER_FLUSH_MIN));
    Comparison { section, broker_rate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Plan;
    use std::time::Duration;

    fn round(messages: u64, cpu_seconds: f64) -> Round {
        Round { messages, seconds: 1.0, cpu_seconds, generator_seconds: 0.2, written_bytes: messages * 2000 }
    }

    #[test]
    fn ratios_are_taken_within_pairs() {
        let bench = Bench {
            broker: "broker".into(),
            broker_arguments: Vec::new(),
            floor: "floor".into(),
            dir: tempfile::tempdir().unwrap(),
            pairs: 3,
            plan: Plan { connections: 64, warm_up: Duration::from_secs(1), window: Duration::from_secs(5) },
        };
        // The machine becomes three times slower meanwhile; the ratio stays.
        let rounds = [(30_000, 18_000), (20_000, 12_000), (10_000, 6000)].map(|(floor, broker)| {
            let floor = FloorRound { round: round(floor, 0.3), messages_per_flush: 12.0 };
            (floor, round(broker, 0.36))
        });
        let comparison = evaluate(&bench, Kind::Send, &rounds);
        assert_eq!(comparison.broker_rate, 12_000.0);
        let figures: Vec<f64> = comparison.section.gates.iter().map(|gate| gate.value).collect();
        assert!((figures[0] - 0.6).abs() < 1e-9 && (figures[1] - 2.0).abs() < 1e-9, "{figures:?}");
        assert!(comparison.section.passes());
    }
}
