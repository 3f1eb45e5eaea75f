//! The broker processes in the pods, by the contract of the admin API: what they hold is tied to their volumes.

use std::collections::{BTreeMap, BTreeSet};

use cmq_crds::queue::{DeletionPolicy, QueueSpec};
use cmq_operator::admin::{
    BrokerInfo, BrokerTls, CallError, DeclareAnswer, DeclareRequest, PodAddress, QueueCounts, QueueEntry,
    QueuePage,
};
use serde_json::Value;

mod declare;
pub(crate) mod tls;

use tls::Loaded;

/// All processes and all volumes of a cluster.
#[derive(Clone, Default)]
pub(crate) struct Brokers {
    /// By the uid of the claim.
    volumes: BTreeMap<String, Volume>,
    /// By the uid of the pod.
    processes: BTreeMap<String, Process>,
    drawn: u64,
    /// Changes of what volumes hold.
    pub(crate) revision: u64,
    /// Messages that are gone, and with what they went.
    pub(crate) lost: Vec<String>,
    /// Calls that failed for a certificate.
    pub(crate) untrusted: Vec<String>,
    /// Pods, `namespace/name`, that no call reaches.
    pub(crate) unreachable: BTreeSet<String>,
}

/// What is on one volume.
#[derive(Clone, Default, PartialEq)]
struct Volume {
    cluster_id: String,
    queues: BTreeMap<String, Queue>,
}

/// A queue, by its name on the wire in the volume.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Queue {
    /// Namespace and name of the object that declares it.
    pub(crate) declared_by: Option<(String, String)>,
    pub(crate) spec: QueueSpec,
    pub(crate) messages: u64,
    /// Whether it takes no sends any more, and goes when it may.
    pub(crate) closed: bool,
    /// Name on the wire of its dead-letter queue.
    pub(crate) dead_letter: Option<String>,
}

#[derive(Clone)]
struct Process {
    namespace: String,
    pod: String,
    volume: String,
    tls: Option<Loaded>,
    client_tls: Option<Loaded>,
}

/// What a process is started with.
pub(crate) struct Launch {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) volume: String,
    pub(crate) cluster_id: Option<String>,
    pub(crate) tls: Option<Value>,
    pub(crate) client_tls: Option<Value>,
}

impl Brokers {
    pub(crate) fn runs(&self, pod: &str) -> bool {
        self.processes.contains_key(pod)
    }

    /// Starts a process; what it says when it refuses to start.
    pub(crate) fn start(&mut self, launch: Launch) -> Result<(), String> {
        let fresh = !self.volumes.contains_key(&launch.volume);
        let found = self.volumes.get(&launch.volume).map_or("", |volume| &volume.cluster_id);
        if let Some(wanted) = launch.cluster_id.filter(|wanted| !wanted.is_empty() && wanted != found) {
            return Err(match fresh {
                true => format!("the volume is empty, and --cluster-id asks for cluster {wanted}"),
                false => format!("the volume is of cluster {found}, and --cluster-id asks for {wanted}"),
            });
        }
        let tls = launch.tls.as_ref().map(Loaded::read).transpose()?;
        let client_tls = launch.client_tls.as_ref().map(Loaded::read).transpose()?;
        if fresh {
            self.drawn += 1;
            let cluster_id = format!("{:032x}", self.drawn);
            self.volumes.insert(launch.volume.clone(), Volume { cluster_id, queues: BTreeMap::new() });
        }
        let Launch { uid, namespace, pod, volume, .. } = launch;
        self.processes.insert(uid, Process { namespace, pod, volume, tls, client_tls });
        Ok(())
    }

    pub(crate) fn stop(&mut self, pod: &str) {
        self.processes.remove(pod);
    }

    /// Stops what runs in pods that are no more.
    pub(crate) fn keep_processes(&mut self, pods: &BTreeSet<String>) {
        self.processes.retain(|pod, _| pods.contains(pod));
    }

    /// Loses what is on volumes whose claims are no more.
    pub(crate) fn keep_volumes(&mut self, claims: &BTreeSet<String>) {
        let (volumes, lost) = (&mut self.volumes, &mut self.lost);
        volumes.retain(|claim, volume| {
            let kept = claims.contains(claim);
            let held: u64 = volume.queues.values().map(|queue| queue.messages).sum();
            if !kept && held > 0 {
                lost.push(format!("a volume with {held} messages"));
            }
            kept
        });
    }

    /// Whether a process has loaded something else than its Secrets hold now.
    pub(crate) fn differs(&self, pod: &str, tls: &Option<Value>, client: &Option<Value>) -> bool {
        let Some(process) = self.processes.get(pod) else { return false };
        let loaded = |loaded: &Option<Loaded>| loaded.as_ref().map(|loaded| loaded.source.clone());
        loaded(&process.tls) != *tls || loaded(&process.client_tls) != *client
    }

    /// Loads Secrets anew; what cannot be read leaves what is loaded.
    pub(crate) fn load(&mut self, pod: &str, tls: Option<Value>, client: Option<Value>) {
        let Some(process) = self.processes.get_mut(pod) else { return };
        for (loaded, source) in [(&mut process.tls, tls), (&mut process.client_tls, client)] {
            if let Some(Ok(read)) = source.as_ref().map(Loaded::read) {
                *loaded = Some(read);
            }
        }
    }

