//! Signatures of the CMQ protocol: HMAC-SHA1 or HMAC-SHA256 over method, host, path and sorted parameters.
//!
//! Public clients build the signed text in several forms; every one that a real client uses is accepted. Each form is an
//! HMAC over the whole call, so the forms are tried that the clients of the key are known for, and the others only on
//! the key's credit: see [`Habits`](crate::access::Habits). A call with an unknown id is not hashed at all.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac;
use subtle::ConstantTimeEq;

use super::Head;
use super::error::Error;
use super::parameters::{Parameter, Parameters};
use crate::access::{AtValues, Key, Keys, Policy, Secret, Signed};

/// What the ids of CMQ keys begin with.
const SECRET_ID_PREFIX: &str = "AKID";
const SHA1_BYTES: usize = 20;
const SHA256_BYTES: usize = 32;
/// Bytes of a signed call's names and values at most: twice what the messages of a call may have.
const SIGNED_BYTES_MAX: usize = 2 << 20;
/// The path that clients mean when they ask for it twice in a row.
const PATH: &str = "/v2/index.php";

/// Checks that a known key signed the request, and when.
///
/// # Errors
/// A parameter that a signed call needs is lacking or malformed, the call is too large, the key is unknown, its time stamp
/// is too far from the broker's clock, or the signature is not right.
pub(super) fn verify(
    keys: &Keys,
    policy: &Policy,
    head: &Head<'_>,
    parameters: &Parameters<'_>,
) -> Result<Signed, Error> {
    let id = parameters.required_text("SecretId")?;
    if !id.starts_with(SECRET_ID_PREFIX) {
        return Err(Error::SECRET_ID_FORM);
    }
    let signature = parameters.required_text("Signature")?;
    let timestamp = parameters.integer("Timestamp")?.ok_or_else(|| Error::lacking("Timestamp"))?;
    parameters.required_text("Nonce")?;
    let bytes: usize = parameters.iter().map(|parameter| parameter.name.len() + parameter.value.len()).sum();
    if bytes > SIGNED_BYTES_MAX {
        return Err(Error::unreadable("parameters"));
    }
    let key = keys.find(id).ok_or(Error::SECRET_ID_UNKNOWN)?;
    let timestamp_s = u64::try_from(timestamp).map_err(|_| Error::negative("Timestamp"))?;
    if let Some(allowed) = policy.clock_skew_seconds
        && timestamp_s.abs_diff(head.now_s) > allowed
    {
        return Err(Error::clock(timestamp_s, head.now_s, allowed));
    }
    let given = Given::read(signature, parameters.text("SignatureMethod")?);
    let search = Search::start(policy.at_values, head, parameters, &given).among(key, head.now_s);
    if !search.is_found {
        return Err(Error::AUTHENTICATION_FAILED);
    }
    Ok(Signed { key: key.tag, signature: given.first_bytes(), timestamp_s })
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

    /// Enough of it to know it again.
    fn first_bytes(&self) -> u64 {
        let bytes: &[u8] = match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
            Self::Unreadable => return 0,
        };
        bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
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

/// One way in which clients build the text that they sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    /// Whether it leaves out the values that begin with `@`.
    leaves_out: bool,
    /// Whether the path stands in it once, where it was asked for twice in a row.
    path_once: bool,
    host: HostForm,
}

/// How clients sign the host: as they were given it with its port, without it, with the scheme before it. HTTP libraries
/// leave the default port out of the request where the signed text had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostForm {
    AsNamed,
    WithoutPort,
    WithScheme,
    WithPort80,
    WithPort443,
}

const HOST_FORMS: [HostForm; 5] = [
    HostForm::AsNamed,
    HostForm::WithoutPort,
    HostForm::WithScheme,
    HostForm::WithPort80,
    HostForm::WithPort443,
];

