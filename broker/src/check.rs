//! `cmq-broker check`: manifests looked at without a broker.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::manifests;

/// Checks each path by itself and prints what is wrong. Fails when anything is.
pub fn run(paths: &[PathBuf]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in paths {
        match manifests::load(path) {
            Ok(queues) => {
                println!("{}: {} queues, all right", path.display(), queues.len());
                for warning in queues.iter().filter_map(|queue| queue.cluster_warning.as_ref()) {
                    println!("{}: {warning}", path.display());
                }
            }
            Err(error) => {
                eprintln!("{error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