    /// Puts messages into a queue of every volume that has it, as a client would.
    pub(crate) fn put_messages(&mut self, wire_name: &str, messages: u64) {
        let queues = self.volumes.values_mut().filter_map(|volume| volume.queues.get_mut(wire_name));
        queues.for_each(|queue| queue.messages = messages);
        self.revision += 1;
        self.close_up();
    }

    /// Makes a queue by an API call on every volume.
    pub(crate) fn make_queue(&mut self, wire_name: &str, messages: u64) {
        for volume in self.volumes.values_mut() {
            let queue = Queue {
                declared_by: None,
                spec: QueueSpec::default(),
                messages,
                closed: false,
                dead_letter: None,
            };
            volume.queues.insert(wire_name.into(), queue);
        }
        self.revision += 1;
    }

    /// What each volume holds, in the order of the claims.
    pub(crate) fn contents(&self) -> Vec<(&str, &BTreeMap<String, Queue>)> {
        self.volumes.iter().map(|(claim, volume)| (claim.as_str(), &volume.queues)).collect()
    }

    /// What a running process has loaded, by its pod.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = (String, &Option<Loaded>, &Option<Loaded>)> {
        self.processes.values().map(|p| (format!("{}/{}", p.namespace, p.pod), &p.tls, &p.client_tls))
    }

    /// The process that a call reaches, after both sides have looked at each other's certificates.
    fn process(&mut self, address: &PodAddress) -> Result<Process, CallError> {
        let pod = format!("{}-cmq-{}", address.broker, address.ordinal);
        let place = format!("{}/{pod}", address.namespace);
        let unreachable = |problem: String| CallError::Unreachable { pod: pod.clone(), problem };
        let found = self.processes.values().find(|p| (&p.namespace, &p.pod) == (&address.namespace, &pod));
        let process = found.filter(|_| !self.unreachable.contains(&place)).cloned();
        let process = process.ok_or_else(|| unreachable("connection refused".into()))?;
        let trust = process.tls.as_ref().ok_or_else(|| "the pod has no certificate".to_owned());
        if let Err(problem) = trust.and_then(|loaded| loaded.meets(&address.identity)) {
            self.untrusted.push(format!("{place}: {problem}"));
            return Err(unreachable(problem));
        }
        Ok(process)
    }

    pub(crate) fn info(&mut self, address: &PodAddress) -> Result<BrokerInfo, CallError> {
        let process = self.process(address)?;
        let volume = &self.volumes[&process.volume];
        let certificate = |loaded: &Option<Loaded>| loaded.as_ref().map(Loaded::certificate);
        Ok(BrokerInfo {
            version: "0.1.0".into(),
            cluster_id: volume.cluster_id.clone(),
            shards: 1,
            ready: true,
            takes_sends: true,
            queues: volume.queues.len() as u64,
            free_bytes: 5 << 30,
            volume_bytes: 10 << 30,
            tls: BrokerTls { admin: certificate(&process.tls), client: certificate(&process.client_tls) },
        })
    }

    pub(crate) fn declare(
        &mut self,
        address: &PodAddress,
        request: &DeclareRequest,
    ) -> Result<DeclareAnswer, CallError> {
        let process = self.process(address)?;
        let before = self.volumes.clone();
        // What one pod is told, all of its Broker know: the operator may ask any.
        let set = format!("{}-cmq-", address.broker);
        let others: Vec<String> = self
            .processes
            .values()
            .filter(|p| {
                p.namespace == process.namespace && p.pod.starts_with(&set) && p.volume != process.volume
            })
            .map(|p| p.volume.clone())
            .collect();
        for volume in others {
            let queues = &mut self.volumes.entry(volume).or_default().queues;
            declare::declare(queues, request, &mut Vec::new());
        }
        let queues = &mut self.volumes.entry(process.volume).or_default().queues;
        let answer = declare::declare(queues, request, &mut self.lost);
        self.revision += u64::from(self.volumes != before);
        Ok(answer)
    }

    pub(crate) fn queues(
        &mut self,
        address: &PodAddress,
        cursor: Option<&str>,
    ) -> Result<QueuePage, CallError> {
        let process = self.process(address)?;
        let queues = &self.volumes[&process.volume].queues;
        let entry = |(name, queue): (&String, &Queue)| QueueEntry {
            name: name.clone(),
            declared_by: queue.declared_by.as_ref().map(|(namespace, name)| format!("{namespace}/{name}")),
            counts: QueueCounts { ready: queue.messages, ..QueueCounts::default() },
        };
        let mut rest =
            queues.iter().filter(|(name, _)| cursor.is_none_or(|cursor| name.as_str() > cursor)).map(entry);
        let page: Vec<QueueEntry> = rest.by_ref().take(cmq_operator::admin::QUEUES_PAGE).collect();
        let cursor = rest.next().and(page.last()).map(|entry| entry.name.clone());
        Ok(QueuePage { queues: page, cursor })
    }

    /// Ends the queues that waited for their last message.
    fn close_up(&mut self) {
        for volume in self.volumes.values_mut() {
            volume.queues.retain(|_, queue| !queue.closed || queue.messages > 0);
        }
    }
}

/// What becomes of the messages of a queue when its object is gone.
fn policy(queue: &Queue, wanted: Option<DeletionPolicy>) -> DeletionPolicy {
    wanted.unwrap_or(queue.spec.deletion_policy)
}
