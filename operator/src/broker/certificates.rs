//! The Secrets with the certificates of a Broker: made, renewed, rotated; or waited for, where others make them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::build::certificates::{client_names, pod_names};
use super::model::Model;
use super::refusal::Refusal;
use crate::admin::LoadedCertificate;
use crate::apply::ApplyError;
use crate::context::Context;
use crate::labels::ROTATE_CERTIFICATES;
use crate::names;
use crate::pki::certificate::{self, LEAF_LIFE, Pair};
use crate::pki::identity::text;
use crate::pki::rotation::{self, Authorities, Step};
use crate::pki::store::{self, Wanted};
use crate::reason::Reason;
use cmq_crds::broker::Broker;

/// How the certificates stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// When the first of those that pods show ends.
    pub(super) expire: Option<Timestamp>,
    /// What is waited for.
    pub(super) pending: Option<Refusal>,
    /// Whether a rotation is under way.
    pub(super) rotating: bool,
}

/// Why the certificates are not as they should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A Secret could not be read or written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The operator could not make one.
    #[error(transparent)]
    Certificate(#[from] certificate::CertificateError),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Apply(error.into())
    }
}

/// Takes the next step for every certificate of a Broker. `pods` is what each pod that runs has loaded.
///
/// # Errors
/// As the API server says, or when a Secret's name belongs to somebody else.
pub(super) async fn ensure(
    context: &Context,
    broker: &Broker,
    model: &Model<'_>,
    pods: &[Option<LoadedCertificate>],
) -> Result<Standing, Error> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), model.namespace);
    let tls = &model.spec.tls;
    let own_client =
        tls.client.as_ref().filter(|client| client.secret_ref.is_none() && client.issuer_ref.is_none());
    let mut standing = Standing::default();

    let authorities = match tls.internal_issuer_ref {
        None => Some(rotate(context, &secrets, broker, model, pods, &mut standing).await?),
        // Clients' own certificates need an authority too, where cert-manager makes only those of the pods.
        Some(_) if own_client.is_some() => {
            Some(rotate(context, &secrets, broker, model, &[], &mut standing).await?)
        }
        Some(_) => None,
    };
    if let (Some(authorities), None) = (&authorities, &tls.internal_issuer_ref) {
        let (name, dns) = (names::tls_secret(model.name), pod_names(model.name, model.namespace));
        leaf(context, &secrets, broker, model, authorities, name, &dns, &mut standing).await?;
    } else {
        issued(&secrets, &names::tls_secret(model.name), &["tls.crt", "tls.key", "ca.crt"], &mut standing)
            .await?;
        issued(
            &secrets,
            &names::operator_tls_secret(model.name),
            &["tls.crt", "tls.key", "ca.crt"],
            &mut standing,
        )
        .await?;
    }
    let client_secret = names::client_tls_secret(model.name);
    match (&tls.client, &authorities) {
        (Some(_), Some(authorities)) if own_client.is_some() => {
            let dns = client_names(model.name, model.namespace);
            leaf(context, &secrets, broker, model, authorities, client_secret, &dns, &mut standing).await?;
        }
        (Some(client), _) => {
            let given = client.secret_ref.as_ref().map(|secret| secret.name.clone());
            issued(&secrets, &given.unwrap_or(client_secret), &["tls.crt", "tls.key"], &mut standing).await?;
        }
        (None, _) => crate::apply::remove(&secrets, broker, &client_secret).await?,
    }
    Ok(standing)
}

