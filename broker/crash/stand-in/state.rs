//! The queues in memory, and the file of changes from which they are made again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One change, as a line of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    Create { queue: String, visibility_ms: u64 },
    Send { queue: String, id: u64, body: String, visible_ms: u64 },
    Lease { queue: String, id: u64, until_ms: u64 },
    Delete { queue: String, id: u64 },
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) visibility_ms: u64,
    pub(crate) messages: BTreeMap<u64, Message>,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) body: String,
    pub(crate) visible_ms: u64,
    pub(crate) receives: u64,
}

/// All queues and the file behind them.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) queues: BTreeMap<String, Queue>,
    pub(crate) next_id: u64,
    file: File,
    is_synced: bool,
}

impl State {
    /// Reads the file; what follows the last whole line is cut off.
    pub(crate) fn open(dir: &Path, is_synced: bool) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("changes");
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
        let mut state = Self { queues: BTreeMap::new(), next_id: 1, file, is_synced };
        let mut reader = BufReader::new(File::open(&path)?);
        let (mut whole, mut line) = (0, String::new());
        while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
            let Some(change) = line.strip_suffix('\n').and_then(|line| serde_json::from_str(line).ok())
            else {
                break;
            };
            state.apply(change);
            whole += line.len() as u64;
            line.clear();
        }
        state.file.set_len(whole)?;
        state.file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(state)
    }

    /// Writes changes, syncs them and makes them seen. A process whose disk fails must not go on.
    pub(crate) fn commit(&mut self, changes: Vec<Change>) {
        let mut lines = Vec::new();
        for change in &changes {
            serde_json::to_writer(&mut lines, change).expect("a change is plain data");
            lines.push(b'\n');
        }
        self.file.write_all(&lines).expect("the disk takes the changes");
        if self.is_synced {
            self.file.sync_data().expect("the disk syncs the changes");
        }
        changes.into_iter().for_each(|change| self.apply(change));
    }

    fn apply(&mut self, change: Change) {
        let (Change::Create { queue, .. }
        | Change::Send { queue, .. }
        | Change::Lease { queue, .. }
        | Change::Delete { queue, .. }) = &change;
        let queue = self.queues.entry(queue.clone()).or_default();
        match change {
            Change::Create { visibility_ms, .. } => queue.visibility_ms = visibility_ms,
            Change::Send { id, body, visible_ms, .. } => {
                queue.messages.insert(id, Message { body, visible_ms, receives: 0 });
                self.next_id = self.next_id.max(id + 1);
            }
            Change::Lease { id, until_ms, .. } => {
                if let Some(message) = queue.messages.get_mut(&id) {
                    message.visible_ms = until_ms;
                    message.receives += 1;
                }
            }
            Change::Delete { id, .. } => {
                queue.messages.remove(&id);
            }
        }
    }
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
