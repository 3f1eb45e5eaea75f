//! The writing part of a look: every step that can be taken now, in their order. What a step finds goes into the look.

use cmq_crds::broker::Broker;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Patch, PatchParams, PropagationPolicy};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::build::{self, Children};
use super::cluster::{self, Known};
use super::model::{self, Model};
use super::observe::Observed;
use super::refusal::Refusal;
use super::status::Look;
use super::volumes::{self, ClaimView, Growth, Ownership};
use super::{Error, certificates, says, set};
use crate::apply::{self, ApplyError};
use crate::condition::ConditionType;
use crate::context::Context;
use crate::labels::{ADOPT, BROKER_UID, FIELD_MANAGER, REPLACE_VOLUME};
use crate::names;
use crate::reason::Reason;

/// Takes every step that can be taken now.
pub(super) async fn advance(
    context: &Context,
    broker: &Broker,
    observed: &Observed,
    look: &mut Look<'_>,
) -> Result<(), Error> {
    let (told, followed) = observed.told();
    let order = broker.annotations().get(REPLACE_VOLUME).map(String::as_str);
    let told = cluster::tell(&Known { told, order, followed }, &observed.pods, &observed.infos);
    let restart = told.restart.clone();
    let model = match model::validate(broker, &context.settings, told) {
        Ok(model) => model,
        Err(refusal) => return refuse(look, refusal),
    };
    if let Some(refusal) = claims_are_ours(context, broker, &model, &observed.claims).await? {
        return refuse(look, refusal);
    }
    if let Some(refusal) = keys_are_there(context, &model).await? {
        return refuse(look, refusal);
    }
    look.certificates = certificates::ensure(context, broker, &model, &observed.loaded()).await?;
    children(context, broker, &model, look).await?;
    restart_pods(context, &model, &restart).await?;
    let growth = grow(context, broker, &model, observed).await?;
    let done = set::ensure(context, broker, &model, observed, &growth).await;
    look.growth = Some(growth);
    let done = done?;
    look.roll = Some(done.step);
    look.given_up = done.given_up;
    Ok(())
}

fn refuse(look: &mut Look<'_>, refusal: Refusal) -> Result<(), Error> {
    look.refusal = Some(refusal);
    Ok(())
}

/// Takes over claims of a former Broker where that was asked for; says what is in the way where it was not.
async fn claims_are_ours(
    context: &Context,
    broker: &Broker,
    model: &Model<'_>,
    claims: &[ClaimView],
) -> Result<Option<Refusal>, Error> {
    let adopt = broker.annotations().get(ADOPT).is_some_and(|value| value == "true");
    match volumes::ownership(claims, model.uid, model.spec.replicas, adopt) {
        Ownership::Ours => Ok(None),
        Ownership::Retained(refusal) => Ok(Some(refusal)),
        Ownership::Adopt(names) => {
            let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), model.namespace);
            let mut labels = crate::labels::of_pods(model.name);
            labels.insert(BROKER_UID.into(), model.uid.into());
            for name in &names {
                patch(&api, name, json!({ "metadata": { "labels": labels } })).await?;
            }
            let note = format!("goes on with the data of {}", names.join(", "));
            context.events.normal(broker, Reason::StorageReady, "Adopt", note).await;
            Ok(None)
        }
    }
}

async fn patch(api: &Api<PersistentVolumeClaim>, name: &str, body: serde_json::Value) -> kube::Result<()> {
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch(name, &parameters, &Patch::Merge(body)).await.map(drop)
}

/// Whether the access keys are there. Their content is the broker's to read, and it follows changes.
async fn keys_are_there(context: &Context, model: &Model<'_>) -> Result<Option<Refusal>, Error> {
    let Some(access) = &model.spec.access else { return Ok(None) };
    let reference = &access.keys_secret_ref;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), model.namespace);
    let secret = secrets.get_opt(&reference.name).await?;
    let has = secret.is_some_and(|secret| secret.data.is_some_and(|data| data.contains_key(&reference.key)));
    let message = format!("Secret {} with the key {} does not exist yet", reference.name, reference.key);
    Ok((!has).then(|| Refusal::waiting(Reason::SecretMissing, message)))
}

/// Applies every child but the StatefulSet, and removes those that are no longer wanted.
async fn children(
    context: &Context,
    broker: &Broker,
    model: &Model<'_>,
    look: &mut Look<'_>,
) -> Result<(), Error> {
    let client = &context.client;
    let Children {
        service_account,
        config_map,
        pods_service,
        client_service,
        disruption_budget,
        network_policy,
        pod_monitor,
        certificates,
    } = build::children(model);
    apply::child(client, broker, service_account).await?;
    apply::child(client, broker, config_map).await?;
    apply::child(client, broker, pods_service).await?;
    apply::child(client, broker, client_service).await?;
    apply::child(client, broker, disruption_budget).await?;
    match network_policy {
        Some(policy) => _ = apply::child(client, broker, policy).await?,
        None => {
            let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), model.namespace);
            apply::remove(&policies, broker, &names::child(model.name)).await?;
        }
    }
    let monitors = build::monitor::resource();
    let wanted: Vec<_> = pod_monitor.into_iter().collect();
    optional(context, broker, model, &monitors, &[names::child(model.name)], wanted, look).await?;
    let possible = [
        names::tls_secret(model.name),
        names::operator_tls_secret(model.name),
        names::client_tls_secret(model.name),
    ];
    optional(context, broker, model, &build::certificates::resource(), &possible, certificates, look).await
}

