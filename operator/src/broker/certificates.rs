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
use crate::wakes::Key;
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
    let secrets = Api::namespaced(context.client.clone(), model.namespace);
    let mut keeper = Keeper {
        now: context.clock.now(),
        secrets,
        broker,
        model,
        standing: Standing::default(),
        turned: false,
    };
    let tls = &model.spec.tls;
    let own_pods = tls.internal_issuer_ref.is_none();
    let client = tls.client.as_ref();
    let own_client = client.is_some_and(|client| client.secret_ref.is_none() && client.issuer_ref.is_none());

    // Where cert-manager makes the pods' certificates, those of clients may still need an authority, which no pod has to trust.
    let authorities = match (own_pods, own_client) {
        (true, _) => Some(keeper.rotate(pods).await),
        (false, true) => Some(keeper.rotate(&[]).await),
        (false, false) => None,
    };
    if keeper.turned {
        // Also when no answer came: what the operator shows and trusts must never be older than what the pods do.
        context.identities.forget(&Key::new(model.namespace, model.name));
    }
    let authorities = authorities.transpose()?;
    let pods_secret = names::tls_secret(model.name);
    match authorities.as_ref().filter(|_| own_pods) {
        Some(authorities) => {
            keeper.leaf(authorities, pods_secret, &pod_names(model.name, model.namespace)).await?;
        }
        None => {
            keeper.issued(&pods_secret, &["tls.crt", "tls.key", "ca.crt"]).await?;
            keeper.issued(&names::operator_tls_secret(model.name), &["tls.crt", "tls.key", "ca.crt"]).await?;
        }
    }
    let client_secret = names::client_tls_secret(model.name);
    match (client, authorities.as_ref().filter(|_| own_client)) {
        (Some(_), Some(authorities)) => {
            keeper.leaf(authorities, client_secret, &client_names(model.name, model.namespace)).await?;
        }
        (Some(client), None) => {
            let given = client.secret_ref.as_ref().map(|secret| secret.name.clone());
            keeper.issued(&given.unwrap_or(client_secret), &["tls.crt", "tls.key"]).await?;
        }
        (None, _) => crate::apply::remove(&keeper.secrets, broker, &client_secret).await?,
    }
    Ok(keeper.standing)
}

/// One look at the certificates of a Broker.
struct Keeper<'a> {
    now: Timestamp,
    secrets: Api<Secret>,
    broker: &'a Broker,
    model: &'a Model<'a>,
    standing: Standing,
    /// Whether a step of a rotation was taken.
    turned: bool,
}

impl Keeper<'_> {
    /// The authorities after the next step of their rotation.
    async fn rotate(&mut self, pods: &[Option<LoadedCertificate>]) -> Result<Authorities, Error> {
        let (namespace, name) = (self.model.namespace, self.model.name);
        let order = self.broker.annotations().get(ROTATE_CERTIFICATES).map(String::as_str);
        let title = format!("CMQ authority of {namespace}/{name}");
        // A common name has at most 64 characters.
        let title = &title[..title.floor_char_boundary(64)];
        let secret = names::authority_secret(name);
        let existing = store::get(&self.secrets, self.broker, &secret).await?;
        let known = existing.as_ref().and_then(|existing| match Authorities::read(existing) {
            Ok(authorities) => Some(authorities),
            Err(problem) => {
                tracing::warn!(namespace, broker = name, problem, "the authority is made anew");
                None
            }
        });
        let authorities = match known {
            None => Authorities::new(certificate::authority(title, self.now)?, order.map(str::to_owned)),
            Some(authorities) => {
                let leaf = store::get(&self.secrets, self.broker, &names::tls_secret(name)).await?;
                let leaf = leaf.and_then(|secret| text(&secret, "tls.crt").ok());
                let step = rotation::step(&authorities, order, leaf.as_deref(), pods, self.now)?;
                let fresh =
                    (step == Step::Announce).then(|| certificate::authority(title, self.now)).transpose()?;
                self.turned = !matches!(step, Step::Keep { .. });
                if self.turned {
                    tracing::info!(namespace, broker = name, ?step, "rotating the authority");
                }
                authorities.after(step, fresh, order)
            }
        };
        self.standing.rotating = authorities.next.is_some() || authorities.previous.is_some();
        let wanted = Wanted {
            name: secret,
            kind: "Opaque",
            data: authorities.data(),
            annotations: [(ROTATE_CERTIFICATES.to_owned(), authorities.order.clone())].into(),
        };
        store::write(&self.secrets, self.broker, name, existing.as_ref(), wanted).await?;
        Ok(authorities)
    }

    /// A leaf of the Broker's authority, renewed where it is due.
    async fn leaf(
        &mut self,
        authorities: &Authorities,
        name: String,
        dns_names: &[String],
    ) -> Result<(), Error> {
        let existing = store::get(&self.secrets, self.broker, &name).await?;
        let pair = existing.as_ref().and_then(|secret| {
            Some(Pair { certificate: text(secret, "tls.crt").ok()?, key: text(secret, "tls.key").ok()? })
        });
        let title = names::child(self.model.name);
        let pair = match pair.filter(|pair| !rotation::leaf_is_due(pair, authorities, dns_names, self.now)) {
            Some(pair) => pair,
            None => certificate::leaf(&authorities.current, &title, dns_names, self.now, LEAF_LIFE)?,
        };
        self.note_end(&pair.certificate);
        let data = [("tls.crt", pair.certificate), ("tls.key", pair.key), ("ca.crt", authorities.bundle())];
        let wanted = Wanted {
            name,
            kind: "kubernetes.io/tls",
            data: data.map(|(key, text)| (key.to_owned(), text)).into(),
            annotations: Default::default(),
        };
        store::write(&self.secrets, self.broker, self.model.name, existing.as_ref(), wanted).await?;
        Ok(())
    }

    /// A Secret that somebody else makes.
    async fn issued(&mut self, name: &str, keys: &[&str]) -> Result<(), Error> {
        let Some(secret) = self.secrets.get_opt(name).await? else {
            let message = format!("Secret {name} does not exist yet");
            self.standing.pending.get_or_insert(Refusal::waiting(Reason::CertificatesPending, message));
            return Ok(());
        };
        let texts: Result<Vec<_>, _> = keys.iter().map(|key| text(&secret, key)).collect();
        let leaf = texts.map(|texts| texts.into_iter().next().unwrap_or_default());
        let leaf = leaf.and_then(|leaf| match certificate::read(&leaf) {
            Ok(_) => Ok(leaf),
            Err(error) => Err(format!("tls.crt: {error}")),
        });
        match leaf {
            Ok(leaf) => self.note_end(&leaf),
            Err(problem) => {
                let message = format!("Secret {name}: {problem}");
                self.standing.pending.get_or_insert(Refusal::waiting(Reason::SecretInvalid, message));
            }
        }
        Ok(())
    }

    fn note_end(&mut self, leaf: &str) {
        if let Ok(facts) = certificate::read(leaf) {
            let end = self.standing.expire.map_or(facts.not_after, |end| end.min(facts.not_after));
            self.standing.expire = Some(end);
        }
    }
}
