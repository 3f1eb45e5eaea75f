//! Flags and environment of the program.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::uninstall::Policy;
use crate::watch::Scope;

/// Looks after Brokers and Queues of a Kubernetes cluster: makes the pods that a Broker asks for, and declares every Queue to
/// its Broker.
///
/// It finds the API server as kubectl does: in a pod by its service account, elsewhere by KUBECONFIG. All flags have an
/// environment variable.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    /// What to do instead of looking after the cluster.
    #[command(subcommand)]
    pub command: Option<Action>,
    /// How to look after the cluster.
    #[command(flatten)]
    pub run: Config,
}

/// What the program does beside looking after the cluster.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Says whether the installation can work: the kinds are there, the rights suffice, somebody leads.
    Preflight(Installation),
    /// Makes ready for an uninstall, or says why the operator must stay.
    Uninstall {
        /// Which operator it is about.
        #[command(flatten)]
        installation: Installation,
        /// What becomes of the Brokers and Queues that the operator looks after.
        #[arg(long, value_enum, default_value = "refuse")]
        policy: Policy,
        /// Seconds for that.
        #[arg(long, value_name = "SECONDS", default_value_t = 240)]
        timeout_seconds: u64,
    },
}

/// Where an operator works, and by what Lease.
#[derive(Clone, Debug, Args)]
pub struct Installation {
    /// Namespaces to look after, separated by commas. Left out, all: then the operator needs rights on the whole cluster.
    #[arg(long, env = "CMQ_OPERATOR_WATCH_NAMESPACES", value_name = "NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Name of the Lease. Operators of different sets of namespaces need different ones.
    #[arg(long, env = "CMQ_OPERATOR_LEASE_NAME", value_name = "NAME", default_value = "cmq-operator")]
    pub lease_name: String,
    /// Namespace that the operator runs in, where the Lease lives. Left out, that of the service account or of KUBECONFIG.
    #[arg(long, env = "CMQ_OPERATOR_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

impl Installation {
    /// How to reach the API server, and the namespace that the operator runs in.
    ///
    /// # Errors
    /// Neither the environment nor KUBECONFIG names a cluster.
    pub async fn cluster(&self) -> Result<(kube::Config, String), kube::config::InferConfigError> {
        let cluster = kube::Config::infer().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| cluster.default_namespace.clone());
        Ok((cluster, namespace))
    }

    /// The objects to look after.
    pub fn scope(&self) -> Scope {
        let namespaces = self.namespaces();
        if namespaces.is_empty() { Scope::Cluster } else { Scope::Namespaces(namespaces) }
    }

    /// The namespaces to look after; none: all.
    pub fn namespaces(&self) -> Vec<String> {
        let names = self.watch_namespaces.iter().map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    }
}

/// How the operator looks after the cluster.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Where it works, and by what Lease.
    #[command(flatten)]
    pub installation: Installation,
    /// Image of brokers whose spec names none.
    #[arg(long, env = "CMQ_OPERATOR_BROKER_IMAGE", value_name = "IMAGE", required = true)]
    pub broker_image: Option<String>,
    /// When a node pulls that image. Left out, what Kubernetes does for such an image.
    #[arg(long, env = "CMQ_OPERATOR_BROKER_IMAGE_PULL_POLICY", value_name = "POLICY", ignore_case = true)]
    pub broker_image_pull_policy: Option<PullPolicy>,
    /// Where probes and Prometheus connect: /livez, /readyz and /metrics. Port 0 picks a free one; a log line names it.
    #[arg(long, env = "CMQ_OPERATOR_ADDR", value_name = "IP:PORT", default_value = "0.0.0.0:8080")]
    pub addr: SocketAddr,
    /// Whether to work only while holding a Lease, so that of several operators one works. Off: there must be one only.
    #[arg(long, env = "CMQ_OPERATOR_LEADER_ELECTION", value_name = "on|off", default_value = "on")]
    pub leader_election: Switch,
    /// Name of this process in the Lease and in events, best that of its pod. Left out, the name of the host.
    #[arg(long, env = "CMQ_OPERATOR_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,
    /// Form of the log lines.
    #[arg(long, env = "CMQ_OPERATOR_LOG_FORMAT", value_name = "text|json", default_value = "text")]
    pub log_format: LogFormat,
    /// Which log lines are written: a level, or levels of modules (info,cmq_operator=debug).
    #[arg(long, env = "CMQ_OPERATOR_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
}

/// A flag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// When a node pulls an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Never: it must be there.
    Never,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn every_flag_has_an_environment_variable_and_help() {
        Cli::command().debug_assert();
        let mut command = Cli::command();
        command.build();
        for flag in command.get_opts() {
            let id = flag.get_id().as_str();
            let wanted = format!("CMQ_OPERATOR_{}", id.to_uppercase());
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(wanted.as_str()));
            assert!(flag.get_help().is_some(), "{id}");
        }
    }

    #[test]
    fn errands_need_no_image() {
        for arguments in [["cmq-operator", "preflight"], ["cmq-operator", "uninstall"]] {
            assert!(Cli::try_parse_from(arguments).unwrap().command.is_some());
        }
    }

    #[test]
    fn namespaces_are_a_list() {
        let parse = |arguments: &[&str]| {
            Cli::try_parse_from([&["cmq-operator"], arguments].concat()).map(|cli| cli.run)
        };
        let config = parse(&["--broker-image", "b:1", "--watch-namespaces", "shop,pay"]).unwrap();
        assert_eq!(config.installation.watch_namespaces, ["shop", "pay"]);
        let config = parse(&["--broker-image", "b:1", "--broker-image-pull-policy", "IfNotPresent"]).unwrap();
        assert_eq!(config.broker_image_pull_policy, Some(PullPolicy::IfNotPresent));
        assert!(config.installation.watch_namespaces.is_empty());
        assert!(parse(&[]).unwrap_err().to_string().contains("--broker-image"), "there is no image to guess");
    }
}
