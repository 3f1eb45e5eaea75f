//! Clients that mean no good, against a broker with the least memory: it stays within a bound and goes on serving.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Bench, create_queue};
use crate::cmq;
use crate::error::{Error, Result};
use crate::http::{self, Connection};
use crate::noise::{Noise, Noisy};
use crate::process::{Server, raise_open_files};
use crate::report::{Bound, Section, grouped, megabytes};
use crate::work::{Cycle, Work};

/// The least that `--memory` may be, in bytes.
const MEMORY: &str = "--memory=67108864";
const QUEUE: &str = "abused";
/// How long each kind of abuse goes on.
const STAGE: Duration = Duration::from_secs(8);
/// How often resident memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a well-behaved client may take to get a cycle through afterwards.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// Files this process needs beside its connections.
const OTHER_FILES: u64 = 200;

/// Resident memory that is not exceeded, and that beside 400 receives at once of 1 MiB each or 19,000 connections, the last
/// of which begins with what the allocator kept of those.
const RESIDENT_MB_MAX: f64 = 250.0;
const RESIDENT_MB_MAX_LARGE: f64 = 800.0;

/// A kind of abuse.
#[derive(Clone, Copy, Debug)]
enum Abuse {
    HalfHeads,
    HalfBodies,
    LargeBodies,
    Flood,
    Unread,
    Waiters,
}

impl Abuse {
    const ALL: [Abuse; 6] = [
        Abuse::HalfHeads,
        Abuse::HalfBodies,
        Abuse::LargeBodies,
        Abuse::Flood,
        Abuse::Unread,
        Abuse::Waiters,
    ];

    fn name(self) -> &'static str {
        match self {
            Abuse::HalfHeads => "heads of 60 KiB that never end",
            Abuse::HalfBodies => "8 MiB announced, 256 KiB sent, then nothing",
            Abuse::LargeBodies => "bodies of 8 MiB, again and again",
            Abuse::Flood => "sends of 16 x 60 KiB, again and again",
            Abuse::Unread => "receives of 16 x 60 KiB, answers never read",
            Abuse::Waiters => "long polls",
        }
    }

    fn connections(self) -> usize {
        match self {
            Abuse::HalfHeads => 2_000,
            Abuse::HalfBodies | Abuse::LargeBodies | Abuse::Unread => 400,
            Abuse::Flood => 200,
            Abuse::Waiters => 18_900,
        }
    }

    fn bound_mb(self) -> f64 {
        if matches!(self, Abuse::Unread | Abuse::Waiters) { RESIDENT_MB_MAX_LARGE } else { RESIDENT_MB_MAX }
    }
}

/// Measures resident memory under each kind of abuse.
///
/// # Errors
/// The process may not open that many files, the broker does not start or ends, or a well-behaved client is not served
/// afterwards.
pub async fn measure(bench: &Bench) -> Result<Section> {
    let files = raise_open_files();
    let most = Abuse::ALL.map(Abuse::connections).into_iter().max().unwrap_or_default();
    if files < most as u64 + OTHER_FILES {
        return Err(Error::Usage(format!(
            "{most} connections need a higher limit of open files than {files}"
        )));
    }
    let how = format!(
        "A broker with {MEMORY}, one after the other {} s of each kind; the largest resident memory that was seen meanwhile, \
         and how long a cycle of another client took directly afterwards, refusals and repetitions included.",
        STAGE.as_secs()
    );
    let columns = ["abuse", "connections", "resident, MB", "next cycle after, ms"];
    let mut section = Section::new("Abuse", how, &columns);
    let broker = bench.start_broker_with("abuse", &[MEMORY.to_owned()]).await?;
    create_queue(&broker, QUEUE).await?;
    section.row([
        "none".into(),
        "0".into(),
        grouped(megabytes(broker.memory()?.resident_bytes)),
        String::new(),
    ]);
    for abuse in Abuse::ALL {
        let resident = under(abuse, &broker).await?;
        let served = serve_another(broker.client).await?;
        eprintln!("abuse: {abuse:?} {resident:.0} MB, served after {served:?}");
        section.row([
            abuse.name().into(),
            grouped(abuse.connections() as f64),
            grouped(resident),
            grouped(served.as_secs_f64() * 1e3),
        ]);
        section.gate(
            &format!("resident beside {}, MB", abuse.name()),
            resident,
            Bound::AtMost(abuse.bound_mb()),
        );
    }
    broker.stop().await?;
    Ok(section)
}

