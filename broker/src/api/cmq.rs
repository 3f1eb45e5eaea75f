//! The CMQ protocol: form parameters in, one JSON object out, always with HTTP status 200.

mod action;
mod answer;
mod attributes;
mod call;
mod dead_letter;
mod error;
mod execute;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod parameters;
mod percent;
mod signature;

use bytes::Bytes;

pub use action::Action;
pub use error::Error;

pub(crate) use action::SERVED;
pub(crate) use error::outer_codes;
pub(crate) use parameters::Parameters;

use crate::access::Access;
use crate::service::Service;
use action::Named;
use answer::Ids;
use call::Call;

/// What of a request's head the protocol looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    /// Host and port as the caller named them.
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    /// When it came, in Unix seconds.
    pub(crate) now_s: u64,
}

/// A request that was read, whether it can be served or not.
#[derive(Debug)]
pub(crate) struct Request {
    ids: Ids,
    action: Option<Action>,
    call: Result<Call, Error>,
}

/// The answer to a request, with what the metrics say of it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// None where the request named no action that is served.
    pub(crate) action: Option<Action>,
    /// The outer code.
    pub(crate) code: u32,
    /// The JSON object.
    pub(crate) body: Bytes,
}

impl Request {
    /// Reads a request: who calls, what is asked. `id` is the number that the answer names it by.
    pub(crate) fn read(id: u64, access: &Access, head: &Head<'_>, mut parameters: Parameters<'_>) -> Self {
        let mut request =
            Self { ids: Ids { request: id, client_request: 0 }, action: None, call: Err(Error::INTERNAL) };
        request.call = request.read_call(access, head, &mut parameters);
        request
    }

    fn read_call(
        &mut self,
        access: &Access,
        head: &Head<'_>,
        parameters: &mut Parameters<'_>,
    ) -> Result<Call, Error> {
        self.ids.client_request = client_request_id(parameters)?;
        for name in ["Timestamp", "Nonce"] {
            if parameters.integer(name)?.is_some_and(|number| number < 0) {
                return Err(Error::negative(name));
            }
        }
        // Metrics count a call under its action even when it is not allowed.
        let name = parameters.text("Action")?.map(str::trim);
        let named = name.map(Action::named);
        if let Some(Named::Served(action)) = named {
            self.action = Some(action);
        }
        let signed = match access.keys() {
            Some((keys, policy)) => Some(signature::verify(&keys, policy, head, parameters)?),
            None => None,
        };
        let action = match named.ok_or(Error::ACTION_LACKING)? {
            Named::Served(action) => action,
            Named::NotServed(name) => return Err(Error::action_not_served(name)),
            Named::Unknown => return Err(Error::action_unknown(name.unwrap_or_default())),
        };
        let call = Call::read(action, parameters)?;
        if let Some(signed) = signed
            && action.counts_once()
        {
            access.first_time(&signed, head.now_s).map_err(Error::repeated_call)?;
        }
        Ok(call)
    }

    /// Whether messages of the request's body are still needed.
    pub(crate) fn brings_messages(&self) -> bool {
        matches!(self.call, Ok(Call::SendMessage { .. } | Call::BatchSendMessage { .. }))
    }

    /// Does what is asked and writes the answer.
    pub(crate) async fn serve(self, service: &Service) -> Answer {
        let Self { ids, action, call } = self;
        let outcome = match call {
            Ok(call) => execute::execute(call, service).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(outcome) => {
                let code = outcome.error().map_or(0, |error| error.code);
                Answer { action, code, body: answer::outcome(ids, &outcome) }
            }
            Err(error) => Answer { action, code: error.code, body: answer::refusal(ids, &error) },
        }
    }
}

/// The answer to a request that could not be read.
pub(crate) fn refuse(id: u64, error: &Error) -> Answer {
    let body = answer::refusal(Ids { request: id, client_request: 0 }, error);
    Answer { action: None, code: error.code, body }
}

/// The number by which the caller finds its call again; 0 for none.
fn client_request_id(parameters: &Parameters<'_>) -> Result<u64, Error> {
    const NAME: &str = "clientRequestId";
    let Some(text) = parameters.text(NAME)? else { return Ok(0) };
    text.trim().parse().map_err(|_| Error::wrong_type(NAME))
}

#[cfg(test)]
#[path = "cmq/conformance_tests.rs"]
mod conformance_tests;
#[cfg(test)]
#[path = "cmq/rows_tests.rs"]
mod rows_tests;
