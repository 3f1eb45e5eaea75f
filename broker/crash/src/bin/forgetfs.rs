//! Mounts a file system that loses on SIGUSR1 what was not synced; SIGINT and SIGTERM unmount it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cmq_crash::forgetfs::{ForgetFs, Survival, detach_stale};
use tokio::signal::unix::{SignalKind, signal};

/// A file system that loses what was not synced whenever it gets SIGUSR1, as a machine that loses power.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Directory that holds what is durable.
    backing: PathBuf,
    /// Where the files are seen.
    mountpoint: PathBuf,
    /// What of the unsynced changes survives.
    #[arg(long, value_enum, default_value = "nothing")]
    survival: Survival,
    /// Seed of the choice of what survives; counts up with every loss.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Microseconds that every sync takes at least.
    #[arg(long, default_value_t = 0)]
    sync_us: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forgetfs: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(flags: Flags) -> std::io::Result<()> {
    detach_stale(&flags.mountpoint)?;
    let mut lose = signal(SignalKind::user_defined1())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let fs = ForgetFs::mount(&flags.backing, &flags.mountpoint, Duration::from_micros(flags.sync_us))?;
    println!("{} is mounted at {}", flags.backing.display(), flags.mountpoint.display());
    let mut seed = flags.seed;
    loop {
        tokio::select! {
            _ = lose.recv() => {
                let lost = fs.forget(flags.survival, seed)?;
                println!("lost {} bytes in {} files, {} names", lost.bytes, lost.files, lost.names);
                seed = seed.wrapping_add(1);
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    fs.unmount()
}
