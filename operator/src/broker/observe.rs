//! What exists of a Broker: read from the API server, and asked of its pods.

use cmq_crds::broker::Broker;
use futures_util::{StreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::build::config::CLUSTER_ID;
use super::pods::{self, PodView};
use super::volumes::{self, ClaimView};
use crate::admin::{BrokerInfo, LoadedCertificate, PodAddress};
use crate::context::Context;
use crate::labels::REPLACE_VOLUME;
use crate::pki::{IdentityError, Source};
use crate::wakes::Key;
use crate::{labels, names};

/// Pods of one Broker that are asked at once.
const ASKED_AT_ONCE: usize = 8;

/// What exists of a Broker.
pub(super) struct Observed {
    /// Its StatefulSet.
    pub(super) set: Option<StatefulSet>,
    /// Its pods, in the order of ordinals.
    pub(super) pods: Vec<PodView>,
    /// Its claims, in the order of ordinals.
    pub(super) claims: Vec<ClaimView>,
    /// Its ConfigMap.
    pub(super) config_map: Option<ConfigMap>,
    /// What each pod that serves says of itself.
    pub(super) infos: Vec<(i32, Result<BrokerInfo, String>)>,
}

impl Observed {
    /// What pods are told about their cluster, by the ConfigMap: its id, and the last order that was followed.
    pub(super) fn told(&self) -> (Option<&str>, Option<&str>) {
        let id = self.config_map.as_ref().and_then(|map| map.data.as_ref()?.get(CLUSTER_ID));
        let followed = self.config_map.as_ref().and_then(|map| map.annotations().get(REPLACE_VOLUME));
        (id.map(String::as_str), followed.map(String::as_str))
    }

    /// What each pod that is there has loaded; nothing for one that does not say.
    pub(super) fn loaded(&self) -> Vec<Option<LoadedCertificate>> {
        let says = |pod: &PodView| {
            let (_, info) = self.infos.iter().find(|(ordinal, _)| *ordinal == pod.ordinal)?;
            info.as_ref().ok()?.tls.admin.clone()
        };
        self.pods.iter().filter(|pod| !pod.ending).map(says).collect()
    }
}

/// Reads all of it.
///
/// # Errors
/// When the API server fails. A pod that does not answer is a part of what is observed.
pub(super) async fn observe(context: &Context, broker: &Broker) -> kube::Result<Observed> {
    let (namespace, name) = (broker.namespace().unwrap_or_default(), broker.name_any());
    let client = &context.client;
    let child = names::child(&name);
    let ours = ListParams::default().labels(&labels::selector_text(&name));
    let set = Api::<StatefulSet>::namespaced(client.clone(), &namespace).get_opt(&child).await?;
    let config_map = Api::<ConfigMap>::namespaced(client.clone(), &namespace).get_opt(&child).await?;
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace).list(&ours).await?;
    let mut pods: Vec<_> = pods.iter().filter_map(|pod| pods::view(&name, pod)).collect();
    pods.sort_by_key(|pod| pod.ordinal);
    let claims = claims(context, broker).await?;
    let infos = ask(context, broker, &pods).await?;
    Ok(Observed { set, pods, claims, config_map, infos })
}

/// The claims with our labels, and those that bear the names of ours without them.
pub(super) async fn claims(context: &Context, broker: &Broker) -> kube::Result<Vec<ClaimView>> {
    let name = broker.name_any();
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(context.client.clone(), &broker.namespace().unwrap_or_default());
    let listed = api.list(&ListParams::default().labels(&labels::selector_text(&name))).await?;
    let mut claims: Vec<_> = listed.iter().filter_map(|claim| volumes::view(&name, claim)).collect();
    for ordinal in 0..broker.spec.replicas {
        if !claims.iter().any(|claim| claim.ordinal == ordinal)
            && let Some(claim) = api.get_opt(&names::claim(&name, ordinal)).await?
        {
            claims.extend(volumes::view(&name, &claim));
        }
    }
    claims.sort_by_key(|claim| claim.ordinal);
    Ok(claims)
}

/// What the pods that serve say of themselves.
async fn ask(
    context: &Context,
    broker: &Broker,
    pods: &[PodView],
) -> kube::Result<Vec<(i32, Result<BrokerInfo, String>)>> {
    let ready: Vec<_> = pods.iter().filter(|pod| pod.ready).map(|pod| pod.ordinal).collect();
    if ready.is_empty() {
        return Ok(Vec::new());
    }
    let key = Key::new(broker.namespace().unwrap_or_default(), broker.name_any());
    let identity = match context.identities.get(&key, Source::of(&broker.spec)).await {
        Ok(identity) => identity,
        Err(IdentityError::Api(error)) => return Err(error),
        Err(error) => {
            return Ok(ready.into_iter().map(|ordinal| (ordinal, Err(error.to_string()))).collect());
        }
    };
    let key = &key;
    let call = |ordinal: i32| {
        let pod = PodAddress {
            namespace: key.namespace.to_string(),
            broker: key.name.to_string(),
            ordinal,
            identity: identity.clone(),
        };
        async move {
            let info = context.connector.info(&pod).await.map_err(|error| {
                context.call_failed(key, &error);
                error.to_string()
            });
            (ordinal, info)
        }
    };
    Ok(stream::iter(ready).map(call).buffered(ASKED_AT_ONCE).collect().await)
}
