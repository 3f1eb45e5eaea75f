//! `cmq-broker check`: manifests looked at without a broker.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::config::CheckOutput;
use crate::manifests::{self, DeclaredQueue, ManifestError, Problem};

/// Something in a manifest is wrong.
const WRONG: u8 = 1;
/// A file cannot be read.
const UNREADABLE: u8 = 2;

type Verdict = Result<Vec<DeclaredQueue>, ManifestError>;

/// Checks each path by itself, as the start of a broker would, and prints what is wrong. Exits with 0, 1 for a wrong manifest
/// and 2 for one that cannot be read.
pub fn run(paths: &[PathBuf], output: CheckOutput) -> ExitCode {
    let mut codes = Vec::new();
    let mut reports = Vec::new();
    for path in paths {
        let verdict = manifests::load(path);
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
        Ok(queues) => {
            println!("{}: {} queues, all right", path.display(), queues.len());
            for warning in queues.iter().filter_map(|queue| queue.cluster_warning.as_ref()) {
                println!("{}: {warning}", path.display());
            }
        }
        Err(error) => eprintln!("{error}"),
    }
}

fn report(path: &Path, verdict: &Verdict) -> Value {
    let empty = json!([]);
    let (queues, warnings, problems, error) = match verdict {
        Ok(queues) => {
            let warnings = queues.iter().filter_map(|queue| queue.cluster_warning.as_deref()).collect();
            (queues.len(), warnings, empty, Value::Null)
        }
        Err(ManifestError::Invalid(problems)) => {
            (0, empty, problems.iter().map(problem).collect(), Value::Null)
        }
        Err(error) => (0, empty.clone(), empty, json!(error.to_string())),
    };
    json!({
        "path": path.display().to_string(),
        "ok": verdict.is_ok(),
        "queues": queues,
        "warnings": warnings,
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
        let verdict = manifests::load(&path);
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
        let missing = manifests::load(&dir.path().join("b.yaml"));
        assert_eq!(code(&missing), UNREADABLE);
        assert!(report(&path, &missing)["error"].is_string());
        std::fs::write(&path, "").unwrap();
        let empty = manifests::load(&path);
        assert_eq!((code(&empty), &report(&path, &empty)["ok"]), (0, &json!(true)));
    }
}
