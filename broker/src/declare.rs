//! Manifests come true: at the start, and whenever the files change.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cmq_engine::catalogue::Owner;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::follow::{self, Follower};
use crate::manifests::{self, DeclaredQueue, Existing, ManifestError, Manifests, Texts};
use crate::metrics::ManifestMetrics;
use crate::service::Service;
use crate::service::declare::{Declared, Leaving, Problem, Realm, Takeover, WantedQueue};
use crate::service::types::ServiceError;

/// Whose queues these are.
const REALM: Realm = Realm::Manifests;
/// How long the start waits for a broker that is busy.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Pause before a busy broker is asked again.
const START_PAUSE: Duration = Duration::from_millis(20);
/// Pause before what could not be done is tried again; doubles each time.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Problems that are logged at once; the metric counts all.
const LOGGED_MAX: usize = 20;

/// The manifests of a broker and the queues that it made of them.
#[derive(Debug)]
pub struct Declarer {
    path: PathBuf,
    metrics: ManifestMetrics,
    /// What was read last and taken.
    fingerprint: u128,
    wanted: Vec<WantedQueue>,
    /// What was logged of each problem.
    reported: HashMap<Box<str>, ServiceError>,
    /// When to try again, and how long to wait after that.
    retry: Option<(Instant, Duration)>,
}

/// Manifests that were read before there are queues to compare them with.
#[derive(Debug)]
pub struct Loaded {
    path: PathBuf,
    texts: Texts,
    manifests: Manifests,
}

impl Loaded {
    /// Reads the manifests of a path.
    ///
    /// # Errors
    /// They cannot be read, or are wrong.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let texts = manifests::read(path)?;
        let manifests = manifests::parse(&texts)?;
        Ok(Self { path: path.to_owned(), texts, manifests })
    }

    /// Declares the queues for the first time. What cannot be done for the moment is left to [`Declarer::follow`].
    ///
    /// # Errors
    /// The manifests would change what cannot be changed.
    pub async fn start(self, service: &Service, metrics: ManifestMetrics) -> Result<Declarer, ManifestError> {
        let Self { path, texts, manifests } = self;
        let mut declarer = Declarer {
            path,
            metrics,
            fingerprint: texts.fingerprint(),
            wanted: Vec::new(),
            reported: HashMap::new(),
            retry: None,
        };
        declarer.take(service, &texts, manifests)?;
        let started = Instant::now();
        while declarer.retry.is_some() {
            let declared = declarer.declare(service).await;
            let is_busy = |problem: &Problem| matches!(problem.error, ServiceError::Busy(_));
            if !declared.problems.iter().any(is_busy) || started.elapsed() > START_WITHIN {
                break;
            }
            tokio::time::sleep(START_PAUSE).await;
        }
        Ok(declarer)
    }
}

impl Declarer {
    /// How many queues the manifests declare.
    pub fn queues(&self) -> usize {
        self.wanted.len()
    }

    /// Follows the files until `stop` turns true, tries again what could not be done, and deletes closed queues when they
    /// are empty.
    pub async fn follow(mut self, service: Service, stop: watch::Receiver<bool>) {
        let (files, texts) = (self.path.clone(), self.path.clone());
        let mut follower = Follower::new(
            self.fingerprint,
            move || manifests::files(&files).map_err(|error| std::io::Error::other(error.to_string())),
            move || manifests::read(&texts),
            Texts::fingerprint,
        );
        while follow::pause(&stop).await {
            let (back, change) = follow::look(follower).await;
            follower = back;
            if let Some(change) = change {
                let parsed = change.and_then(|texts| {
                    let manifests = manifests::parse(&texts)?;
                    Ok((texts, manifests))
                });
                let taken = parsed.and_then(|(texts, manifests)| self.take(&service, &texts, manifests));
                if let Err(error) = taken {
                    self.metrics.files.refused();
                    tracing::error!(
                        "the manifests changed and were not taken; the queues stay as they are: {error}"
                    );
                }
            }
            if self.retry.is_some_and(|(due, _)| due <= Instant::now()) {
                self.declare(&service).await;
            }
            match service.delete_closed(REALM).await {
                Ok(closing) => {
                    self.metrics.closing.set(closing.waiting as i64);
                    // A dead-letter queue may have waited for one of these.
                    if closing.deleted > 0 && self.retry.is_some() {
                        self.retry = Some((Instant::now(), RETRY_PAUSE));
                    }
                }
                Err(ServiceError::Stopping) => return,
                Err(error) => tracing::debug!(%error, "closed queues were not looked at"),
            }
        }
    }