impl Form {
    /// The number by which habits know it.
    fn number(self) -> u32 {
        (u32::from(self.leaves_out) * 2 + u32::from(self.path_once)) * HOST_FORMS.len() as u32
            + self.host as u32
    }

    /// Every form, the likeliest first.
    fn all() -> impl Iterator<Item = Self> {
        [false, true].into_iter().flat_map(|leaves_out| {
            [false, true].into_iter().flat_map(move |path_once| {
                HOST_FORMS.into_iter().map(move |host| Self { leaves_out, path_once, host })
            })
        })
    }
}

/// The search for the form in which a call is signed.
struct Search<'a> {
    head: &'a Head<'a>,
    given: &'a Given,
    /// Everything after the question mark.
    covered: Vec<u8>,
    /// The same without the values that begin with `@`, where there are any and that is allowed.
    without_at: Option<Vec<u8>>,
    /// Bytes that were hashed so far.
    hashed: u64,
    is_found: bool,
}

impl<'a> Search<'a> {
    fn start(at_values: AtValues, head: &'a Head<'a>, parameters: &Parameters<'_>, given: &'a Given) -> Self {
        let mut sorted: Vec<&Parameter<'_>> =
            parameters.iter().filter(|p| p.name.as_ref() != b"Signature").collect();
        sorted.sort_by(|one, other| one.name.cmp(&other.name));
        let covered = joined(&sorted);
        let mut without_at = None;
        if head.method == "POST" && at_values == AtValues::MayBeLeftOut {
            let all = sorted.len();
            sorted.retain(|parameter| !parameter.value.starts_with(b"@"));
            without_at = (sorted.len() < all).then(|| joined(&sorted));
        }
        Self { head, given, covered, without_at, hashed: 0, is_found: false }
    }

    /// Tries the forms that were right before, then the usual one, then, on credit, the others.
    fn among(mut self, key: &Key, now_s: u64) -> Self {
        if matches!(self.given, Given::Unreadable) {
            return self;
        }
        let habits = &key.habits;
        let form_of = |number| Form::all().find(|form| form.number() == number);
        let seen: Vec<Form> = habits.seen().filter_map(form_of).collect();
        let others = Form::all().filter(|form| !habits.has_seen(form.number()));
        for (position, form) in seen.iter().copied().chain(others).enumerate() {
            let Some(parts) = self.parts(form) else { continue };
            let bytes = parts.iter().map(|part| part.len() as u64).sum();
            // The first form is free: without any, nobody could begin.
            let is_free = position < seen.len().max(1) || self.hashed == 0;
            if !is_free && !habits.pay(bytes, now_s) {
                break;
            }
            let is_right = self.given.is_by(&key.secret, &parts);
            self.hashed += bytes;
            if is_right {
                habits.learn(form.number());
                self.is_found = true;
                break;
            }
        }
        self
    }

    /// The signed text in one form; None where the call has no such form.
    fn parts(&self, form: Form) -> Option<[&[u8]; 7]> {
        let Head { method, host, path, .. } = *self.head;
        let named = without_port(host);
        let has_port = named.len() < host.len();
        let (scheme, host, port) = match form.host {
            HostForm::AsNamed => ("", host, ""),
            HostForm::WithoutPort if has_port => ("", named, ""),
            HostForm::WithScheme => ("http://", host, ""),
            HostForm::WithPort80 if !has_port => ("", host, ":80"),
            HostForm::WithPort443 if !has_port => ("", host, ":443"),
            HostForm::WithoutPort | HostForm::WithPort80 | HostForm::WithPort443 => return None,
        };
        let path = match form.path_once {
            false => path,
            true if is_doubled(path) => PATH,
            true => return None,
        };
        let text: &[u8] = if form.leaves_out { self.without_at.as_ref()? } else { &self.covered };
        let [method, scheme, host, port, path, mark] =
            [method, scheme, host, port, path, "?"].map(str::as_bytes);
        Some([method, scheme, host, port, path, mark, text])
    }
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
