//! Runs many seeds.

fn main() {
    let seed: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(0);
    let report = cmq_sim::run(seed, None, std::env::args().nth(2).is_some());
    println!("{:?}\n{}", report.finding, report.tally);
}
