//! `cmq-broker check`: manifests looked at without a broker.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::config::CheckOutput;
use crate::manifests::{self, ManifestError, Manifests, Problem};

/// Something in a manifest is wrong.
const WRONG: u8 = 1;
/// A file cannot be read.
const UNREADABLE: u8 = 2;

type Verdict = Result<Found, ManifestError>;

/// What right files hold.
struct Found {
    queues: usize,
    brokers: usize,
    /// What a cluster would report although a broker that runs alone takes it.
    warnings: Vec<String>,
}

impl From<Manifests> for Found {
    fn from(manifests: Manifests) -> Self {
        let brokers = manifests.brokers();
        let queues = manifests.into_queues();
        Self {
            queues: queues.len(),
            brokers,
            warnings: queues.into_iter().flat_map(|queue| queue.cluster_warnings).collect(),
        }
    }
}

/// Checks each path by itself, as the start of a broker would, and prints what is wrong. Exits with 0, 1 for a wrong manifest
/// and 2 for one that cannot be read.
pub fn run(paths: &[PathBuf], output: CheckOutput) -> ExitCode {
    let mut codes = Vec::new();
    let mut reports = Vec::new();
    for path in paths {
        let verdict = manifests::load(path).map(Found::from);
        codes.push(code(&verdict));
        match output {
            CheckOutput::Text => print(path, &verdict),
            CheckOutput::Json => reports.push(report(path, &verdict)),
        }
    }
    let worst = codes.into_iter().max().unwrap_or(0);
    if output == CheckOutput::Json {
        println!("{:#}", json!({ "ok": worst == 0, "paths": reports }));
    }
    ExitCode::from(worst)
}

fn code(verdict: &Verdict) -> u8 {
    match verdict {
        Ok(_) => 0,
        Err(ManifestError::Invalid(_) | ManifestError::NoFiles { .. }) => WRONG,
        Err(
            ManifestError::Read { .. }
            | ManifestError::FileTooLarge { .. }
            | ManifestError::TooManyFiles { .. },
        ) => UNREADABLE,
    }
}

fn print(path: &Path, verdict: &Verdict) {
    match verdict {
        Ok(found) => {
            println!("{}: {} queues, {} brokers, all right", path.display(), found.queues, found.brokers);
            for warning in &found.warnings {
                println!("{warning}");
            }
        }
        Err(error) => eprintln!("{error}"),
    }
}

fn report(path: &Path, verdict: &Verdict) -> Value {
    let empty = json!([]);
    let (problems, error) = match verdict {
        Ok(_) => (empty, Value::Null),
        Err(ManifestError::Invalid(problems)) => (problems.iter().map(problem).collect(), Value::Null),
        Err(error) => (empty, json!(error.to_string())),
    };
    let found = verdict.as_ref().ok();
    json!({
        "path": path.display().to_string(),
        "ok": verdict.is_ok(),
        "queues": found.map_or(0, |found| found.queues),
        "brokers": found.map_or(0, |found| found.brokers),
        "warnings": found.map_or(&[][..], |found| &found.warnings),
        "problems": problems,
        "error": error,
    })
}

fn problem(problem: &Problem) -> Value {
    json!({
        "file": problem.file.display().to_string(),
        "line": problem.line,
        "field": problem.field,
        "problem": problem.problem,
        "allowed": problem.allowed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_name_file_line_and_field() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        std::fs::write(
            &path,
            "apiVersion: cmq.dev/v1alpha1\nkind: Queue\nmetadata: {name: a}\nspec:\n  broker: {}\n  delaySeconds: -1\n",
        )
        .unwrap();
        let load = |path: &Path| manifests::load(path).map(Found::from);
        let verdict = load(&path);
        assert_eq!(code(&verdict), WRONG);
        let found = report(&path, &verdict);
        assert_eq!(
            (&found["ok"], &found["queues"], &found["error"]),
            (&json!(false), &json!(0), &Value::Null)
        );
        let file = path.display().to_string();
        assert_eq!(
            found["problems"],
            json!([{
                "file": file, "line": 6, "field": "spec.delaySeconds", "problem": "is -1",
                "allowed": "a whole number from 0 to 3600"
            }])
        );
        let missing = load(&dir.path().join("b.yaml"));
        assert_eq!(code(&missing), UNREADABLE);
        assert!(report(&path, &missing)["error"].is_string());
        std::fs::write(&path, "").unwrap();
        let empty = load(&path);
        assert_eq!((code(&empty), &report(&path, &empty)["ok"]), (0, &json!(true)));
        std::fs::write(
            &path,
            "apiVersion: cmq.dev/v1alpha1\nkind: Broker\nmetadata: {name: a}\nspec: {}\n---\napiVersion: cmq.dev/v1alpha1\nkind: \
             Queue\nmetadata: {name: a}\nspec: {broker: {}}\n",
        )
        .unwrap();
        let both = report(&path, &load(&path));
        assert_eq!((&both["ok"], &both["queues"], &both["brokers"]), (&json!(true), &json!(1), &json!(1)));
        let warning = both["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("Queue a in") && warning.contains("NameConflict"), "{warning}");
    }
}