/// The authorities after the next step of their rotation.
async fn rotate(
    context: &Context,
    secrets: &Api<Secret>,
    broker: &Broker,
    model: &Model<'_>,
    pods: &[Option<LoadedCertificate>],
    standing: &mut Standing,
) -> Result<Authorities, Error> {
    let now = context.clock.now();
    let order = broker.annotations().get(ROTATE_CERTIFICATES).map(String::as_str);
    let name = names::authority_secret(model.name);
    let title = format!("CMQ authority of {}/{}", model.namespace, model.name);
    // A common name has at most 64 characters.
    let title = &title[..title.floor_char_boundary(64)];
    let existing = store::get(secrets, broker, &name).await?;
    let known = match existing.as_ref().map(Authorities::read) {
        Some(Ok(authorities)) => Some(authorities),
        Some(Err(problem)) => {
            tracing::warn!(
                namespace = model.namespace,
                broker = model.name,
                problem,
                "the authority is made anew"
            );
            None
        }
        None => None,
    };
    let authorities = match known {
        None => Authorities::new(certificate::authority(title, now)?, order.map(str::to_owned)),
        Some(authorities) => {
            let leaf = store::get(secrets, broker, &names::tls_secret(model.name)).await?;
            let leaf = leaf.and_then(|secret| text(&secret, "tls.crt").ok());
            let step = rotation::step(&authorities, order, leaf.as_deref(), pods, now)?;
            let fresh = if step == Step::Announce { Some(certificate::authority(title, now)?) } else { None };
            if !matches!(step, Step::Keep { .. }) {
                tracing::info!(
                    namespace = model.namespace,
                    broker = model.name,
                    ?step,
                    "rotating the authority"
                );
            }
            let current = authorities.current.clone();
            authorities.after(step, || fresh.unwrap_or(current), order)
        }
    };
    standing.rotating = authorities.next.is_some() || authorities.previous.is_some();
    let wanted = Wanted {
        name,
        kind: "Opaque",
        data: authorities.data(),
        annotations: [(ROTATE_CERTIFICATES.to_owned(), authorities.order.clone())].into(),
    };
    store::write(secrets, broker, model.name, existing.as_ref(), wanted).await?;
    Ok(authorities)
}

/// A leaf of the Broker's authority, renewed where it is due.
#[expect(clippy::too_many_arguments, reason = "what is written, where, for whom, by whom")]
async fn leaf(
    context: &Context,
    secrets: &Api<Secret>,
    broker: &Broker,
    model: &Model<'_>,
    authorities: &Authorities,
    name: String,
    dns_names: &[String],
    standing: &mut Standing,
) -> Result<(), Error> {
    let now = context.clock.now();
    let existing = store::get(secrets, broker, &name).await?;
    let pair = existing.as_ref().and_then(|secret| {
        Some(Pair { certificate: text(secret, "tls.crt").ok()?, key: text(secret, "tls.key").ok()? })
    });
    let pair = match pair.filter(|pair| !rotation::leaf_is_due(pair, authorities, dns_names, now)) {
        Some(pair) => pair,
        None => {
            certificate::leaf(&authorities.current, &names::child(model.name), dns_names, now, LEAF_LIFE)?
        }
    };
    note_end(&pair.certificate, standing);
    let data = [("tls.crt", pair.certificate), ("tls.key", pair.key), ("ca.crt", authorities.bundle())];
    let wanted = Wanted {
        name,
        kind: "kubernetes.io/tls",
        data: data.map(|(key, text)| (key.to_owned(), text)).into(),
        annotations: Default::default(),
    };
    store::write(secrets, broker, model.name, existing.as_ref(), wanted).await?;
    Ok(())
}

/// A Secret that somebody else makes.
async fn issued(
    secrets: &Api<Secret>,
    name: &str,
    keys: &[&str],
    standing: &mut Standing,
) -> Result<(), Error> {
    let Some(secret) = secrets.get_opt(name).await? else {
        let refusal =
            Refusal::waiting(Reason::CertificatesPending, format!("Secret {name} does not exist yet"));
        standing.pending.get_or_insert(refusal);
        return Ok(());
    };
    let bad = |problem: String| Refusal::waiting(Reason::SecretInvalid, format!("Secret {name}: {problem}"));
    let texts: Result<Vec<_>, _> = keys.iter().map(|key| text(&secret, key)).collect();
    match texts.map(|texts| texts.into_iter().next().unwrap_or_default()) {
        Err(problem) => _ = standing.pending.get_or_insert(bad(problem)),
        Ok(leaf) => match certificate::read(&leaf) {
            Err(error) => _ = standing.pending.get_or_insert(bad(format!("tls.crt: {error}"))),
            Ok(_) => note_end(&leaf, standing),
        },
    }
    Ok(())
}

fn note_end(leaf: &str, standing: &mut Standing) {
    if let Ok(facts) = certificate::read(leaf) {
        standing.expire = Some(standing.expire.map_or(facts.not_after, |end| end.min(facts.not_after)));
    }
}
