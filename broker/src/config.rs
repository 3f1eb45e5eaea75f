//! Flags and environment of the process.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use cmq_engine::catalogue::{PURGE_WAIT_MS_MAX, RECREATE_WAIT_MS_MAX};
use cmq_engine::limits::SHARDS_MAX;

use crate::access::{AtValues, CLOCK_SKEW_SECONDS_MAX, Policy};
use crate::inspect::InspectArgs;
use crate::repair::RepairArgs;
use crate::service::{Rates, Rules, Waits};
use crate::storage::budget::MEMORY_BYTES_MIN;

/// Queues with series of their own in `/metrics`: about 1 MB of page.
const METRICS_QUEUES_DEFAULT: usize = 1_000;
/// Calls a second that a limit of rates can name.
const RATE_MAX: u32 = 1_000_000;

/// A message queue that speaks the CMQ protocol and keeps every acknowledged message.
///
/// With no flags it runs alone: data in ./cmq-data, on loopback, no signature checks.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Action>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Config,
}

/// What the program does beside serving.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Checks manifests without a broker: reports what is wrong, with file, line, field and what is allowed. Exits with 0
    /// when all is right, 1 when something is wrong, 2 when a file cannot be read.
    Check {
        /// Files, or directories of *.yaml, *.yml and *.json files. What refers to each other belongs in one directory.
        #[arg(required = true, value_name = "FILE")]
        paths: Vec<PathBuf>,
        /// Form of the report.
        #[arg(long, value_enum, default_value = "text")]
        output: CheckOutput,
    },
    /// Shows what a data directory holds, without a broker and without changing it; fails when something is wrong.
    Inspect(InspectArgs),
    /// Says what can be saved of a damaged data directory, and saves it with --apply.
    Repair(RepairArgs),
}

/// Form of the report of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// A line for each problem, on standard error; for each path without one, a line on standard output.
    Text,
    /// One JSON object on standard output.
    Json,
}

