//! Keys that change while the broker runs.

use std::path::PathBuf;

use tokio::sync::watch;

use super::{Access, file};
use crate::follow::{self, Follower};
use crate::metrics::AccessMetrics;

/// Follows the file of the keys until `stop` turns true: a good change takes the place of the keys, a bad one is
/// reported once, and the keys stay.
pub async fn follow(access: Access, path: PathBuf, metrics: AccessMetrics, stop: watch::Receiver<bool>) {
    let Some((keys, _)) = access.keys() else { return };
    metrics.file.took(keys.count());
    let (files, text) = (path.clone(), path.clone());
    let mut follower = Follower::new(
        keys.fingerprint,
        move || Ok(vec![files.clone()]),
        move || file::text(&text),
        |text: &String| file::fingerprint(text),
    );
    let mut overflows = 0;
    while follow::pause(&stop).await {
        if let Some(figures) = access.guard_figures() {
            metrics.show_guard(&figures);
            if figures.overflows > overflows {
                tracing::warn!(
                    signatures = figures.signatures,
                    "the replay guard is full before its time: calls with an older Timestamp are refused \
                     (--clock-skew, --replay-guard)"
                );
                overflows = figures.overflows;
            }
        }
        let (back, change) = follow::look(follower).await;
        follower = back;
        match change.map(|text| text.and_then(|text| file::parse(&path, &text))) {
            None => {}
            Some(Ok(keys)) => {
                let count = keys.count();
                access.replace(keys);
                metrics.file.took(count);
                tracing::info!(file = %path.display(), keys = count, "access keys taken");
            }
            Some(Err(error)) => {
                metrics.file.refused();
                tracing::error!(%error, "the access keys stay as they are");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::time::Duration;

    use tempfile::TempDir;
    use tokio::task::JoinHandle;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::access::LENIENT;
    use crate::metrics::Metrics;

    /// Far longer than a change takes to be seen.
    const SOON: Duration = Duration::from_secs(30);

    struct Following {
        access: Access,
        metrics: AccessMetrics,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    }

    impl Following {
        fn start(path: &Path) -> Self {
            let access = Access::signed(file::read(path).unwrap(), LENIENT);
            let metrics = Metrics::new().access;
            let (stop, stopped) = watch::channel(false);
            let task = tokio::spawn(follow(access.clone(), path.to_owned(), metrics.clone(), stopped));
            Self { access, metrics, stop, task }
        }

        fn knows(&self, id: &str) -> bool {
            self.access.keys().unwrap().0.find(id).is_some()
        }

        async fn until(&self, what: &str, is_true: impl Fn(&Self) -> bool) {
            let wait = async {
                while !is_true(self) {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{what} was not seen"));
        }

        async fn end(self) {
            self.stop.send_replace(true);
            timeout(SOON, self.task).await.unwrap().unwrap();
        }
    }

    fn keys(ids: &[&str]) -> String {
        ids.iter().map(|id| format!("- {{id: {id}, secret: s}}\n")).collect()
    }

    #[tokio::test]
    async fn good_changes_are_taken_and_bad_ones_reported_once() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("keys.yaml");
        std::fs::write(&path, keys(&["a"])).unwrap();
        let following = Following::start(&path);

        // Written over.
        std::fs::write(&path, keys(&["a", "b"])).unwrap();
        following.until("the second key", |it| it.knows("a") && it.knows("b")).await;
        // Replaced by a rename.
        let next = dir.path().join("next");
        std::fs::write(&next, keys(&["c"])).unwrap();
        std::fs::rename(&next, &path).unwrap();
        following.until("the third key", |it| it.knows("c") && !it.knows("a")).await;
        // Bad in several ways: the keys stay, and each is counted once.
        for (count, bad) in (1..).zip(["", "- {id: d}", "- {id: e, secret: ''}", "- {id: f, secret: s}\n- ["])
        {
            std::fs::write(&path, bad).unwrap();
            following.until(bad, |it| it.metrics.file.refusals() == count).await;
            assert!(following.knows("c"), "{bad}");
        }
        std::fs::remove_file(&path).unwrap();
        following.until("the missing file", |it| it.metrics.file.refusals() == 5).await;
        sleep(3 * follow::PERIOD).await;
        assert_eq!(following.metrics.file.refusals(), 5);
        assert!(following.knows("c"));
        std::fs::write(&path, keys(&["g"])).unwrap();
        following.until("the key after all that", |it| it.knows("g") && !it.knows("c")).await;
        following.end().await;
    }

    /// Kubernetes swaps a link to a directory; what is read through it changes at once.
    #[tokio::test]
    async fn a_swapped_link_is_a_change() {
        let dir = TempDir::new().unwrap();
        for (version, id) in [("v1", "a"), ("v2", "b")] {
            std::fs::create_dir(dir.path().join(version)).unwrap();
            std::fs::write(dir.path().join(version).join("keys.yaml"), keys(&[id])).unwrap();
        }
        symlink("v1", dir.path().join("..data")).unwrap();
        symlink("..data/keys.yaml", dir.path().join("keys.yaml")).unwrap();
        let following = Following::start(&dir.path().join("keys.yaml"));
        symlink("v2", dir.path().join("..data_tmp")).unwrap();
        std::fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
        std::fs::remove_dir_all(dir.path().join("v1")).unwrap();
        following.until("the key behind the new link", |it| it.knows("b") && !it.knows("a")).await;
        assert_eq!(following.metrics.file.refusals(), 0);
        following.end().await;
    }
}
