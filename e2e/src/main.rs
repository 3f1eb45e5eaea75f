//! Tests of the chart, the operator and brokers on the cluster of `KUBECONFIG`, as `e2e/run` starts them.
//!
//! Everything is done as a user would do it: by `kubectl`, by `helm` and the real chart, with load by an unmodified SDK.

mod areas;
mod artefacts;
mod check;
mod command;
mod failure;
mod flags;
mod inventory;
mod kubectl;
mod load;
mod release;
mod scene;
mod wait;
mod wire;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use areas::{AREAS, Area};
use failure::{Failure, Result};
use flags::Flags;
use inventory::Inventory;
use release::Release;
use scene::Scene;

fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.list {
        for area in AREAS {
            println!("{:<18} {} {}", area.name, if area.core { "core" } else { "    " }, area.what);
        }
        return ExitCode::SUCCESS;
    }
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("e2e: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Installs, runs the areas, uninstalls, and compares what is left with what was there. The first failure ends it; then all
/// is left as it is, for somebody to look at, and described in the folder of artefacts.
fn run(flags: &Flags) -> Result<()> {
    let chosen = chosen(flags)?;
    let before = Inventory::take()?;
    let release = Release::new(flags);
    release.install()?;
    let mut summary = Vec::new();
    for area in &chosen {
        println!("::: {}: {}", area.name, area.what);
        let started = Instant::now();
        let outcome = Scene::open(flags, &release, area.name).and_then(|scene| {
            (area.run)(&scene)?;
            scene.close()
        });
        let seconds = started.elapsed().as_secs();
        match outcome {
            Ok(None) => summary.push(format!("{:<18} ok      {seconds:>4} s", area.name)),
            Ok(Some(remark)) => summary.push(format!("{:<18} NOT run: {remark}", area.name)),
            Err(failure) => {
                artefacts::keep(flags, area.name);
                return Err(Failure::new(format!("{}: {failure}", area.name)));
            }
        }
    }
    println!("::: uninstall: what is left is what was there before, but for what is kept on purpose");
    if let Err(failure) = areas::uninstall::run(&release, &before) {
        artefacts::keep(flags, "uninstall");
        return Err(Failure::new(format!("uninstall: {failure}")));
    }
    println!(":::\n{}\nuninstall          ok", summary.join("\n"));
    Ok(())
}

fn chosen(flags: &Flags) -> Result<Vec<&'static Area>> {
    if flags.areas.is_empty() {
        return Ok(AREAS.iter().filter(|area| area.core || !flags.core).collect());
    }
    flags
        .areas
        .iter()
        .map(|name| {
            AREAS
                .iter()
                .find(|area| area.name == name)
                .ok_or_else(|| Failure::new(format!("no area {name}; --list names them")))
        })
        .collect()
}
