//! What the suite is told.

use std::path::PathBuf;

use clap::Parser;

/// Tests the chart, the operator and brokers on the cluster of KUBECONFIG, and leaves it as it was. Programs: kubectl, helm.
#[derive(Parser, Debug)]
pub(crate) struct Flags {
    /// Areas to run; none: all.
    pub(crate) areas: Vec<String>,
    /// Names the areas.
    #[arg(long)]
    pub(crate) list: bool,
    /// Only what a change must not break: some minutes.
    #[arg(long)]
    pub(crate) core: bool,
    /// The chart to install.
    #[arg(long, default_value = "charts/cmq")]
    pub(crate) chart: PathBuf,
    /// The quickstart's manifests.
    #[arg(long, default_value = "examples/quickstart.yaml")]
    pub(crate) quickstart: PathBuf,
    /// Repositories `cmq-operator` and `cmq-broker` of this tag are on the nodes.
    #[arg(long, default_value = "e2e")]
    pub(crate) tag: String,
    /// Another tag of both, for upgrades and rolls.
    #[arg(long, default_value = "e2e-next")]
    pub(crate) next_tag: String,
    /// What runs `load.py` of `e2e/clients/python` in the cluster's network: a command by words, which gets its arguments.
    #[arg(long, value_name = "CMD", default_value = "")]
    pub(crate) client: String,
    /// The node that is never crashed, partitioned or drained, for the client runs there.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) client_node: String,
    /// Shell command that cuts the power of node $NODE.
    #[arg(long, value_name = "CMD", requires = "node_start")]
    pub(crate) node_stop: Option<String>,
    /// Shell command that starts node $NODE again.
    #[arg(long, value_name = "CMD")]
    pub(crate) node_start: Option<String>,
    /// Shell command that takes node $NODE off the network.
    #[arg(long, value_name = "CMD", requires = "node_rejoin")]
    pub(crate) node_isolate: Option<String>,
    /// Shell command that puts node $NODE back.
    #[arg(long, value_name = "CMD")]
    pub(crate) node_rejoin: Option<String>,
    /// A storage class whose volumes can grow.
    #[arg(long, value_name = "NAME")]
    pub(crate) growing_class: Option<String>,
    /// A storage class whose volumes cannot.
    #[arg(long, value_name = "NAME")]
    pub(crate) fixed_class: Option<String>,
    /// Where events, logs and objects go when an area fails.
    #[arg(long, value_name = "DIR", default_value = "target/e2e")]
    pub(crate) artefacts: PathBuf,
    /// What random moments are drawn from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}