/// Abuses the broker for a while; gives the largest resident memory in MB.
async fn under(abuse: Abuse, broker: &Server) -> Result<f64> {
    let mut clients = JoinSet::new();
    let request = Rc::new(request(abuse));
    for number in 0..abuse.connections() {
        let (address, request) = (broker.client, request.clone());
        // What a client meets is its own fault: refusals and closed connections are what is expected.
        clients.spawn_local(async move { drop(client(abuse, address, &request, number as u64).await) });
    }
    let start = Instant::now();
    let mut largest = 0;
    while start.elapsed() < STAGE {
        tokio::time::sleep(LOOK_EVERY).await;
        largest = largest.max(broker.memory()?.resident_bytes);
    }
    Ok(megabytes(largest))
}

fn request(abuse: Abuse) -> Vec<u8> {
    let announced = |bytes: usize| {
        format!("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n", cmq::PATH)
            .into_bytes()
    };
    match abuse {
        Abuse::HalfHeads => {
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(60 << 10)).into_bytes()
        }
        Abuse::HalfBodies => [announced(8 << 20), vec![b'x'; 256 << 10]].concat(),
        Abuse::LargeBodies => {
            let body =
                [b"Action=SendMessage&queueName=abused&msgBody=".to_vec(), vec![b'x'; 8 << 20]].concat();
            http::post(cmq::PATH, cmq::FORM, &body[..8 << 20])
        }
        Abuse::Flood => cmq::batch_send(QUEUE, 16, 60 << 10, 1),
        Abuse::Unread => {
            cmq::request("BatchReceiveMessage", QUEUE, &[("numOfMsg", "16"), ("pollingWaitSeconds", "0")])
        }
        Abuse::Waiters => cmq::request("ReceiveMessage", "quiet", &[("pollingWaitSeconds", "30")]),
    }
}

async fn client(abuse: Abuse, address: SocketAddr, request: &[u8], seed: u64) -> Result<()> {
    match abuse {
        Abuse::Flood => {
            let mut connection = Connection::open(address).await?;
            let mut flood = Noisy::with_send(Noise::Batches, QUEUE, request.to_vec(), Rc::default());
            loop {
                flood.run(&mut connection).await?;
            }
        }
        Abuse::LargeBodies => loop {
            let mut connection = Connection::open(address).await?;
            while connection.call(request).await.is_ok() {}
            tokio::time::sleep(Duration::from_millis(10 + seed % 10)).await;
        },
        Abuse::HalfHeads | Abuse::HalfBodies | Abuse::Unread | Abuse::Waiters => {
            let failed = || Error::io("abuse");
            let mut stream = TcpStream::connect(address).await.map_err(failed())?;
            stream.write_all(request).await.map_err(failed())?;
            if matches!(abuse, Abuse::Unread) {
                std::future::pending::<()>().await;
            }
            // Until the broker has enough of it.
            let mut bytes = [0; 1024];
            while stream.read(&mut bytes).await.map_err(failed())? > 0 {}
            Ok(())
        }
    }
}

/// Lets a well-behaved client do a cycle, with repetitions.
async fn serve_another(address: SocketAddr) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let cycle = async {
            let mut connection = Connection::open(address).await?;
            create_if_missing(&mut connection).await?;
            Cycle::new("quiet-cycle", 100, 1).run(&mut connection).await
        };
        match cycle.await {
            Ok(_) => return Ok(start.elapsed()),
            Err(error) if start.elapsed() > SERVED_WITHIN => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn create_if_missing(connection: &mut Connection) -> Result<()> {
    for queue in ["quiet", "quiet-cycle"] {
        // Creating a queue that exists as it is asked for succeeds or is refused; either way it is there.
        connection.call(&cmq::request("CreateQueue", queue, &[])).await?;
    }
    Ok(())
}
