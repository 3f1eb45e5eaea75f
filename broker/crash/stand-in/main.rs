//! An honest queue in a few hundred lines, for tests of the kill loop alone: it speaks the part of CMQ that
//! the loop uses, appends every change to one file and syncs it before it answers.
//!
//! It has the flags of the broker that the loop sets, and one fault: with `CMQ_TEST_COMMIT_SYNC=off` in its
//! environment it answers without the sync.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::state::State;

mod calls;
mod state;

#[derive(Debug, Parser)]
struct Flags {
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long)]
    client_addr: SocketAddr,
    /// There are no peers; the loop sets it for every broker.
    #[arg(long)]
    peer_addr: SocketAddr,
    #[arg(long)]
    admin_addr: SocketAddr,
    #[arg(long)]
    log_format: String,
}

/// A long poll looks again after this long.
const POLL: Duration = Duration::from_millis(5);

#[tokio::main]
async fn main() -> io::Result<()> {
    let flags = Flags::parse();
    let client = TcpListener::bind(flags.client_addr).await?;
    let admin = TcpListener::bind(flags.admin_addr).await?;
    let is_synced = std::env::var_os("CMQ_TEST_COMMIT_SYNC").is_none_or(|value| value != "off");
    let state = Arc::new(Mutex::new(State::open(&flags.data_dir, is_synced)?));
    let line = json!({
        "message": "cmq-broker serves",
        "client": client.local_addr()?.to_string(),
        "admin": admin.local_addr()?.to_string(),
    });
    eprintln!("{line}");
    tokio::spawn(accept(admin, |_| async { "ready".to_owned() }));
    accept(client, move |form| answer(state.clone(), form)).await;
    Ok(())
}

async fn answer(state: Arc<Mutex<State>>, form: Vec<(String, String)>) -> String {
    let started = Instant::now();
    loop {
        let (reply, wait) = calls::call(&mut state.lock().unwrap_or_else(PoisonError::into_inner), &form);
        if started.elapsed() >= wait {
            return envelope(reply).to_string();
        }
        tokio::time::sleep(POLL).await;
    }
}

fn envelope(mut reply: Value) -> Value {
    reply["requestId"] = json!("1");
    reply["clientRequestId"] = json!(0);
    reply
}

async fn accept<F, A>(listener: TcpListener, answer: F)
where
    F: Fn(Vec<(String, String)>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = String> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            let serve = service_fn(|request: Request<hyper::body::Incoming>| {
                let answer = answer.clone();
                async move {
                    let body =
                        request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let form = form_urlencoded::parse(&body).into_owned().collect();
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer(form).await))))
                }
            });
            // A connection that breaks concerns nobody else.
            http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await.ok();
        });
    }
}
