//! What somebody needs who was not there when an area failed.

use std::fs;

use crate::command;
use crate::flags::Flags;
use crate::release;

/// Lines of each log.
const LOG_LINES: &str = "--tail=5000";

/// Writes events, logs and objects of the area's and the operator's namespace to `--artefacts`. What cannot be had is left out.
pub(crate) fn keep(flags: &Flags, area: &str) {
    let folder = flags.artefacts.join(area);
    if let Err(error) = fs::create_dir_all(&folder) {
        eprintln!("{}: {error}", folder.display());
        return;
    }
    let own = format!("cmq-e2e-{area}");
    for namespace in [release::NAMESPACE, &own] {
        for (file, arguments) in [
            ("events.txt", vec!["get", "events", "--sort-by=.lastTimestamp"]),
            (
                "objects.yaml",
                vec!["get", "all,pvc,configmap,pdb,brokers.cmq.dev,queues.cmq.dev,lease", "-o", "yaml"],
            ),
            ("pods.txt", vec!["describe", "pods"]),
            (
                "logs.txt",
                vec![
                    "logs",
                    "--selector=app.kubernetes.io/part-of=cmq",
                    "--all-containers",
                    "--prefix",
                    LOG_LINES,
                ],
            ),
            (
                "logs-before.txt",
                vec!["logs", "--selector=app.kubernetes.io/part-of=cmq", "--previous", "--prefix", LOG_LINES],
            ),
        ] {
            let arguments = [&["--namespace", namespace], arguments.as_slice()].concat();
            let text = command::output("kubectl", &arguments).unwrap_or_else(|failure| failure.to_string());
            if let Err(error) = fs::write(folder.join(format!("{namespace}-{file}")), text) {
                eprintln!("{}: {error}", folder.display());
            }
        }
    }
    eprintln!("e2e: events, logs and objects are in {}", folder.display());
}
