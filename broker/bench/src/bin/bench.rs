//! The benchmark's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use cmq_bench::error::{Error, Result};
use cmq_bench::load::Plan;
use cmq_bench::machine::Machine;
use cmq_bench::noise::Noise;
use cmq_bench::process::raise_open_files;
use cmq_bench::report::Section;
use cmq_bench::scenario::backlog::{self, Backlog};
use cmq_bench::scenario::pairs::{self, Kind};
use cmq_bench::scenario::queues::{self, Queues};
use cmq_bench::scenario::soak::{self, Soak};
use cmq_bench::scenario::waiters::{self, Waiters};
use cmq_bench::scenario::{Bench, abuse, noisy, open};
use tokio::signal::unix::{SignalKind, signal};

/// Fewest pairs of rounds, messages of backlog and so on with which a run may pass the gates.
const GATE_PAIRS: usize = 7;
const GATE_CONNECTIONS: usize = 64;
const GATE_ROUND_SECONDS: u64 = 3;
const GATE_MESSAGES: u64 = 5_000_000;
const GATE_REST_SECONDS: u64 = 60;
const GATE_POLLS: usize = 10_000;
const GATE_QUEUES: usize = 1_000;
const GATE_WINDOW_SECONDS: u64 = 30;
const GATE_MANY_QUEUES: usize = 10_000;
const GATE_SCRAPE_SECONDS: u64 = 30;
const GATE_IDLE_SECONDS: u64 = 90;

/// Measures cmq-broker beside a floor program, in one run, and prints ratios as Markdown.
///
/// The floor does the least that a durable queue behind HTTP can do: one append and one fdatasync for all who
/// wait. Both run as processes of their own on the same file system, in alternating rounds; the load
/// generator is this process, one thread. Build with --release; leave the machine alone meanwhile.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The broker's executable [default: cmq-broker beside this one]
    #[arg(long, global = true)]
    broker: Option<PathBuf>,
    /// An argument for the broker, may be repeated, for example --broker-arg=--shards=2
    #[arg(long = "broker-arg", global = true, value_name = "ARG", allow_hyphen_values = true)]
    broker_arguments: Vec<String>,
    /// The floor's executable [default: floor beside this one]
    #[arg(long, global = true)]
    floor: Option<PathBuf>,
    /// Where to make a directory for the data of both, removed at the end; on the disk to measure
    #[arg(long, global = true, default_value = ".")]
    dir: PathBuf,
    /// Pairs of rounds, floor and broker
    #[arg(long, global = true, default_value_t = GATE_PAIRS)]
    pairs: usize,
    /// Connections, each with one call outstanding
    #[arg(long, global = true, default_value_t = GATE_CONNECTIONS)]
    connections: usize,
    /// Length of a round's measured window
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 5)]
    round: u64,
    /// Time before the window of each round
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 1)]
    warm_up: u64,
    /// End the run after this time, whatever it does
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 2400)]
    limit: u64,
    /// Exit with 1 when a gate fails; refuses parameters that are easier than the gates'
    #[arg(long, global = true)]
    gate: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Durable sends in a closed loop against the floor: rate and server CPU a message
    Send,
    /// Send, receive and delete in a closed loop against append, empty exchange, append
    Cycle,
    /// Durable sends in an open loop at half the peak: p50, p99, p99.9
    Open {
        /// Calls a second [default: half of the peak, which is measured first]
        #[arg(long)]
        rate: Option<f64>,
    },
    /// A deep backlog: memory, cycle rate at depth, time to ready after SIGKILL
    Backlog(BacklogOptions),
    /// Idle long polls: CPU, memory, and one message wakes exactly one
    Waiters(WaitersOptions),
    /// Many queues: time to make the last ones against the first, idle CPU and memory with scrapes
    Queues(QueuesOptions),
    /// An hour of everything at a steady depth: disk, memory, handles and p99 must not grow, no message may get lost
    Soak(SoakOptions),
    /// A quiet queue beside noise, spread evenly or all on one queue: p99 of its cycles
    Noisy(NoisyOptions),
    /// Clients that mean no good, against a broker with the least memory: resident memory stays bounded
    Abuse,
    /// Everything but the soak, with the facts of the machine: the tables of docs/performance.md
    All {
        #[command(flatten)]
        backlog: BacklogOptions,
        #[command(flatten)]
        waiters: WaitersOptions,
        #[command(flatten)]
        queues: QueuesOptions,
    },
}

#[derive(Args)]
struct BacklogOptions {
    /// Messages to load
    #[arg(long, default_value_t = GATE_MESSAGES)]
    messages: u64,
    /// Time between the load and the look at resident memory
    #[arg(long, value_name = "SECONDS", default_value_t = GATE_REST_SECONDS)]
    rest: u64,
    /// How often to kill the broker under load
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    kills: u32,
}

#[derive(Args)]
struct NoisyOptions {
    /// Kinds of noise, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    noise: Vec<Noise>,
}

impl NoisyOptions {
    fn kinds(&self) -> &[Noise] {
        if self.noise.is_empty() { &Noise::ALL } else { &self.noise }
    }
}

