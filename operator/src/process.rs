//! The process: what is started in which order, and stopped.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cmq_crds::broker::ImagePullPolicy;
use futures_util::FutureExt;
use futures_util::future::{self, Either, Shared};
use kube::Client;
use kube::client::ClientBuilder;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tracing_subscriber::EnvFilter;

use crate::admin::https::HttpsConnector;
use crate::config::{Config, Installation, LogFormat, PullPolicy, Switch};
use crate::context::{Context, Settings, SystemClock};
use crate::health::Health;
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::{http, kinds};

/// Time for running reconciles to end when the process is told to stop; the grace period of its pod is 30 s.
const STOP_TIME: Duration = Duration::from_secs(25);
/// Wait between two looks at whether the kinds are installed.
const KINDS_WAIT: Duration = Duration::from_secs(3);

/// What went wrong before or while the operator worked.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// No API server to be found.
    #[error("no API server: {0}")]
    NoCluster(String),
    /// The port of probes and metrics is taken.
    #[error("cannot listen on {0}: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    /// No tokio runtime, no signals.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    /// Another operator may work now.
    #[error(transparent)]
    Lease(#[from] crate::lease::Lost),
    /// What should run for ever ended.
    #[error("a controller ended by itself")]
    Ended,
}

/// A stop that everything waits for.
type Stop = Shared<future::BoxFuture<'static, ()>>;

/// Runs the operator until a signal, or until the Lease is lost.
pub fn run(config: &Config) -> ExitCode {
    // Its spans would put the same fields into each of our lines once more. A filter of the user's own for it wins.
    let filter = match EnvFilter::builder().parse(format!("kube_runtime=warn,{}", config.log)) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("--log {}: {error}", config.log);
            return ExitCode::from(2);
        }
    };
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match config.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    // Another library may have set it already; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(ProcessError::Start).and_then(|runtime| {
        let result = runtime.block_on(work(config));
        // Nothing that still runs may hold the process up, least of all when the Lease is lost.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cmq-operator ends");
            ExitCode::FAILURE
        }
    }
}

async fn work(config: &Config) -> Result<(), ProcessError> {
    let metrics = Arc::new(Metrics::new());
    let health = Health::new(metrics.clone());
    let listener =
        TcpListener::bind(config.addr).await.map_err(|error| ProcessError::Listen(config.addr, error))?;
    let addr = listener.local_addr().map_err(ProcessError::Start)?;
    tokio::spawn(http::serve(listener, health.clone(), metrics.clone()));

    let (client, namespace) = client(&config.installation, &health).await?;
    let stop = stop().map_err(ProcessError::Start)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %addr, namespace, "cmq-operator starts");
    let settings = settings(config, &namespace);

    if wait_for_kinds(&client, stop.clone()).await.is_none() {
        return Ok(());
    }
    // Standing by is all that a second operator should do.
    health.set_ready(true);
    let identity = identity(config);
    let mut candidate = None;
    if config.leader_election == Switch::On {
        let mut waiting =
            Candidate::new(client.clone(), &namespace, &config.installation.lease_name, &identity);
        tracing::info!(lease = config.installation.lease_name, identity, "waits for the lease");
        let acquired = future::select(Box::pin(waiting.acquire()), stop.clone()).await;
        if let Either::Right(_) = acquired {
            return Ok(());
        }
        drop(acquired);
        candidate = Some(waiting);
    }
    metrics.set_leader(true);
    tracing::info!(identity, "leads");

    let connector = Arc::new(HttpsConnector::new(metrics.clone()));
    let (context, writers) =
        Context::new(client, settings, connector, Arc::new(SystemClock), metrics.clone());
    let controllers = crate::run(context, writers, stop.clone());
    let ended = lead(controllers, &mut candidate, stop, &health).await;
    metrics.set_leader(false);
    ended?;
    if let Some(candidate) = candidate {
        candidate.release().await;
    }
    tracing::info!("cmq-operator ends");
    Ok(())
}