/// How the broker serves.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Directory of the data; made if it is missing. One process at a time.
    #[arg(long, env = "CMQ_DATA_DIR", value_name = "DIR", default_value = "cmq-data")]
    pub data_dir: PathBuf,
    /// Where clients connect. Port 0 picks a free one; the start-up line names it.
    #[arg(long, env = "CMQ_CLIENT_ADDR", value_name = "IP:PORT", default_value = "127.0.0.1:9324")]
    pub client_addr: SocketAddr,
    /// Where other brokers connect. A broker of one replica has no peers and does not listen there.
    #[arg(long, env = "CMQ_PEER_ADDR", value_name = "IP:PORT", default_value = "127.0.0.1:9325")]
    pub peer_addr: SocketAddr,
    /// Where probes, monitors and operators connect: /livez, /readyz, /metrics and the admin API.
    #[arg(long, env = "CMQ_ADMIN_ADDR", value_name = "IP:PORT", default_value = "127.0.0.1:9326")]
    pub admin_addr: SocketAddr,
    /// A directory with tls.crt and tls.key: the client port speaks TLS; followed.
    #[arg(long, env = "CMQ_CLIENT_TLS", value_name = "DIR")]
    pub client_tls: Option<PathBuf>,
    /// A directory with tls.crt, tls.key and ca.crt: the admin port speaks TLS, and the admin API asks for a client
    /// certificate in the name operator.cmq.dev; followed. Without it, there is no authentication.
    #[arg(long, env = "CMQ_ADMIN_TLS", value_name = "DIR")]
    pub admin_tls: Option<PathBuf>,
    /// The cluster that the data must be of, 32 hexadecimal digits; an empty volume is refused too. Default: any, and a
    /// fresh volume begins a new one.
    #[arg(long, env = "CMQ_CLUSTER_ID", value_name = "HEX", value_parser = cluster_id)]
    pub cluster_id: Option<u128>,
    /// Whether clients may create queues by calls, beside those that are declared.
    #[arg(long, env = "CMQ_API_QUEUES", value_enum, value_name = "allow|deny", default_value = "allow")]
    pub api_queues: ApiQueues,
    /// A file, or a directory of files, that declares queues: the same objects that a cluster takes. Changes are followed.
    #[arg(long, env = "CMQ_MANIFESTS", value_name = "PATH")]
    pub manifests: Option<PathBuf>,
    /// Shards of the broker: logs that are written side by side. May grow, never shrink.
    #[arg(long, env = "CMQ_SHARDS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(SHARDS_MAX)))]
    pub shards: u16,
    /// Bytes of memory for buffers and caches, at least 64 MiB. Default: the smaller of half the cgroup's limit and 512 MiB.
    #[arg(long, env = "CMQ_MEMORY", value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(MEMORY_BYTES_MIN..))]
    pub memory: Option<u64>,
    /// A YAML list of {id, secret}: calls must be signed with one of these keys; followed. Without it, no signature is checked.
    #[arg(long, env = "CMQ_ACCESS_KEYS", value_name = "FILE")]
    pub access_keys: Option<PathBuf>,
    /// Seconds by which the Timestamp of a signed call may differ from the broker's clock; 0: by any.
    #[arg(long, env = "CMQ_CLOCK_SKEW", value_name = "SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(..=CLOCK_SKEW_SECONDS_MAX))]
    pub clock_skew: u64,
    /// Whether a signed send, or another call whose repetition does harm, counts once. Needs a clock skew above 0.
    #[arg(long, env = "CMQ_REPLAY_GUARD", value_enum, default_value = "on")]
    pub replay_guard: Switch,
    /// Whether a signature must cover values that begin with @ too. Off: public clients that leave them out are served.
    #[arg(long, env = "CMQ_STRICT_SIGNATURES", value_enum, default_value = "off")]
    pub strict_signatures: Switch,
    /// Seconds for which the name of a deleted queue cannot be used again (the hosted services: 10 to 60).
    #[arg(long, env = "CMQ_RECREATE_WAIT", value_name = "SECONDS", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(..=RECREATE_WAIT_MS_MAX / 1_000))]
    pub recreate_wait: u64,
    /// Seconds for which a purged queue cannot be purged again (the hosted services: 60).
    #[arg(long, env = "CMQ_PURGE_WAIT", value_name = "SECONDS", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(..=PURGE_WAIT_MS_MAX / 1_000))]
    pub purge_wait: u64,
    /// Queues with series of their own in /metrics. Of more queues, those with the most messages have them; sums cover all.
    #[arg(long, env = "CMQ_METRICS_QUEUES", value_name = "N", default_value_t = METRICS_QUEUES_DEFAULT)]
    pub metrics_queues: usize,
    /// Sends a second to one queue, and a tenth more receives from it; the rest is refused. Default: no limit (the hosted
    /// service: 5000).
    #[arg(long, env = "CMQ_QUEUE_RATE", value_name = "CALLS",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(RATE_MAX)))]
    pub queue_rate: Option<u32>,
    /// Calls a second that are about queues rather than messages, all queues together. Default: no limit.
    #[arg(long, env = "CMQ_MANAGE_RATE", value_name = "CALLS",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(RATE_MAX)))]
    pub manage_rate: Option<u32>,
    /// Whether the admin API shows the bodies of messages.
    #[arg(long, env = "CMQ_ADMIN_BODIES", value_enum, value_name = "on|off", default_value = "on")]
    pub admin_bodies: Switch,
    /// Form of the log lines.
    #[arg(long, env = "CMQ_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// A flag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Queues that clients create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApiQueues {
    /// They may.
    Allow,
    /// Only declared queues exist, and those that exist already.
    Deny,
}

/// Reads a cluster id, as `/api/v1/broker` and `cmq-broker inspect` show it.
fn cluster_id(text: &str) -> Result<u128, String> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|id| is_hex && *id != 0);
    id.ok_or_else(|| "allowed: 32 hexadecimal digits, as `cmq-broker inspect` shows them".to_owned())
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// What signed calls must be.
    pub fn access_policy(&self) -> Policy {
        Policy {
            at_values: match self.strict_signatures {
                Switch::On => AtValues::Covered,
                Switch::Off => AtValues::MayBeLeftOut,
            },
            clock_skew_seconds: Some(self.clock_skew).filter(|seconds| *seconds > 0),
            replay_guard: self.replay_guard == Switch::On,
        }
    }

    /// How often queues may be called.
    fn rates(&self) -> Rates {
        let [queue, manage] = [self.queue_rate, self.manage_rate].map(|rate| rate.and_then(NonZeroU32::new));
        Rates { queue, manage }
    }

    /// What holds for calls about queues.
    pub fn rules(&self) -> Rules {
        Rules {
            waits: self.waits(),
            rates: self.rates(),
            creates_queues: self.api_queues == ApiQueues::Allow,
        }
    }

    /// How long names of deleted queues, and purged queues, are closed to the same call.
    fn waits(&self) -> Waits {
        let [recreate, purge] = [self.recreate_wait, self.purge_wait].map(Duration::from_secs);
        Waits { recreate, purge }
    }
}
