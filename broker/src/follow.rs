//! Files whose changes are followed: a look every second at what tells a change cheaply, and the whole content when it
//! does. A change counts when two looks in a row found the same, so that a half-written file is not taken.
//!
//! Looking needs no watch that a rename, a swapped link, a remount or a network file system would break.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use xxhash_rust::xxh3::Xxh3;

/// Time between two looks.
pub const PERIOD: Duration = Duration::from_secs(1);

/// Follows what some files hold.
pub struct Follower<C, E> {
    files: Box<dyn Fn() -> io::Result<Vec<PathBuf>> + Send>,
    read: Box<dyn Fn() -> Result<C, E> + Send>,
    fingerprint: fn(&C) -> u128,
    /// What the metadata of the files said when the content was read last.
    glance: Option<u128>,
    /// What was handed out last.
    taken: u128,
    /// What the look before found, where it differs from what was taken.
    candidate: Option<u128>,
}

impl<C, E: ToString> Follower<C, E> {
    /// Follows what `read` reads from `files`, beginning with content of the fingerprint `taken`.
    pub fn new(
        taken: u128,
        files: impl Fn() -> io::Result<Vec<PathBuf>> + Send + 'static,
        read: impl Fn() -> Result<C, E> + Send + 'static,
        fingerprint: fn(&C) -> u128,
    ) -> Self {
        let (files, read) = (Box::new(files), Box::new(read));
        Self { files, read, fingerprint, glance: None, taken, candidate: None }
    }

    /// Looks at the files: their content, or why it cannot be read, if that has changed and settled.
    pub fn look(&mut self) -> Option<Result<C, E>> {
        // Before the reading: what changes in between is seen by the next look.
        let glance = self.glance();
        if self.glance == Some(glance) && self.candidate.is_none() {
            return None;
        }
        self.glance = Some(glance);
        let content = (self.read)();
        let found = self.fingerprint_of(&content);
        if found == self.taken {
            self.candidate = None;
            return None;
        }
        if self.candidate.replace(found) != Some(found) {
            return None;
        }
        self.candidate = None;
        self.taken = found;
        Some(content)
    }

    fn fingerprint_of(&self, content: &Result<C, E>) -> u128 {
        match content {
            Ok(content) => (self.fingerprint)(content),
            Err(error) => {
                let mut hash = Xxh3::with_seed(1);
                hash.update(error.to_string().as_bytes());
                hash.digest128()
            }
        }
    }

    /// Which files there are, and what changes when one is written, replaced, or reached by another link.
    fn glance(&self) -> u128 {
        let mut hash = Xxh3::new();
        match (self.files)() {
            Err(error) => hash.update(error.to_string().as_bytes()),
            Ok(files) => {
                for file in files {
                    hash.update(file.as_os_str().as_encoded_bytes());
                    match file.metadata() {
                        Ok(metadata) => hash.update(&signs(&metadata)),
                        Err(error) => hash.update(error.to_string().as_bytes()),
                    }
                }
            }
        }
        hash.digest128()
    }
}

fn signs(metadata: &Metadata) -> Vec<u8> {
    let (mtime, ctime) = (metadata.mtime() as u64, metadata.ctime() as u64);
    let parts = [
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        mtime,
        metadata.mtime_nsec() as u64,
        ctime,
        metadata.ctime_nsec() as u64,
    ];
    parts.iter().flat_map(|part| part.to_le_bytes()).collect()
}

/// Waits for the time of the next look. False: `stop` turned true, or its sender is gone.
pub async fn pause(stop: &watch::Receiver<bool>) -> bool {
    let mut stop = stop.clone();
    tokio::time::timeout(PERIOD, stop.wait_for(|stop| *stop)).await.is_err()
}

/// [`Follower::look`] where it may wait for the disk.
pub async fn look<C: Send + 'static, E: ToString + Send + 'static>(
    mut follower: Follower<C, E>,
) -> (Follower<C, E>, Option<Result<C, E>>) {
    let looking = tokio::task::spawn_blocking(move || {
        let change = follower.look();
        (follower, change)
    });
    looking.await.expect("looking at files does not panic, and the runtime waits for it")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    fn follower(path: &Path) -> Follower<String, io::Error> {
        let (files, text) = (path.to_owned(), path.to_owned());
        let fingerprint = |text: &String| xxhash_rust::xxh3::xxh3_128(text.as_bytes());
        Follower::new(
            fingerprint(&"one".to_owned()),
            move || Ok(vec![files.clone()]),
            move || std::fs::read_to_string(&text),
            fingerprint,
        )
    }

    fn found(follower: &mut Follower<String, io::Error>) -> Option<String> {
        follower.look().map(|content| content.unwrap_or_else(|error| error.kind().to_string()))
    }

    #[test]
    fn what_settles_is_found_once() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut follower = follower(&path);
        assert_eq!([(); 3].map(|()| found(&mut follower)), [None, None, None]);

        std::fs::write(&path, "two").unwrap();
        assert_eq!([(); 3].map(|()| found(&mut follower)), [None, Some("two".into()), None]);

        std::fs::remove_file(&path).unwrap();
        assert_eq!([(); 3].map(|()| found(&mut follower)), [None, Some("entity not found".into()), None]);
        std::fs::write(&path, "two").unwrap();
        assert_eq!([(); 3].map(|()| found(&mut follower)), [None, Some("two".into()), None]);
    }

    #[test]
    fn what_is_still_being_written_is_not_found() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut follower = follower(&path);
        for part in ["t", "tw", "two", "two,", "two, th"] {
            std::fs::write(&path, part).unwrap();
            assert_eq!(found(&mut follower), None, "{part}");
        }
        // Back to what it was: no change at all.
        std::fs::write(&path, "one").unwrap();
        assert_eq!([(); 3].map(|()| found(&mut follower)), [None, None, None]);
        std::fs::write(&path, "six").unwrap();
        assert_eq!([(); 2].map(|()| found(&mut follower)), [None, Some("six".into())]);
    }

    #[test]
    fn touching_is_no_change() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut follower = follower(&path);
        for _ in 0..3 {
            std::fs::write(&path, "one").unwrap();
            assert_eq!(found(&mut follower), None);
        }
    }
}
