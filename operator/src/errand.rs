//! What the program does beside looking after the cluster, once and to its end; the chart's Jobs run it.

use std::process::ExitCode;
use std::time::Duration;

use kube::Client;

use crate::config::{Action, Installation};
use crate::preflight;
use crate::uninstall;

/// Does it, and prints what came of it.
pub fn run(action: &Action) -> ExitCode {
    // Another library may have set it already; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&[format!("cannot start: {error}")]),
    };
    match runtime.block_on(work(action)) {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(problems) => failed(&problems),
    }
}

fn failed(problems: &[String]) -> ExitCode {
    for problem in problems {
        eprintln!("{problem}");
    }
    ExitCode::FAILURE
}

async fn work(action: &Action) -> Result<String, Vec<String>> {
    let one = |error: &dyn std::fmt::Display| vec![error.to_string()];
    match action {
        Action::Preflight(installation) => {
            let (client, namespace) = client(installation).await.map_err(|error| one(&error))?;
            let findings =
                preflight::findings(&client, installation, &namespace).await.map_err(|error| one(&error))?;
            if findings.is_empty() {
                Ok("kinds, rights and lease are as they should be".into())
            } else {
                Err(findings)
            }
        }
        Action::Uninstall { installation, policy, timeout_seconds } => {
            let (client, namespace) = client(installation).await.map_err(|error| one(&error))?;
            let time = Duration::from_secs(*timeout_seconds);
            uninstall::prepare(&client, installation, &namespace, *policy, time)
                .await
                .map_err(|error| one(&error))?;
            Ok("the operator may go".into())
        }
    }
}

/// The API server, and the namespace that the operator runs in.
async fn client(installation: &Installation) -> Result<(Client, String), String> {
    let (cluster, namespace) =
        installation.cluster().await.map_err(|error| format!("no API server: {error}"))?;
    let client = Client::try_from(cluster).map_err(|error| format!("no API server: {error}"))?;
    Ok((client, namespace))
}
