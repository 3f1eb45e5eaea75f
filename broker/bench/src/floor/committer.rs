//! One thread that appends and syncs for all who wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use bytes::Bytes;
use tokio::sync::oneshot;

/// The file is emptied and begun again when it reaches this size, in bytes, so that a long run fills no disk.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// A group-committed file. Appends that arrive while a sync runs share the next one: there is no timer and no
/// delay.
pub struct Committer {
    inbox: Arc<Inbox>,
}

struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    messages: AtomicU64,
    flushes: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// The thread sleeps on `wake`: only then is a notification (a system call) due.
    idle: bool,
    closed: bool,
}

struct Waiting {
    body: Bytes,
    done: oneshot::Sender<()>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock can panic")
    }
}

impl Committer {
    /// Opens `path` as an empty file and starts the committer thread.
    ///
    /// The thread ends the process when a write or sync fails: what the file then holds is unknown.
    ///
    /// # Errors
    /// The file cannot be made, or the thread cannot be started.
    pub fn start(path: &Path) -> io::Result<Committer> {
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        file.sync_all()?;
        let inbox = Arc::new(Inbox {
            state: Mutex::default(),
            wake: Condvar::new(),
            messages: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
        });
        let of_thread = inbox.clone();
        thread::Builder::new().name("committer".into()).spawn(move || {
            if let Err(error) = commit(file, &of_thread) {
                eprintln!("floor: the file cannot be written, ending: {error}");
                std::process::exit(1);
            }
        })?;
        Ok(Committer { inbox })
    }

    /// Appends `body`; done when a sync that covers it has returned. The number of callers at a time is
    /// bounded by the connections, each of which has one call.
    ///
    /// # Errors
    /// The committer has been dropped.
    pub async fn append(&self, body: Bytes) -> Result<(), oneshot::error::RecvError> {
        let (done, synced) = oneshot::channel();
        let wake = {
            let mut state = self.inbox.lock();
            state.waiting.push(Waiting { body, done });
            std::mem::take(&mut state.idle)
        };
        if wake {
            self.inbox.wake.notify_one();
        }
        synced.await
    }

    /// Messages kept and flushes done so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.inbox.messages.load(Ordering::Relaxed), self.inbox.flushes.load(Ordering::Relaxed))
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.inbox.lock().closed = true;
        self.inbox.wake.notify_one();
    }
}

fn commit(mut file: File, inbox: &Inbox) -> io::Result<()> {
    let mut taken: Vec<Waiting> = Vec::new();
    let mut buffer: Vec<u8> = Vec::new();
    let mut length = 0u64;
    while next(inbox, &mut taken) {
        buffer.clear();
        for one in &taken {
            buffer.extend_from_slice(&one.body);
        }
        if length + buffer.len() as u64 > FILE_BYTES_MAX {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            length = 0;
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
        length += buffer.len() as u64;
        inbox.messages.fetch_add(taken.len() as u64, Ordering::Relaxed);
        inbox.flushes.fetch_add(1, Ordering::Relaxed);
        for one in taken.drain(..) {
            // The caller may have gone away; its message is kept all the same.
            let _gone = one.done.send(());
        }
    }
    Ok(())
}

/// Takes everything that waits, sleeping while there is nothing. False when the committer was dropped.
fn next(inbox: &Inbox, taken: &mut Vec<Waiting>) -> bool {
    let mut state = inbox.lock();
    while state.waiting.is_empty() {
        if state.closed {
            return false;
        }
        state.idle = true;
        state = inbox.wake.wait(state).expect("no holder of this lock can panic");
    }
    state.idle = false;
    std::mem::swap(&mut state.waiting, taken);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn concurrent_appends_share_flushes_and_all_reach_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let committer = Arc::new(Committer::start(&path).unwrap());
        let callers: Vec<_> = (0..500u32)
            .map(|i| {
                let committer = committer.clone();
                tokio::spawn(async move { committer.append(Bytes::from(format!("{i:08}\n"))).await })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap().unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        let expected: Vec<String> = (0..500).map(|i| format!("{i:08}")).collect();
        assert_eq!(lines, expected);
        let (messages, flushes) = committer.counts();
        assert_eq!(messages, 500);
        assert!((1..=500).contains(&flushes), "{flushes} flushes");
    }

    #[tokio::test]
    async fn an_append_answers_only_after_its_bytes_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let committer = Committer::start(&path).unwrap();
        for i in 1..=20u64 {
            committer.append(Bytes::from_static(&[7; 100])).await.unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len(), i * 100);
            assert_eq!(committer.counts(), (i, i));
        }
    }
}