/// Runs the controllers while the Lease is held, and lets them end in time when told to stop.
async fn lead(
    controllers: impl Future<Output = ()>,
    candidate: &mut Option<Candidate>,
    stop: Stop,
    health: &Health,
) -> Result<(), ProcessError> {
    let mut controllers = Box::pin(controllers);
    let held = async {
        match candidate {
            Some(candidate) => candidate.hold().await,
            None => future::pending().await,
        }
    };
    tokio::pin!(held);
    tokio::select! {
        // What was lost must stop before anything else goes on.
        biased;
        lost = &mut held => return Err(lost.into()),
        () = stop.clone() => {}
        () = &mut controllers => return if stop.peek().is_some() { Ok(()) } else { Err(ProcessError::Ended) },
    }
    tracing::info!("stops: running reconciles end");
    health.set_ready(false);
    tokio::select! {
        biased;
        lost = &mut held => Err(lost.into()),
        ended = timeout(STOP_TIME, controllers) => {
            if ended.is_err() {
                tracing::warn!("some reconciles did not end in time and are cut off");
            }
            Ok(())
        }
    }
}

/// A client whose watches are noted, and the namespace that the operator runs in.
async fn client(installation: &Installation, health: &Health) -> Result<(Client, String), ProcessError> {
    let no_cluster = |error: &dyn std::fmt::Display| ProcessError::NoCluster(error.to_string());
    let (cluster, namespace) = installation.cluster().await.map_err(|error| no_cluster(&error))?;
    let builder = ClientBuilder::try_from(cluster).map_err(|error| no_cluster(&error))?;
    Ok((builder.with_layer(health).build(), namespace))
}

/// Waits until the cluster has our kinds; nothing when told to stop before.
async fn wait_for_kinds(client: &Client, stop: Stop) -> Option<()> {
    let mut told = String::new();
    loop {
        let missing = match kinds::missing(client).await {
            Ok(missing) if missing.is_empty() => return Some(()),
            Ok(missing) => {
                format!("the cluster has no {} of cmq.dev/v1alpha1; install the CRDs", missing.join(", "))
            }
            Err(error) => format!("cannot ask the API server for its kinds: {error}"),
        };
        if told != missing {
            tracing::warn!("waits: {missing}");
            told = missing;
        }
        if let Either::Right(_) = future::select(Box::pin(sleep(KINDS_WAIT)), stop.clone()).await {
            return None;
        }
    }
}

fn settings(config: &Config, namespace: &str) -> Settings {
    let policy = config.broker_image_pull_policy.map(|policy| match policy {
        PullPolicy::Always => ImagePullPolicy::Always,
        PullPolicy::IfNotPresent => ImagePullPolicy::IfNotPresent,
        PullPolicy::Never => ImagePullPolicy::Never,
    });
    Settings {
        scope: config.installation.scope(),
        broker_image: config.broker_image.clone().expect("the flag is required but for errands"),
        broker_image_pull_policy: policy,
        namespace: namespace.to_owned(),
        pod_labels: [("app.kubernetes.io/name", "cmq-operator"), ("app.kubernetes.io/component", "operator")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        // The address of the API server's Service is of the family that pods have first.
        ipv6: std::env::var("KUBERNETES_SERVICE_HOST").is_ok_and(|host| host.contains(':')),
    }
}

/// A name that no other process ever has: the same pod may be started twice, and the first may still hold the Lease.
fn identity(config: &Config) -> String {
    let name = config.identity.clone().or_else(|| std::env::var("HOSTNAME").ok());
    format!("{}_{:016x}", name.unwrap_or_else(|| "cmq-operator".into()), fastrand::u64(..))
}

/// Resolves at SIGTERM or SIGINT.
fn stop() -> std::io::Result<Stop> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let stop = stop.boxed().shared();
    // A signal must be taken even while nobody waits for it.
    tokio::spawn(stop.clone());
    Ok(stop)
}