#[derive(Args)]
struct WaitersOptions {
    /// Long polls, each on its own connection
    #[arg(long, default_value_t = GATE_POLLS)]
    polls: usize,
    /// Queues to spread them over
    #[arg(long, default_value_t = GATE_QUEUES)]
    queues: usize,
    /// Time over which CPU is measured
    #[arg(long, value_name = "SECONDS", default_value_t = GATE_WINDOW_SECONDS)]
    window: u64,
}

#[derive(Args)]
struct QueuesOptions {
    /// Queues to make, a multiple of ten
    #[arg(long, default_value_t = GATE_MANY_QUEUES)]
    many: usize,
    /// Time between two scrapes of /metrics
    #[arg(long, value_name = "SECONDS", default_value_t = GATE_SCRAPE_SECONDS)]
    scrape: u64,
    /// Time over which idle CPU is measured
    #[arg(long, value_name = "SECONDS", default_value_t = GATE_IDLE_SECONDS)]
    idle: u64,
}

impl QueuesOptions {
    fn shape(&self) -> Queues {
        Queues {
            queues: self.many,
            scrape: Duration::from_secs(self.scrape),
            window: Duration::from_secs(self.idle),
        }
    }
}

#[derive(Args)]
struct SoakOptions {
    /// Time for which messages are sent; what is there then is taken, which lasts up to 6 more
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: u64,
    /// Messages a second, in all queues together
    #[arg(long, default_value_t = 400.0)]
    rate: f64,
    /// Where to write what is seen every 5 s
    #[arg(long, value_name = "FILE", default_value = "soak.csv")]
    csv: PathBuf,
    /// Run nothing: draw such a file, as SVG on standard output
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl SoakOptions {
    fn shape(&self) -> Soak {
        Soak { time: Duration::from_secs(self.minutes * 60), rate: self.rate, csv: self.csv.clone() }
    }
}

impl BacklogOptions {
    fn shape(&self) -> Backlog {
        Backlog { messages: self.messages, rest: Duration::from_secs(self.rest), kills: self.kills }
    }
}

impl WaitersOptions {
    fn shape(&self) -> Waiters {
        Waiters { polls: self.polls, queues: self.queues, window: Duration::from_secs(self.window) }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(passed) if passed || !(options.gate || matches!(options.command, Command::Soak(_))) => {
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Measures and prints; whether every gate passed.
fn run(options: &Options) -> Result<bool> {
    check(options)?;
    if let Command::Soak(SoakOptions { plot: Some(file), .. }) = &options.command {
        let csv =
            std::fs::read_to_string(file).map_err(Error::io(format!("cannot read {}", file.display())))?;
        print!("{}", soak::draw(&csv)?);
        return Ok(true);
    }
    let _files = raise_open_files();
    let bench = bench(options)?;
    let machine = Machine::look(bench.dir.path())?;
    if machine.keeps_data_in_memory() {
        let text = format!("{} keeps files in memory, where a sync costs nothing", machine.file_system);
        return Err(Error::Usage(format!("{text}: choose a directory on a disk with --dir")));
    }
    println!("Machine: {}.\n", machine.line());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("cannot start the runtime"))?;
    let limit = match &options.command {
        Command::Soak(soak) => soak.shape().limit(),
        _ => Duration::from_secs(options.limit),
    };
    // However it ends, the servers are children of values inside `measure`, whose drop kills them.
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::io("cannot take signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::io("cannot take signals"))?;
        tokio::select! {
            passed = measure(options, &bench) => passed,
            () = tokio::time::sleep(limit) => Err(Error::Timeout { what: "the run".into(), limit }),
            _ = terminate.recv() => Err(Error::Server("ended by a signal".into())),
            _ = interrupt.recv() => Err(Error::Server("ended by a signal".into())),
        }
    })
}

async fn measure(options: &Options, bench: &Bench) -> Result<bool> {
    let show = |section: &Section| {
        println!("{section}");
        section.passes()
    };
    Ok(match &options.command {
        Command::Send => show(&pairs::compare(bench, Kind::Send).await?.section),
        Command::Cycle => show(&pairs::compare(bench, Kind::Cycle).await?.section),
        Command::Open { rate } => show(&open::latencies(bench, *rate).await?),
        Command::Backlog(backlog) => show(&backlog::measure(bench, backlog.shape()).await?),
        Command::Waiters(waiters) => show(&waiters::measure(bench, waiters.shape()).await?),
        Command::Queues(queues) => show(&queues::measure(bench, queues.shape()).await?),
        Command::Soak(soak) => {
            let sections = soak::measure(bench, &soak.shape()).await?;
            // Every section is shown, also behind one that fails.
            let failed = sections.iter().filter(|section| !show(section)).count();
            failed == 0
        }
        Command::Abuse => show(&abuse::measure(bench).await?),
        Command::Noisy(noise) => show(&noisy::measure(bench, noise.kinds()).await?),
        Command::All { backlog, waiters, queues } => {
            let send = pairs::compare(bench, Kind::Send).await?;
            let mut passed = show(&send.section);
            passed &= show(&pairs::compare(bench, Kind::Cycle).await?.section);
            passed &= show(&open::latencies(bench, Some(send.broker_rate / 2.0)).await?);
            passed &= show(&backlog::measure(bench, backlog.shape()).await?);
            passed &= show(&waiters::measure(bench, waiters.shape()).await?);
            passed &= show(&queues::measure(bench, queues.shape()).await?);
            passed &= show(&noisy::measure(bench, &Noise::ALL).await?);
            passed &= show(&abuse::measure(bench).await?);
            println!("All gates: {}.", if passed { "pass" } else { "**fail**" });
            println!("To repeat: `cargo build --release -p cmq-broker -p cmq-bench`, then");
            println!("`target/release/bench --gate all` on a machine that does nothing else.");
            passed
        }
    })
}

fn bench(options: &Options) -> Result<Bench> {
    let own = std::env::current_exe().map_err(Error::io("cannot find this executable"))?;
    let beside = |given: &Option<PathBuf>, name: &str| -> Result<PathBuf> {
        let path = given.clone().unwrap_or_else(|| own.parent().unwrap_or(Path::new(".")).join(name));
        if path.is_file() {
            return Ok(path);
        }
        let hint = format!("build it with --release, or name it with --{}", name.trim_start_matches("cmq-"));
        Err(Error::Usage(format!("there is no executable {}: {hint}", path.display())))
    };
    let dir = tempfile::Builder::new().prefix("cmq-bench-").tempdir_in(&options.dir);
    Ok(Bench {
        broker: beside(&options.broker, "cmq-broker")?,
        broker_arguments: options.broker_arguments.clone(),
        floor: beside(&options.floor, "floor")?,
        dir: dir.map_err(Error::io(format!("cannot make a directory in {}", options.dir.display())))?,
        pairs: options.pairs,
        plan: Plan {
            connections: options.connections,
            warm_up: Duration::from_secs(options.warm_up),
            window: Duration::from_secs(options.round),
        },
    })
}

/// Refuses parameters without sense and, for a run with gates, those that make the gates easier.
fn check(options: &Options) -> Result<()> {
    let (backlog, waiters, queues) = match &options.command {
        Command::Backlog(backlog) => (Some(backlog), None, None),
        Command::Waiters(waiters) => (None, Some(waiters), None),
        Command::Queues(queues) => (None, None, Some(queues)),
        Command::All { backlog, waiters, queues } => (Some(backlog), Some(waiters), Some(queues)),
        Command::Send | Command::Cycle | Command::Open { .. } => (None, None, None),
        Command::Soak(_) | Command::Noisy(_) | Command::Abuse => (None, None, None),
    };
    if let Command::Soak(soak) = &options.command
        && !(soak.rate.is_finite() && soak.rate >= 10.0)
    {
        return Err(Error::Usage("--rate must be at least 10".into()));
    }
    if options.pairs == 0 || options.connections == 0 || options.round == 0 {
        return Err(Error::Usage("--pairs, --connections and --round must be at least 1".into()));
    }
    if waiters.is_some_and(|w| w.queues == 0 || w.polls < w.queues || w.window == 0) {
        return Err(Error::Usage(
            "--window and --queues must be at least 1, --polls at least --queues".into(),
        ));
    }
    if queues.is_some_and(|q| q.many == 0 || q.many % 10 != 0 || q.scrape == 0 || q.idle == 0) {
        return Err(Error::Usage("--many must be a multiple of ten, --scrape and --idle at least 1".into()));
    }
    if !options.gate {
        return Ok(());
    }
    let easier = options.pairs < GATE_PAIRS
        || options.connections != GATE_CONNECTIONS
        || options.round < GATE_ROUND_SECONDS
        || !options.broker_arguments.is_empty()
        || backlog.is_some_and(|b| b.messages < GATE_MESSAGES || b.rest != GATE_REST_SECONDS)
        || waiters.is_some_and(|w| {
            w.polls < GATE_POLLS || w.queues < GATE_QUEUES || w.window < GATE_WINDOW_SECONDS
        })
        || queues.is_some_and(|q| {
            q.many < GATE_MANY_QUEUES || q.scrape > GATE_SCRAPE_SECONDS || q.idle < GATE_IDLE_SECONDS
        });
    if easier {
        let text = format!(
            "--gate needs at least {GATE_PAIRS} pairs of {GATE_ROUND_SECONDS} s, {GATE_CONNECTIONS} \
             connections, {GATE_MESSAGES} messages with {GATE_REST_SECONDS} s of rest, {GATE_POLLS} polls over \
             {GATE_QUEUES} queues for {GATE_WINDOW_SECONDS} s, {GATE_MANY_QUEUES} queues with a scrape every \
             {GATE_SCRAPE_SECONDS} s for {GATE_IDLE_SECONDS} s, and a broker with default flags"
        );
        return Err(Error::Usage(text));
    }
    Ok(())
}
