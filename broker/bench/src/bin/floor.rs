//! The floor program's command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use cmq_bench::error::{Error, Result};
use cmq_bench::floor::{self, Committer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The least a durable queue behind HTTP can do: one append and one fdatasync for all who wait.
///
/// POST /append keeps the body, POST /empty answers at once, GET /stats counts messages and flushes. The
/// first line on standard output names the port. Ends at SIGTERM or SIGINT and prints its counts.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Address to listen on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    addr: SocketAddr,
    /// File to append to; emptied at the start and whenever it reaches 1 GiB
    #[arg(long)]
    file: PathBuf,
    /// Threads that serve HTTP, beside the one that commits
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let what = format!("cannot open {}", options.file.display());
    let committer = Arc::new(Committer::start(&options.file).map_err(Error::io(what))?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(options.threads))
        .enable_all()
        .build()
        .map_err(Error::io("cannot start the runtime"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::io("cannot take signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::io("cannot take signals"))?;
        let what = format!("cannot listen on {}", options.addr);
        let listener = TcpListener::bind(options.addr).await.map_err(Error::io(what))?;
        let address = listener.local_addr().map_err(Error::io("cannot tell the port"))?;
        println!("{{\"message\":\"floor serves\",\"client\":\"{address}\"}}");
        let server = tokio::spawn(floor::serve(listener, committer.clone()));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        server.abort();
        Ok::<(), Error>(())
    })?;
    let (messages, flushes) = committer.counts();
    println!("{{\"message\":\"floor ends\",\"messages\":{messages},\"flushes\":{flushes}}}");
    Ok(())
}
