//! Signatures of the CMQ protocol: HMAC-SHA1 or HMAC-SHA256 over method, host, path and sorted parameters.
//!
//! Public clients build the signed text in several ways; every one that a real client uses is accepted. The forms are
//! tried in turn, so a right signature of a common client costs one HMAC, a wrong one all of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac;
use subtle::ConstantTimeEq;

use super::Head;
use super::error::Error;
use super::parameters::{Parameter, Parameters};
use crate::access::{AtValues, Found, Keys, Secret};

/// What the ids of CMQ keys begin with.
const SECRET_ID_PREFIX: &str = "AKID";
const SHA1_BYTES: usize = 20;
const SHA256_BYTES: usize = 32;
/// The path that clients mean when they ask for it twice in a row.
const PATH: &str = "/v2/index.php";

/// Checks that a known key signed the request.
///
/// # Errors
/// A parameter that a signed call needs is lacking or malformed, the key is unknown, or the signature is not right.
pub(super) fn verify(keys: &Keys, head: &Head<'_>, parameters: &Parameters<'_>) -> Result<(), Error> {
    let id = parameters.required_text("SecretId")?;
    if !id.starts_with(SECRET_ID_PREFIX) {
        return Err(Error::SECRET_ID_FORM);
    }
    let signature = parameters.required_text("Signature")?;
    for name in ["Timestamp", "Nonce"] {
        parameters.required_text(name)?;
    }
    let given = Given::read(signature, parameters.text("SignatureMethod")?);
    match keys.secret(id) {
        Found::Known(secret) if matches(secret, keys.at_values(), head, parameters, &given) => Ok(()),
        Found::Known(_) => Err(Error::AUTHENTICATION_FAILED),
        Found::Decoy(decoy) => {
            // The answer says that the id is unknown, as the protocol wants; the time it takes should not say more.
            std::hint::black_box(matches(decoy, keys.at_values(), head, parameters, &given));
            Err(Error::SECRET_ID_UNKNOWN)
        }
    }
}

/// The signature that the caller sent.
enum Given {
    Sha1([u8; SHA1_BYTES]),
    Sha256([u8; SHA256_BYTES]),
    Unreadable,
}

impl Given {
    /// Its length tells the hash: one public client always uses SHA-256, whatever it says. The other way round, a
    /// SHA-1 signature where SHA-256 was promised, is refused.
    fn read(signature: &str, method: Option<&str>) -> Self {
        let mut bytes = [0; SHA256_BYTES + 1];
        let Ok(length) = STANDARD.decode_slice(signature, &mut bytes) else { return Self::Unreadable };
        match (&bytes[..length], method) {
            (sha256, _) if length == SHA256_BYTES => {
                Self::Sha256(sha256.try_into().expect("length was checked"))
            }
            (_, Some("HmacSHA256")) => Self::Unreadable,
            (sha1, _) if length == SHA1_BYTES => Self::Sha1(sha1.try_into().expect("length was checked")),
            _ => Self::Unreadable,
        }
    }

    fn is_by(&self, secret: &Secret, parts: &[&[u8]]) -> bool {
        match self {
            Self::Sha1(given) => mac(secret.hmac_sha1(), parts).ct_eq(given.as_slice()).into(),
            Self::Sha256(given) => mac(secret.hmac_sha256(), parts).ct_eq(given.as_slice()).into(),
            Self::Unreadable => false,
        }
    }
}

fn mac<M: Mac>(mut mac: M, parts: &[&[u8]]) -> hmac::digest::Output<M> {
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes()
}

fn matches(
    secret: &Secret,
    at_values: AtValues,
    head: &Head<'_>,
    parameters: &Parameters<'_>,
    given: &Given,
) -> bool {
    let mut sorted: Vec<&Parameter<'_>> =
        parameters.iter().filter(|p| p.name.as_ref() != b"Signature").collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    let mut forms = vec![joined(&sorted)];
    if head.method == "POST" && at_values == AtValues::MayBeLeftOut {
        let all = sorted.len();
        sorted.retain(|parameter| !parameter.value.starts_with(b"@"));
        if sorted.len() < all {
            forms.push(joined(&sorted));
        }
    }
    forms.iter().any(|form| matches_on_some_host(secret, head, form, given))
}

/// The part of the signed text after the question mark.
fn joined(sorted: &[&Parameter<'_>]) -> Vec<u8> {
    let bytes = sorted.iter().map(|parameter| parameter.name.len() + parameter.value.len() + 2).sum();
    let mut text = Vec::with_capacity(bytes);
    for parameter in sorted {
        let start = text.len();
        text.extend_from_slice(&parameter.name);
        text[start..]
            .iter_mut()
            .filter(|character| **character == b'_')
            .for_each(|character| *character = b'.');
        text.push(b'=');
        text.extend_from_slice(&parameter.value);
        text.push(b'&');
    }
    text.pop();
    text
}

/// Clients sign the host as they were given it: with its port, without it, with the scheme before it. HTTP libraries leave
/// the default port out of the request where the signed text had it.
fn matches_on_some_host(secret: &Secret, head: &Head<'_>, form: &[u8], given: &Given) -> bool {
    let host = head.host;
    let without_port = without_port(host);
    let has_port = without_port.len() < host.len();
    let hosts: &[[&str; 3]] = if has_port {
        &[["", host, ""], ["", without_port, ""], ["http://", host, ""]]
    } else {
        &[["", host, ""], ["http://", host, ""], ["", host, ":80"], ["", host, ":443"]]
    };
    let paths: &[&str] = if is_doubled(head.path) { &[head.path, PATH] } else { &[head.path] };
    paths.iter().any(|path| {
        hosts.iter().any(|[scheme, host, port]| {
            let parts = [head.method, scheme, host, port, path, "?"].map(str::as_bytes);
            let [a, b, c, d, e, f] = parts;
            given.is_by(secret, &[a, b, c, d, e, f, form])
        })
    })
}

/// The host without a port behind it. An address of IP version 6 stands in brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    }
}

/// One public client asks for the path twice in a row when it uses GET.
fn is_doubled(path: &str) -> bool {
    path.strip_prefix(PATH) == Some(PATH)
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