/// Children of a kind that the cluster may not have: those that are wanted, of all that there may be.
async fn optional(
    context: &Context,
    broker: &Broker,
    model: &Model<'_>,
    kind: &ApiResource,
    possible: &[String],
    wanted: Vec<DynamicObject>,
    look: &mut Look<'_>,
) -> Result<(), Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), model.namespace, kind);
    for name in possible.iter().filter(|name| !wanted.iter().any(|object| object.name_any() == **name)) {
        // A kind that is not there has no object either.
        apply::remove(&api, broker, name).await?;
    }
    for object in wanted {
        match apply::child_at(&api, &kind.kind, broker, object).await {
            Err(ApplyError::Api(error)) if apply::is_absent(&error) => {
                let message =
                    format!("the cluster does not have the kind {} of {}", kind.kind, kind.api_version);
                look.notes.push(Refusal::waiting(Reason::KindNotInstalled, message));
                return Ok(());
            }
            result => _ = result?,
        }
    }
    Ok(())
}

/// Ends pods that must read their settings again.
async fn restart_pods(context: &Context, model: &Model<'_>, pods: &[(String, String)]) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), model.namespace);
    for (name, uid) in pods {
        tracing::warn!(namespace = model.namespace, pod = name, "starts on the volume that it has, by order");
        apply::delete(&api, name, uid, PropagationPolicy::Background).await?;
    }
    Ok(())
}

/// The next step of a growth of volumes, taken as far as claims are concerned.
async fn grow(
    context: &Context,
    broker: &Broker,
    model: &Model<'_>,
    observed: &Observed,
) -> Result<Growth, Error> {
    let size = &model.spec.storage.size;
    let wanted = cmq_crds::broker::storage::byte_size(size).unwrap_or_default();
    let template = observed.set.as_ref().map(|set| set::claim_size(set).1);
    let classes = growing_classes(context, wanted, &observed.claims).await?;
    let grows = |claim: &ClaimView| {
        classes.iter().find(|(class, _)| Some(class) == claim.class.as_ref()).and_then(|(_, grows)| *grows)
    };
    let growth = volumes::growth(wanted, template, &observed.claims, grows);
    match &growth {
        Growth::Claims(claims) => {
            let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), model.namespace);
            for name in claims {
                let body = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
                match patch(&api, name, body).await {
                    Err(kube::Error::Api(status)) if is_policy(&status) => {
                        context.metrics.resize("refused");
                        let message = format!("{name}: {}", status.message);
                        return Ok(Growth::Refused(Refusal::new(Reason::ResizeRefused, message)));
                    }
                    result => result?,
                }
            }
            context.metrics.resize("begun");
            let note = format!("{} to {size}", claims.join(", "));
            context.events.normal(broker, Reason::Resizing, "Resize", note).await;
        }
        Growth::Refused(refusal) if !says(broker, ConditionType::StorageReady, refusal.reason) => {
            context.events.warning(broker, refusal.reason, "Resize", refusal.message.clone()).await;
        }
        Growth::Refused(_) | Growth::Settled | Growth::Recreate => {}
    }
    Ok(growth)
}

/// Whether a refusal is about the volume and not about the operator's rights.
fn is_policy(status: &kube::core::Status) -> bool {
    status.is_invalid()
        || (status.is_forbidden() && status.message.contains("persistentvolumeclaims are forbidden"))
        || (status.is_forbidden() && status.message.contains("storageclass"))
}

/// Whether the classes of claims that would grow can do so, as far as they may be read.
async fn growing_classes(
    context: &Context,
    wanted: u64,
    claims: &[ClaimView],
) -> Result<Vec<(String, Option<bool>)>, Error> {
    let mut classes: Vec<_> = claims
        .iter()
        .filter(|claim| claim.request < wanted)
        .filter_map(|claim| claim.class.clone())
        .collect();
    classes.sort();
    classes.dedup();
    let api: Api<StorageClass> = Api::all(context.client.clone());
    let mut known = Vec::new();
    for class in classes {
        let grows = match api.get_opt(&class).await {
            Ok(found) => found.map(|class| class.allow_volume_expansion.unwrap_or(false)),
            Err(kube::Error::Api(status)) if status.is_forbidden() => None,
            Err(error) => return Err(error.into()),
        };
        known.push((class, grows));
    }
    Ok(known)
}
