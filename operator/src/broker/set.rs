//! The StatefulSet: made, changed pod by pod, taken back, or made anew around its pods.

use std::collections::BTreeMap;

use cmq_crds::broker::Broker;
use cmq_crds::broker::storage::byte_size;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::Api;
use kube::api::PropagationPolicy;

use super::build::{pod, stateful_set};
use super::model::Model;
use super::observe::Observed;
use super::roll::{self, Memory, SetView, Step};
use super::volumes::Growth;
use super::{Error, build::stateful_set::Form};
use crate::apply::{self, owned, owner_reference};
use crate::context::Context;
use crate::names;
use crate::pki::certificate::sha256;
use crate::reason::Reason;

/// What `kubectl rollout restart` writes into a template. It is kept: losing it would restart the pods once more.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Bytes of what a pod said that are remembered.
const WORDS_MAX: usize = 400;

/// What was done.
pub(super) struct Done {
    /// The step of the roll.
    pub(super) step: Step,
    /// Why the wanted template was given up.
    pub(super) given_up: Option<String>,
}

impl Done {
    fn waiting() -> Self {
        Self { step: Step::Wait, given_up: None }
    }
}

/// Takes the next step.
pub(super) async fn ensure(
    context: &Context,
    broker: &Broker,
    model: &Model<'_>,
    observed: &Observed,
    growth: &Growth,
) -> Result<Done, Error> {
    let mut template = pod::template(model).map_err(|message| {
        // Checked before: only a change of the operator itself could bring it here.
        kube::Error::Service(message.into())
    })?;
    let wanted = hash(&template);
    let Some(set) = &observed.set else {
        return create(context, broker, model, observed, template, wanted).await;
    };
    let reference = owner_reference(broker);
    let uid = owned(&set.metadata, "StatefulSet", &reference)?;
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(Done::waiting());
    }
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), model.namespace);
    if *growth == Growth::Recreate {
        tracing::info!(
            namespace = model.namespace,
            broker = model.name,
            "the StatefulSet is made anew around its pods"
        );
        apply::delete(&sets, &names::child(model.name), &uid, PropagationPolicy::Orphan).await?;
        context.metrics.resize("done");
        return Ok(Done::waiting());
    }
    keep_restarted_at(&mut template, set);
    let view = SetView::of(set);
    let mut step = roll::step(&view, &observed.pods, model.replicas(), &wanted, context.clock.now());
    if matches!(growth, Growth::Claims(_)) && step == Step::Begin {
        // The size first: two changes of the StatefulSet at once could not be told apart when one goes wrong.
        step = Step::Wait;
    }
    let mut form = Form {
        template: if view.memory.template.as_deref() == Some(&wanted) { template.clone() } else { live(set) },
        partition: view.partition,
        claim_size: claim_size(set).0,
        claim_class: claim_class(set),
        annotations: BTreeMap::new(),
    };
    let mut memory = view.memory.clone();
    match &step {
        Step::Begin => {
            memory = Memory { template: Some(wanted), refused: None };
            form.template = template;
            form.partition = model.replicas();
            let note = "pods change to a new revision".to_owned();
            context.events.normal(broker, Reason::RollingOut, "Roll", note).await;
        }
        Step::Lower(partition) => {
            form.partition = *partition;
            context.metrics.rollout("step");
        }
        Step::GoBack(trouble) => match revision(context, model, &view.current).await? {
            Some(good) => {
                let why = &trouble.message[..trouble.message.floor_char_boundary(WORDS_MAX)];
                memory = Memory { template: None, refused: Some((wanted, why.to_owned())) };
                form.template = good;
                form.partition = 0;
                context.metrics.rollout("stuck");
                context.events.warning(broker, Reason::RolloutStuck, "Roll", trouble.message.clone()).await;
            }
            None => tracing::warn!(broker = model.name, revision = view.current, "no revision to go back to"),
        },
        Step::Replace { pod, uid } => {
            let pods: Api<Pod> = Api::namespaced(context.client.clone(), model.namespace);
            apply::delete(&pods, pod, uid, PropagationPolicy::Background).await?;
        }
        Step::Settled if memory.refused.is_none() && was_rolling(broker) => {
            context.metrics.rollout("done");
        }
        Step::Settled | Step::Wait => {}
    }
    form.annotations = memory.annotations();
    apply::child(&context.client, broker, stateful_set::stateful_set(model, form)).await?;
    Ok(Done { step, given_up: memory.refused.map(|(_, why)| why) })
}

