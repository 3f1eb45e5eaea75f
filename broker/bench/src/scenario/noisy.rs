//! A noisy neighbour: what a quiet queue's calls take while others make the same load, spread evenly or all on one queue.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::pairs::MESSAGE_BYTES;
use super::{Bench, alternate, create_queue, settle};
use crate::error::Result;
use crate::load::{OpenPlan, OpenRound, closed_loop, load_calls, open_loop};
use crate::noise::{Noise, Noisy};
use crate::process::Server;
use crate::report::{Bound, Section, grouped, spread};
use crate::stats::Series;
use crate::work::{Cycle, Send};

const QUIET: &str = "quiet";
/// Queues over which the even load is spread.
const QUEUES: u64 = 16;
/// Cycles of the quiet queue a second.
const QUIET_RATE: f64 = 200.0;
/// Connections of the quiet queue's client.
const QUIET_CONNECTIONS: usize = 16;
/// Of the highest rate of the noise, what is offered.
const SHARE_OF_PEAK: f64 = 0.5;
/// Messages of a deep backlog, and their size in bytes.
const BACKLOG_MESSAGES: u64 = 400_000;
const BACKLOG_MESSAGE_BYTES: usize = 100;
/// How long loading one may take.
const LOAD_WITHIN: Duration = Duration::from_secs(120);
/// How much higher the p99 may be beside one noisy queue.
const RATIO_MAX: f64 = 3.0;

/// One pair of rounds: latencies of the quiet queue, and refusals that the noise met.
struct Round {
    quiet: OpenRound,
    refused: u64,
}

/// Measures the quiet queue beside each kind of noise.
///
/// # Errors
/// The broker does not start, a call of the quiet queue fails, or the broker cannot keep up.
pub async fn measure(bench: &Bench, kinds: &[Noise]) -> Result<Section> {
    let how = format!(
        "One client makes {QUIET_RATE} cycles (send, receive, delete of {MESSAGE_BYTES} bytes) a second at random times on \
         a quiet queue; latency in ms from the scheduled time to the end of the cycle. Beside it, {} connections make \
         noise at random times, at half of its highest rate: spread evenly over {QUEUES} queues, or all on one. {} \
         alternating pairs of {} s; median (smallest – largest), ratios within a pair.",
        bench.plan.connections,
        bench.pairs,
        bench.plan.window.as_secs_f64(),
    );
    let columns = ["noise", "calls/s", "p99 even, ms", "p99 one, ms", "ratio", "refused even", "refused one"];
    let mut section = Section::new("A noisy neighbour", how, &columns);
    for noise in kinds {
        beside(bench, *noise, &mut section).await?;
    }
    Ok(section)
}

async fn beside(bench: &Bench, noise: Noise, section: &mut Section) -> Result<()> {
    let broker = bench.start_broker(&format!("noisy-{noise:?}")).await?;
    create_queue(&broker, QUIET).await?;
    for number in 0..QUEUES {
        create_queue(&broker, &queue(number)).await?;
        if noise == Noise::Backlog {
            // As many for the one as for the others together.
            let messages = if number == 0 { BACKLOG_MESSAGES } else { BACKLOG_MESSAGES / (QUEUES - 1) };
            let make = |i| Send::batch(&queue(number), BACKLOG_MESSAGE_BYTES, i);
            load_calls(broker.client, bench.plan.connections, messages / 16, LOAD_WITHIN, make).await?;
        }
    }
    let peak = {
        settle(&[&broker]).await?;
        let make = |i| Noisy::new(noise, &queue(i % QUEUES), i, Rc::default());
        closed_loop(broker.client, bench.plan, make, || broker.usage()).await?.rate()
    };
    let rate = peak * SHARE_OF_PEAK;
    eprintln!("noisy: {noise:?} at {}/s", grouped(rate));
    let seeds = Cell::new(0);
    let round = async |queues: u64| {
        seeds.set(seeds.get() + 1);
        one_round(bench, &broker, noise, rate, queues, seeds.get()).await
    };
    let rounds =
        alternate(bench.pairs, [&broker, &broker], async || round(QUEUES).await, async || round(1).await)
            .await?;
    broker.stop().await?;
    evaluate(noise, rate, rounds, section);
    Ok(())
}

async fn one_round(
    bench: &Bench,
    broker: &Server,
    noise: Noise,
    rate: f64,
    queues: u64,
    seed: u64,
) -> Result<Round> {
    let refused = Rc::new(Cell::new(0));
    let (warm_up, window) = (bench.plan.warm_up, bench.plan.window);
    let quiet = OpenPlan { rate: QUIET_RATE, connections: QUIET_CONNECTIONS, warm_up, window, seed };
    let noisy = OpenPlan { rate, connections: bench.plan.connections, warm_up, window, seed: !seed };
    let (quiet, noisy) = tokio::join!(
        open_loop(broker.client, quiet, |i| Cycle::new(QUIET, MESSAGE_BYTES, i)),
        open_loop(broker.client, noisy, |i| Noisy::new(noise, &queue(i % queues), i, refused.clone())),
    );
    noisy?;
    Ok(Round { quiet: quiet?, refused: refused.get() })
}

fn queue(number: u64) -> String {
    format!("noise-{number}")
}

fn evaluate(noise: Noise, rate: f64, mut rounds: Vec<(Round, Round)>, section: &mut Section) {
    let p99 = |round: &mut Round| round.quiet.latencies.per_mille(990);
    let pairs: Vec<(f64, f64)> = rounds.iter_mut().map(|(even, one)| (p99(even), p99(one))).collect();
    let even: Series = pairs.iter().map(|(even, _)| *even).collect();
    let one: Series = pairs.iter().map(|(_, one)| *one).collect();
    let ratio: Series = pairs.iter().map(|(even, one)| one / even).collect();
    let refused_even: u64 = rounds.iter().map(|(even, _)| even.refused).sum();
    let refused_one: u64 = rounds.iter().map(|(_, one)| one.refused).sum();
    eprintln!("noisy: {noise:?} ratio {:.2}", ratio.median());
    section.row([
        noise.name().into(),
        grouped(rate),
        spread(&even, 1),
        spread(&one, 1),
        spread(&ratio, 2),
        grouped(refused_even as f64),
        grouped(refused_one as f64),
    ]);
    let what = format!("p99 beside one queue's {}, against even", noise.name());
    section.gate(&what, ratio.median(), Bound::AtMost(RATIO_MAX));
}
