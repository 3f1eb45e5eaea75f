//! One broker process from its start to its end.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::access::{self, Access};
use crate::api;
use crate::api::admin::{Console, Volume};
use crate::api::http::limits::{CONNECTIONS_MAX, Limits};
use crate::config::{Config, LogFormat, Switch};
use crate::declare::{Declarer, Loaded};
use crate::manifests::ManifestError;
use crate::metrics::Metrics;
use crate::metrics::node::Source;
use crate::replication::Fatal;
use crate::replication::driver;
use crate::replication::runtime::Node;
use crate::service::types::ServiceError;
use crate::service::{Feed, Service};
use crate::storage::budget::MemoryBudget;
use crate::storage::fjall_store::FjallStore;
use crate::storage::options::Options;
use crate::storage::{Room, StoreError};
use crate::tls::{self, Peers, Tls};

/// Descriptors that are not for clients: tables and journals, the admin port, listeners, and what the runtime needs.
pub const DESCRIPTORS_KEPT: usize = 1_024;

/// Why the broker cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot listen on {addr} (--{flag}-addr): {source}")]
    Listen { flag: &'static str, addr: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Access(#[from] crate::access::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(
        "{}: the volume is of cluster {found:032x}, and --cluster-id asks for {wanted:032x}: mount the right volume, or \
         leave --cluster-id out to take this one", dir.display()
    )]
    OtherCluster { dir: PathBuf, found: u128, wanted: u128 },
    #[error(
        "{}: the volume is empty, and --cluster-id asks for cluster {wanted:032x}: mount the volume that holds it; if its \
         data is lost for good, leave --cluster-id out once to begin a new cluster", dir.display()
    )]
    NoCluster { dir: PathBuf, wanted: u128 },
    #[error("{}: the cluster of the volume cannot be told, and --cluster-id asks for one: {error}", dir.display())]
    UnknownCluster { dir: PathBuf, error: ServiceError },
    #[error(transparent)]
    Manifests(#[from] ManifestError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fatal(#[from] Fatal),
    #[error("cannot {0}: {1}")]
    System(&'static str, std::io::Error),
}

/// Runs the broker until it is told to stop. Fails with a line that says why.
pub fn run(config: Config) -> ExitCode {
    start_log(config.log_format);
    let descriptors = raise_descriptor_limit();
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(1, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(serve(config, descriptors)),
        Err(error) => Err(Failure::System("start the runtime", error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_env("CMQ_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Every connection takes a descriptor, and shells often allow 1,024 where the system allows many more. Gives the limit.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Connections that the process has descriptors for, at most [`CONNECTIONS_MAX`]: one more is told to come back, where a
/// lack of descriptors would leave it without a word.
fn connections(descriptors: u64) -> usize {
    let left = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(DESCRIPTORS_KEPT);
    let connections = left.clamp(1, CONNECTIONS_MAX);
    if connections < CONNECTIONS_MAX {
        tracing::warn!(descriptors, connections, "the limit of open files bounds the connections of clients");
    }
    connections
}

async fn serve(config: Config, descriptors: u64) -> Result<(), Failure> {
    // Heard from here on: a recovery may take a while, and a container's first process ignores what nobody listens for.
    let mut asked = Stop::listen()?;
    // Everything that a person may have got wrong comes before anything is written.
    let manifests = config.manifests.as_deref().map(Loaded::read).transpose()?;
    let access = match &config.access_keys {
        Some(path) => Access::signed(access::read(path)?, config.access_policy()),
        None => Access::open(),
    };
    let client_tls = config.client_tls.as_deref().map(|dir| Tls::open(dir, Peers::Anonymous)).transpose()?;
    let admin_tls =
        config.admin_tls.as_deref().map(|dir| Tls::open(dir, Peers::MayShowCertificate)).transpose()?;
    let client_listener = listen("client", config.client_addr).await?;
    let admin_listener = listen("admin", config.admin_addr).await?;
    let client_addr =
        client_listener.local_addr().map_err(|error| Failure::System("name the client port", error))?;
    let admin_addr =
        admin_listener.local_addr().map_err(|error| Failure::System("name the admin port", error))?;

    let metrics = Metrics::new();
    let (stop, stopped) = watch::channel(false);
    let (recovered, has_recovered) = watch::channel(false);
    let (ready, is_ready) = watch::channel(false);
    // Probes are answered from here on, however long the recovery takes.
    let shows_bodies = config.admin_bodies == Switch::On;
    let console = Arc::new(Console::new(shows_bodies, admin_tls.clone(), client_tls.clone()));
    let certificates = [(&admin_tls, &metrics.admin_port), (&client_tls, &metrics.client_port)];
    let mut following: Vec<JoinHandle<()>> = certificates
        .into_iter()
        .filter_map(|(tls, port)| Some((tls.clone()?, port.tls.clone())))
        .map(|(tls, metrics)| tokio::spawn(tls::follow(tls, metrics, stopped.clone())))
        .collect();
    let admin = {
        let (metrics, is_ready, stopped) = (metrics.clone(), is_ready.clone(), stopped.clone());
        let console = console.clone();
        tokio::spawn(
            async move { api::admin::serve(admin_listener, &metrics, console, is_ready, stopped).await },
        )
    };

    let budget = memory(&config);
    let dir = config.data_dir.clone();
    let feed = Feed::default();
    let (node, store) = {
        let (config, feed) = (config.clone(), feed.clone());
        // Opening a volume takes seconds of disk work.
        let opening = tokio::task::spawn_blocking(move || open(&config, budget, feed, recovered));
        let opened = tokio::select! {
            opened = opening => opened,
            // Nothing was served yet, and the volume is as a crash would leave it.
            () = asked.heard() => return Ok(()),
        };
        opened.map_err(|error| Failure::System("open the volume", error.into()))??
    };
    let handle = node.handle();
    let service = Service::new(handle.clone(), feed, config.shards, config.rules());
    metrics.node.set_source(figures_of(service.clone(), store.clone(), budget, config.metrics_queues));
    say_what_is_open(&config, &dir);
    let declaring = async {
        // A sender that is gone belongs to a node that failed, which the calls below will say.
        let _ = has_recovered.clone().wait_for(|recovered| *recovered).await;
        if let Some(wanted) = config.cluster_id {
            check_cluster(&service, &dir, wanted).await?;
        }
        console.open(service.clone(), move || Volume {
            takes_sends: store.room() == Room::Plenty,
            free_bytes: store.free_bytes(),
            total_bytes: store.total_bytes(),
        });
        match manifests {
            Some(manifests) => Ok(Some(manifests.start(&service, metrics.manifests.clone()).await?)),
            None => Ok(None),
        }
    };
    let declared = tokio::select! {
        result = declaring => result,
        () = asked.heard() => Ok(None),
    };
    let declarer = match declared {
        Ok(declarer) => declarer,
        Err(error) => {
            handle.stop();
            // A node that failed knows better why its queues could not be declared.
            let ended = tokio::task::spawn_blocking(move || node.join()).await;
            ended.map_err(|error| Failure::System("join the driver", error.into()))??;
            return Err(error);
        }
    };

    let limits = Limits {
        connections: connections(descriptors),
        body_bytes: budget.inbound as usize,
        ..Limits::default()
    };
    let clients = {
        let (metrics, stopped, service) = (metrics.clone(), stopped.clone(), service.clone());
        let access = access.clone();
        tokio::spawn(async move {
            api::client::serve(client_listener, service, access, &metrics, limits, client_tls, stopped).await;
        })
    };
    ready.send_replace(true);
    tracing::info!(
        client = %client_addr,
        admin = %admin_addr,
        data_dir = %dir.display(),
        shards = config.shards,
        queues = declarer.as_ref().map_or(0, Declarer::queues),
        version = env!("CARGO_PKG_VERSION"),
        "cmq-broker serves"
    );

    following.extend(declarer.map(|declarer| tokio::spawn(declarer.follow(service, stopped.clone()))));
    following.extend(
        config
            .access_keys
            .clone()
            .map(|path| tokio::spawn(access::follow(access, path, metrics.access.clone(), stopped.clone()))),
    );

    let mut ended = tokio::task::spawn_blocking(move || node.join());
    let early = tokio::select! {
        result = &mut ended => Some(result),
        () = asked.heard() => None,
    };
    ready.send_replace(false);
    stop.send_replace(true);
    let result = match early {
        Some(result) => result,
        None => {
            tracing::info!("stopping: no new connections, calls in flight are answered");
            handle.stop();
            ended.await
        }
    };
    // The node is over, so every call that still waits has its answer.
    let _ = tokio::join!(clients, admin);
    for task in following {
        let _ = task.await;
    }
    result.map_err(|error| Failure::System("join the driver", error.into()))??;
    tracing::info!("stopped; everything is on disk");
    Ok(())
}

async fn listen(flag: &'static str, addr: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(addr).await.map_err(|source| Failure::Listen { flag, addr, source })
}

fn memory(config: &Config) -> MemoryBudget {
    let split = config.memory.and_then(|bytes| MemoryBudget::split(bytes).ok());
    split.unwrap_or_else(MemoryBudget::of_this_machine)
}

fn open(
    config: &Config,
    budget: MemoryBudget,
    feed: Feed,
    recovered: watch::Sender<bool>,
) -> Result<(Node, FjallStore), Failure> {
    let store = FjallStore::open(&Options::new(&config.data_dir, budget))?;
    let mut random = [0; 48];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::System("get random bytes", std::io::Error::other(error.to_string())))?;
    let (id, key) = random.split_at(16);
    let cluster_id = u128::from_be_bytes(id.try_into().expect("16 of 48 bytes")).max(1);
    let handle_key = key.try_into().expect("32 of 48 bytes");
    let driver = driver::Config {
        founds: config.cluster_id.is_none(),
        body_bytes: budget.head_cache as usize,
        page_bytes: budget.pages as usize / usize::from(config.shards),
        ..driver::Config::standalone(config.shards, (cluster_id, handle_key))
    };
    let on_event = move |event| feed.apply(event);
    let node = Node::start(driver, store.clone(), budget.inbound as usize, on_event, recovered)?;
    Ok((node, store))
}

/// Refuses a volume that is not of the wanted cluster.
async fn check_cluster(service: &Service, dir: &Path, wanted: u128) -> Result<(), Failure> {
    match service.founded().await {
        Ok(Some(found)) if found == wanted => Ok(()),
        Ok(Some(found)) => Err(Failure::OtherCluster { dir: dir.to_owned(), found, wanted }),
        Ok(None) => Err(Failure::NoCluster { dir: dir.to_owned(), wanted }),
        // The node is over, and knows better why.
        Err(ServiceError::Stopping) => Ok(()),
        Err(error) => Err(Failure::UnknownCluster { dir: dir.to_owned(), error }),
    }
}

/// What the metrics show of the node and its storage.
fn figures_of(service: Service, store: FjallStore, budget: MemoryBudget, queues_max: usize) -> Source {
    Box::new(move || {
        let (service, store) = (service.clone(), store.clone());
        Box::pin(async move {
            let mut figures = service.figures(queues_max).await?;
            figures.memory = Some(budget);
            figures.takes_sends = store.room() == Room::Plenty;
            match store.pressure() {
                Ok(pressure) => figures.pressure = pressure,
                Err(error) => tracing::warn!(%error, "cannot look at the storage"),
            }
            Some(figures)
        })
    })
}

fn say_what_is_open(config: &Config, dir: &Path) {
    tracing::info!(data_dir = %dir.display(), "runs alone: one replica, no peers");
    if config.access_keys.is_none() {
        tracing::warn!(
            "signatures are not checked: anybody who reaches the client port may call (--access-keys)"
        );
    } else if config.clock_skew == 0 {
        tracing::warn!("calls of any time are taken, also repeated ones (--clock-skew 0)");
    }
    let is_open = |addr: SocketAddr, tls: &Option<PathBuf>| !addr.ip().is_loopback() && tls.is_none();
    if is_open(config.client_addr, &config.client_tls) {
        tracing::warn!(client_addr = %config.client_addr, "the client port is reachable from other machines, without TLS");
    }
    if is_open(config.admin_addr, &config.admin_tls) {
        tracing::warn!(
            admin_addr = %config.admin_addr,
            "the admin port is reachable from other machines, without authentication (--admin-tls)"
        );
    }
}

/// Who asks the process to end: SIGTERM or SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    was_heard: bool,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::System("listen for signals", error));
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, was_heard: false })
    }

    /// Returns when the process was asked to end, now or before.
    async fn heard(&mut self) {
        if !self.was_heard {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            self.was_heard = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_descriptors_that_are_left() {
        for (descriptors, wanted) in
            [(0, 1), (1_024, 1), (4_096, 3_072), (1 << 20, 20_000), (u64::MAX, 20_000)]
        {
            assert_eq!(connections(descriptors), wanted, "{descriptors}");
        }
    }
}