/// Whether the last look saw a change of the pods under way.
fn was_rolling(broker: &Broker) -> bool {
    broker.status.as_ref().is_some_and(|status| status.rollout.is_some())
}

/// A StatefulSet where there is none: the first one, or one around pods that are there.
async fn create(
    context: &Context,
    broker: &Broker,
    model: &Model<'_>,
    observed: &Observed,
    template: PodTemplateSpec,
    wanted: String,
) -> Result<Done, Error> {
    let around = match observed.pods.first() {
        Some(pod) => revision(context, model, &pod.revision).await?,
        None => None,
    };
    // Pods that are there keep their revision; whatever else is wanted rolls afterwards.
    let (template, memory) = match around {
        Some(found) => (found, Memory::default()),
        None => (template, Memory { template: Some(wanted), refused: None }),
    };
    let form = Form {
        template,
        partition: if observed.pods.is_empty() { 0 } else { model.replicas() },
        claim_size: model.spec.storage.size.clone(),
        claim_class: model.spec.storage.storage_class_name.clone(),
        annotations: memory.annotations(),
    };
    apply::child(&context.client, broker, stateful_set::stateful_set(model, form)).await?;
    if observed.pods.is_empty() {
        context.events.normal(broker, Reason::Starting, "Create", Reason::Starting.meaning().into()).await;
    }
    Ok(Done::waiting())
}

/// The template of a revision, where it is still there.
async fn revision(context: &Context, model: &Model<'_>, name: &str) -> kube::Result<Option<PodTemplateSpec>> {
    if name.is_empty() {
        return Ok(None);
    }
    let revisions: Api<ControllerRevision> = Api::namespaced(context.client.clone(), model.namespace);
    let Some(revision) = revisions.get_opt(name).await? else { return Ok(None) };
    let template = revision
        .data
        .map(|data| data.0)
        .and_then(|mut data| Some(data.get_mut("spec")?.get_mut("template")?.take()));
    Ok(template.and_then(|template| serde_json::from_value(template).ok()))
}

/// Hash of a template, 16 hexadecimal digits.
fn hash(template: &PodTemplateSpec) -> String {
    sha256(serde_json::to_string(template).unwrap_or_default().as_bytes())[..16].to_owned()
}

fn live(set: &StatefulSet) -> PodTemplateSpec {
    set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default()
}

fn keep_restarted_at(template: &mut PodTemplateSpec, set: &StatefulSet) {
    let live = live(set);
    let kept = live.metadata.and_then(|meta| meta.annotations?.get(RESTARTED_AT).cloned());
    if let Some(kept) = kept {
        let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
        annotations.insert(RESTARTED_AT.into(), kept);
    }
}

/// The size that a StatefulSet's claim template asks for, as text and in bytes.
pub(super) fn claim_size(set: &StatefulSet) -> (String, u64) {
    let claim =
        set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_ref()?.first()?.spec.clone());
    let size = claim.and_then(|claim| claim.resources?.requests?.remove("storage"));
    let text = size.map(|size| size.0).unwrap_or_default();
    let bytes = byte_size(&text).unwrap_or_default();
    (text, bytes)
}

fn claim_class(set: &StatefulSet) -> Option<String> {
    set.spec.as_ref()?.volume_claim_templates.as_ref()?.first()?.spec.as_ref()?.storage_class_name.clone()
}
