//! Sends in an open loop at half of the broker's peak: latencies.

use std::cell::Cell;

use super::pairs::MESSAGE_BYTES;
use super::{Bench, alternate, create_queue, settle};
use crate::error::Result;
use crate::load::{OpenPlan, OpenRound, closed_loop, open_loop};
use crate::process::Server;
use crate::report::{Section, grouped, spread};
use crate::stats::Series;
use crate::work::{FloorSend, Send};

/// Closed-loop rounds that find the peak when no rate is given.
const PEAK_ROUNDS: usize = 3;

const QUEUE: &str = "open";

/// Measures latencies at `rate` calls a second, half of the broker's peak when none is given.
///
/// # Errors
/// A server does not start, a call fails, or a server cannot keep up with the rate.
pub async fn latencies(bench: &Bench, rate: Option<f64>) -> Result<Section> {
    let floor = bench.start_floor().await?;
    let broker = bench.start_broker(QUEUE).await?;
    create_queue(&broker, QUEUE).await?;
    let rate = match rate {
        Some(rate) => rate,
        None => peak(bench, &broker).await? / 2.0,
    };
    let seeds = Cell::new(0);
    let plan = || {
        seeds.set(seeds.get() + 1);
        let plan = bench.plan;
        OpenPlan {
            rate,
            connections: plan.connections,
            warm_up: plan.warm_up,
            window: plan.window,
            seed: seeds.get(),
        }
    };
    let rounds = alternate(
        bench.pairs,
        [&floor, &broker],
        async || open_loop(floor.client, plan(), |i| FloorSend::new(MESSAGE_BYTES, i)).await,
        async || {
            let mut round = open_loop(broker.client, plan(), |i| Send::one(QUEUE, MESSAGE_BYTES, i)).await?;
            eprintln!("open: broker p50 {:.2} ms", round.latencies.per_mille(500));
            Ok(round)
        },
    )
    .await?;
    floor.stop().await?;
    broker.stop().await?;
    Ok(evaluate(bench, rate, rounds))
}

async fn peak(bench: &Bench, broker: &Server) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..PEAK_ROUNDS {
        settle(&[broker]).await?;
        let make = |i| Send::one(QUEUE, MESSAGE_BYTES, i);
        rates.push(closed_loop(broker.client, bench.plan, make, || broker.usage()).await?.rate());
    }
    let peak = rates.into_iter().collect::<Series>().median();
    eprintln!("open: peak {}/s", grouped(peak));
    Ok(peak)
}

fn evaluate(bench: &Bench, rate: f64, rounds: Vec<(OpenRound, OpenRound)>) -> Section {
    let (mut floor, mut broker): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
    let calls: usize = broker.iter().map(|round| round.latencies.count()).sum();
    let how = format!(
        "{MESSAGE_BYTES} bytes, one message a call, {} calls/s at random (Poisson) times, half of the \
         broker's peak, over {} connections, on both servers; latency in ms from the scheduled time to the \
         answer. {} alternating pairs of {} s, {} calls of the broker in all; median of the rounds \
         (smallest – largest).",
        grouped(rate),
        bench.plan.connections,
        broker.len(),
        bench.plan.window.as_secs_f64(),
        grouped(calls as f64),
    );
    let mut section = Section::new("Open loop at half the peak", how, &["", "floor", "broker"]);
    for (name, per_mille) in [("p50", 500), ("p99", 990), ("p99.9", 999), ("largest", 1000)] {
        let of = |rounds: &mut [OpenRound]| {
            let series: Series = rounds.iter_mut().map(|r| r.latencies.per_mille(per_mille)).collect();
            spread(&series, 2)
        };
        section.row([name.into(), of(&mut floor), of(&mut broker)]);
    }
    let of = |rounds: &mut [OpenRound]| {
        let series: Series = rounds.iter_mut().map(|r| r.delays.per_mille(990)).collect();
        spread(&series, 2)
    };
    section.row(["of it before the call left, p99".into(), of(&mut floor), of(&mut broker)]);
    section
}
