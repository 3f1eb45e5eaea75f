//! The chart, installed as a release.

use serde_json::Value;

use crate::check;
use crate::command;
use crate::failure::Result;
use crate::flags::Flags;
use crate::kubectl::{self, Kubectl};
use crate::wait;

const NAME: &str = "cmq";
pub(crate) const NAMESPACE: &str = "cmq-system";
const DEPLOYMENT: &str = "cmq-operator";
/// The selector of the operator's pods.
pub(crate) const PODS: &str = "app.kubernetes.io/component=operator";

/// The release of the suite.
pub(crate) struct Release<'a> {
    flags: &'a Flags,
    pub(crate) kubectl: Kubectl,
}

impl<'a> Release<'a> {
    pub(crate) fn new(flags: &'a Flags) -> Self {
        Self { flags, kubectl: Kubectl::new(NAMESPACE) }
    }

    /// Installs the chart and runs its own test.
    pub(crate) fn install(&self) -> Result<()> {
        let (took, _) = wait::until("helm install", 1, || self.upgrade(&[]), |_| true)?;
        check::fact(format!("installed after {:.1} s", took.as_secs_f64()));
        helm(&["test", NAME, "--timeout", "60s"]).map(drop)
    }

    /// Installs or upgrades, with further values by `--set`.
    pub(crate) fn upgrade(&self, values: &[&str]) -> Result<()> {
        let chart = self.flags.chart.to_string_lossy().into_owned();
        let tags = format!("operator.image.tag={tag},broker.image.tag={tag}", tag = self.flags.tag);
        let mut arguments = vec!["upgrade", "--install", NAME, &chart, "--create-namespace", "--set", &tags];
        for value in values {
            arguments.extend(["--set", value]);
        }
        arguments.extend(["--wait", "--timeout", "120s"]);
        helm(&arguments).map(drop)
    }

    pub(crate) fn rollback(&self) -> Result<()> {
        helm(&["rollback", NAME, "--wait", "--timeout", "120s"]).map(drop)
    }

    pub(crate) fn uninstall(&self) -> Result<()> {
        helm(&["uninstall", NAME, "--wait", "--timeout", "120s"]).map(drop)
    }

    /// Sets the number of the operator's pods behind helm's back.
    pub(crate) fn scale(&self, replicas: u32) -> Result<()> {
        self.kubectl.run(&["scale", "deployment", DEPLOYMENT, &format!("--replicas={replicas}")])?;
        self.wait_for_pods(replicas)
    }

    pub(crate) fn wait_for_pods(&self, replicas: u32) -> Result<()> {
        let look = || {
            let pods = self.kubectl.list("pod", PODS)?;
            Ok((
                pods.len(),
                pods.iter()
                    .filter(|pod| kubectl::condition(pod, "Ready").is_some_and(|c| c["status"] == "True"))
                    .count(),
            ))
        };
        let wanted = replicas as usize;
        wait::until("the operator's pods", 90, look, |seen| *seen == (wanted, wanted)).map(drop)
    }

    /// Kills all pods of the operator at once, without a chance to say good-bye.
    pub(crate) fn kill(&self) -> Result<()> {
        self.kubectl
            .run(&["delete", "pod", "--selector", PODS, "--grace-period=0", "--force", "--wait=false"])
            .map(drop)
    }

    /// The name of the pod that leads, as its Lease says.
    pub(crate) fn leader(&self) -> Result<String> {
        let lease: Value = self.kubectl.get("lease", DEPLOYMENT)?;
        // The identity is the name of the pod and something random.
        Ok(kubectl::text(&lease, "/spec/holderIdentity").split('_').next().unwrap_or_default().into())
    }
}

fn helm(arguments: &[&str]) -> Result<String> {
    command::output("helm", &[&["--namespace", NAMESPACE], arguments].concat())
}