    /// Takes manifests for what is wanted from now on.
    fn take(&mut self, service: &Service, texts: &Texts, manifests: Manifests) -> Result<(), ManifestError> {
        let present = service.queues();
        if texts.files() == 0 && present.iter().any(|entry| entry.owner.as_ref().is_some_and(is_ours)) {
            return Err(ManifestError::NoFiles { path: self.path.clone() });
        }
        let existing = |name: &str, kind| Existing { name: name.into(), kind };
        let by_owner: HashMap<&str, Existing> = present
            .iter()
            // A closed queue belongs to an object that is gone.
            .filter(|entry| !entry.attributes.closed)
            .filter_map(|entry| {
                Some((&*entry.owner.as_ref()?.name, existing(&entry.name, entry.attributes.kind)))
            })
            .collect();
        let by_name: HashMap<&str, Existing> = present
            .iter()
            .map(|entry| (&*entry.name, existing(&entry.name, entry.attributes.kind)))
            .collect();
        manifests.check_changes(|namespace, object, name| {
            let owner = REALM.owner(namespace, object);
            by_owner.get(&*owner).or_else(|| by_name.get(name)).cloned()
        })?;
        let brokers = manifests.brokers();
        if brokers > 0 {
            tracing::info!(brokers, "manifests hold Brokers; a broker that runs alone ignores them");
        }
        let queues = manifests.into_queues();
        for warning in queues.iter().flat_map(|queue| &queue.cluster_warnings) {
            tracing::warn!("{warning}");
        }
        if queues.iter().any(|queue| queue.ignored_placement) {
            tracing::info!("manifests say where queues run; a broker that runs alone ignores that");
        }
        self.wanted = wanted(queues);
        self.retry = Some((Instant::now(), RETRY_PAUSE));
        self.reported.clear();
        self.metrics.files.took(self.wanted.len());
        tracing::info!(path = %self.path.display(), queues = self.wanted.len(), "manifests taken");
        Ok(())
    }

    /// Makes the queues what is wanted, or plans the next try.
    async fn declare(&mut self, service: &Service) -> Declared {
        let declared = service.declare(REALM, &self.wanted, Leaving::Others).await;
        self.metrics.pending.set(declared.problems.len() as i64);
        self.report(&declared.problems);
        self.retry = match self.retry {
            _ if declared.problems.is_empty() => None,
            Some((_, pause)) => Some((Instant::now() + pause, (2 * pause).min(RETRY_PAUSE_MAX))),
            None => Some((Instant::now() + RETRY_PAUSE, 2 * RETRY_PAUSE)),
        };
        declared
    }

    /// Logs each problem once, not at every try.
    fn report(&mut self, problems: &[Problem]) {
        let mut unsaid = 0;
        let mut said = 0;
        for Problem { queue, owner, error } in problems {
            if self.reported.get(queue) == Some(error) {
                continue;
            }
            self.reported.insert(queue.clone(), error.clone());
            if said < LOGGED_MAX {
                said += 1;
                tracing::warn!(queue = &**queue, owner = &**owner, %error, "not as declared; tried again later");
            } else {
                unsaid += 1;
            }
        }
        if unsaid > 0 {
            tracing::warn!(queues = unsaid, "more queues are not as declared");
        }
        let present: HashSet<&str> = problems.iter().map(|problem| &*problem.queue).collect();
        self.reported.retain(|queue, _| present.contains(&**queue));
    }
}

fn is_ours(owner: &Owner) -> bool {
    REALM.owns(&owner.name)
}

fn wanted(queues: Vec<DeclaredQueue>) -> Vec<WantedQueue> {
    let owner = |queue: &DeclaredQueue| REALM.owner(&queue.namespace, &queue.object);
    let owners: HashMap<String, Box<str>> =
        queues.iter().map(|queue| (queue.name.clone(), owner(queue))).collect();
    let owner_of =
        |target: String| owners.get(&target).expect("manifests declare their dead-letter queues").clone();
    let wanted = |queue: DeclaredQueue| WantedQueue {
        owner: Owner { name: owner(&queue), deletion: manifests::deletion(queue.deletion_policy) },
        name: queue.name.into(),
        attributes: queue.attributes,
        dead_letter: queue.dead_letter.map(|(target, rule)| (owner_of(target), rule)),
        takeover: Takeover::Realm,
    };
    queues.into_iter().map(wanted).collect()
}

#[cfg(test)]
#[path = "declare_tests.rs"]
mod tests;
