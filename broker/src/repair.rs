//! `cmq-broker repair`: what can be saved of a damaged data directory. It says what it would do, and does it only when told.

mod losses;
mod rebuild;
mod swap;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::inspect::volume::Volume;
use crate::storage::StoreError;
use crate::storage::offline::{SideFileState, mend_tree, write_side_file};

/// What to repair, and how far to go.
#[derive(Clone, Debug, Args)]
pub struct RepairArgs {
    /// Directory of the data. No broker may be using it.
    #[arg(long, env = "CMQ_DATA_DIR", value_name = "DIR", default_value = "cmq-data")]
    pub data_dir: PathBuf,
    /// Do it. Without this flag nothing is changed.
    #[arg(long)]
    pub apply: bool,
    /// Do it even if messages, or other acknowledged changes, are lost by it.
    #[arg(long, requires = "apply")]
    pub accept_loss: bool,
    /// Directory for a copy of the journals, up to 320 MiB; by default the system's temporary one.
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

/// What is wrong, and what is done about it.
#[derive(Debug, Default)]
struct Plan {
    lines: Vec<String>,
    /// The database is written anew from what can be read.
    rebuilds: bool,
    /// Something that was acknowledged is gone, or may be.
    is_lossy: bool,
}

/// Looks, says what is to be done, and does it if it is told to. Fails when something is wrong and stays so.
pub fn run(args: &RepairArgs) -> ExitCode {
    match repair(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn repair(args: &RepairArgs) -> Result<bool, StoreError> {
    let dir = &args.data_dir;
    if swap::is_half_done(dir) {
        if !args.apply {
            println!("an earlier repair was interrupted at its last step; --apply finishes it");
            return Ok(false);
        }
        swap::finish(dir)?;
        println!("the earlier repair is finished");
        return Ok(true);
    }
    let scratch = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let mut volume = Volume::open(dir, &scratch)?;
    let losses = losses::find(&mut volume);
    let plan = plan(&volume, &losses);
    if plan.lines.is_empty() {
        println!("{}: nothing is wrong", dir.display());
        return Ok(true);
    }
    plan.lines.iter().for_each(|line| println!("{line}"));
    losses.lines.iter().for_each(|line| println!("lost: {line}"));
    if volume.groups.iter().any(|group| group.voters.len() > 1) {
        println!("this replica has peers: rebuild it from them, under a new member id");
        return Ok(false);
    }
    if !args.apply {
        let how = if plan.is_lossy { "--apply --accept-loss" } else { "--apply" };
        println!("nothing was changed; {how} does it");
        return Ok(false);
    }
    if plan.is_lossy && !args.accept_loss {
        println!("nothing was changed: something is lost by it, which --accept-loss allows");
        return Ok(false);
    }
    if plan.rebuilds {
        rebuild::write(&mut volume, &losses, plan.is_lossy, &swap::fresh(dir))?;
        let kept = swap::exchange(dir)?;
        println!("done; what was there before is kept in {}", kept.display());
    } else {
        for fault in &volume.survey.tree_faults {
            mend_tree(fault)?;
        }
        if !matches!(volume.survey.side_file, SideFileState::Number(_)) {
            write_side_file(dir, volume.image.batch()?)?;
        }
        println!("done");
    }
    Ok(true)
}

fn plan(volume: &Volume, losses: &losses::Losses) -> Plan {
    let survey = &volume.survey;
    let mut plan = Plan::default();
    for fault in &survey.tree_faults {
        plan.lines.push(format!(
            "{}: {}; the file \"current\" is written anew, nothing is lost",
            fault.path.display(),
            fault.what
        ));
    }
    let batch = volume.image.batch();
    match survey.side_file {
        SideFileState::Number(number) => {
            if let Ok(batch) = batch
                && batch < number
                && survey.journal_break.is_none()
            {
                plan.rebuilds = true;
                plan.is_lossy = true;
                plan.lines.push(format!(
                    "batches {} to {number} had been durable and are gone; the broker goes on from batch {batch}",
                    batch + 1
                ));
            }
        }
        SideFileState::Missing | SideFileState::Unreadable => {
            plan.lines.push(format!(
                "the file \"durable\" is missing or damaged; it is written anew for batch {}. Whether later batches had \
                 been durable, nobody can tell any more",
                batch.as_ref().copied().unwrap_or(0)
            ));
        }
    }
    if let Some(broken) = survey.journal_break.as_ref().filter(|broken| !broken.is_harmless) {
        let held = survey.journal_batch.unwrap_or(0);
        plan.rebuilds = true;
        plan.is_lossy = true;
        plan.lines.push(format!(
            "{}: at byte {} {}; batches {} to at least {} are lost: messages sent in them are gone, deletes in them undone",
            broken.path.display(),
            broken.offset,
            broken.why,
            held + 1,
            broken.beyond.max(held + 1),
        ));
    }
    let faults = volume.faults.iter().chain(volume.groups.iter().flat_map(|group| &group.faults));
    for fault in faults {
        plan.rebuilds = true;
        plan.is_lossy = true;
        plan.lines.push(format!("{}: {}; what is left is written anew", fault.place, fault.detail));
    }
    for block in &losses.blocks {
        plan.rebuilds = true;
        plan.lines.push(format!("{block}, cannot be read; what is left is written anew"));
    }
    if !losses.lines.is_empty() {
        plan.rebuilds = true;
        plan.is_lossy = true;
        plan.lines
            .push(format!("{} messages cannot be read; they are taken out of their queues", losses.messages));
    }
    plan
}

#[cfg(test)]
mod tests;
