//! Whether an installation can work: the kinds, the rights, and somebody who leads. It is what `helm test` runs.

use std::time::Duration;

use cmq_crds::manifest;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use tokio::time::{Instant, sleep};

use crate::config::Installation;
use crate::permissions::{PERMISSIONS, Permission, Place};
use crate::{kinds, lease};

/// Objects that are touched by name only, for which the rights are asked.
const DEFINITIONS: [&str; 2] = ["brokers.cmq.dev", "queues.cmq.dev"];
/// Time for a holder of the Lease to renew it, or for somebody to take it.
const LEADER_TIME: Duration = Duration::from_secs(2 * lease::DURATION.as_secs());
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is wrong with the installation, each with what to do; empty: nothing.
///
/// # Errors
/// When the API server fails.
pub async fn findings(
    client: &Client,
    installation: &Installation,
    namespace: &str,
) -> kube::Result<Vec<String>> {
    let missing = kinds::missing(client).await?;
    if !missing.is_empty() {
        return Ok(vec![format!(
            "the cluster has no {}: install the chart with crds.enabled",
            missing.join(", ")
        )]);
    }
    let mut findings = missing_rights(client, installation, namespace).await?;
    findings.extend(other_definitions(client).await?);
    findings.extend(no_leader(client, installation, namespace).await?);
    Ok(findings)
}

async fn missing_rights(
    client: &Client,
    installation: &Installation,
    own: &str,
) -> kube::Result<Vec<String>> {
    let watched = installation.namespaces();
    let mut findings = Vec::new();
    for permission in PERMISSIONS {
        let namespaces = match permission.place {
            Place::Own => vec![Some(own)],
            Place::Watched if !watched.is_empty() => watched.iter().map(|name| Some(&**name)).collect(),
            Place::Cluster if !watched.is_empty() => continue,
            Place::Watched | Place::Cluster => vec![None],
        };
        for namespace in namespaces {
            for verb in permission.verbs {
                for name in names(permission, installation, namespace) {
                    if !may(client, permission, verb, namespace, name).await? {
                        findings.push(refusal(permission, verb, namespace));
                    }
                }
            }
        }
    }
    Ok(findings)
}

fn names<'a>(
    permission: &Permission,
    installation: &'a Installation,
    namespace: Option<&'a str>,
) -> Vec<Option<&'a str>> {
    match permission.resource {
        "leases" => vec![Some(&installation.lease_name)],
        "customresourcedefinitions" => DEFINITIONS.map(Some).into(),
        "namespaces" => vec![namespace],
        _ => vec![None],
    }
}

async fn may(
    client: &Client,
    permission: &Permission,
    verb: &str,
    namespace: Option<&str>,
    name: Option<&str>,
) -> kube::Result<bool> {
    let (resource, subresource) = match permission.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (permission.resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(permission.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(verb.to_owned()),
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn refusal(permission: &Permission, verb: &str, namespace: Option<&str>) -> String {
    let group = if permission.group.is_empty() { "the core group" } else { permission.group };
    let place = namespace.map_or_else(|| "in the cluster".to_owned(), |name| format!("in namespace {name}"));
    format!("no right to {verb} {} of {group} {place}: the chart's roles give it", permission.resource)
}

/// Definitions of another version would drop fields that this operator writes. Not looked at without the right to.
async fn other_definitions(client: &Client) -> kube::Result<Vec<String>> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut findings = Vec::new();
    for wanted in [manifest::broker(), manifest::queue()] {
        let name = wanted.name_any();
        match api.get(&name).await {
            Ok(found) if schemas(&found) == schemas(&wanted) => {}
            Ok(_) => findings.push(format!(
                "{name} is not the definition that this operator knows: upgrade the chart with crds.enabled"
            )),
            Err(kube::Error::Api(status)) if status.is_forbidden() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}

fn schemas(definition: &CustomResourceDefinition) -> Vec<Option<serde_json::Value>> {
    let schema = |schema| serde_json::to_value(schema).ok();
    definition.spec.versions.iter().map(|version| version.schema.as_ref().and_then(schema)).collect()
}

async fn no_leader(
    client: &Client,
    installation: &Installation,
    namespace: &str,
) -> kube::Result<Option<String>> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let name = &installation.lease_name;
    let until = Instant::now() + LEADER_TIME;
    let first = api.get_opt(name).await?.and_then(|lease| lease.resource_version());
    loop {
        sleep(LOOK_EVERY).await;
        let now = api.get_opt(name).await?;
        let version = now.as_ref().and_then(ResourceExt::resource_version);
        let holder = now.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
        if version != first && !holder.is_empty() {
            return Ok(None);
        }
        if Instant::now() >= until {
            return Ok(Some(format!(
                "nobody renews the lease {namespace}/{name}: see the log of the operator's pods"
            )));
        }
    }
}
