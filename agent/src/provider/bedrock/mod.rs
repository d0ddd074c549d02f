//! Amazon's Bedrock: converse, which is the same for all models, and invoke, which takes the body
//! that the model's maker has made up. Both name the model in the path; both stream in Amazon's
//! event stream encoding, invoke with the maker's own chunks inside of it.
//!
//! Source: Amazon Bedrock API reference, "Converse", "ConverseStream", "InvokeModel",
//! "InvokeModelWithResponseStream"; user guide, "Inference request parameters and response fields
//! for foundation models", "Prompt caching".

mod answer;
mod base64;
mod blocks;
mod converse;
mod family;
mod invoke;
mod stream_converse;
mod stream_invoke;
mod stream_text;
mod usage;

#[cfg(test)]
mod invoke_tests;
#[cfg(test)]
mod tests;

use super::json::field;
use super::json::{Document, Object};
use super::shape::{Answer, Found, Payload, Shape, Stream};
use super::target::{Target, decode};
use super::text::Room;
use crate::model::call::{Api, CallError, CallRequest, CallResponse, Operation};
use crate::model::exchange::Headers;
use stream_converse::ConverseStream;
use stream_invoke::InvokeStream;

/// Whoever speaks it: nobody else does but in Amazon's name.
const PROVIDER: &str = "aws.bedrock";

const GUARDRAIL: &str = "x-amzn-bedrock-guardrailidentifier";
const ERROR_TYPE: &str = "x-amzn-errortype";

/// The shape.
#[derive(Debug)]
pub(super) struct Bedrock;

impl Shape for Bedrock {
    fn request_headers(&self) -> &'static [&'static str] {
        &[GUARDRAIL]
    }

    fn response_headers(&self) -> &'static [&'static str] {
        const {
            &[
                ERROR_TYPE,
                usage::HEADERS[0],
                usage::HEADERS[1],
                usage::HEADERS[2],
                usage::HEADERS[3],
            ]
        }
    }

    /// Counting tokens and invoking with the answer put into a bucket have other ends.
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        if target.method != "POST" {
            return None;
        }
        let (rest, verb) = target.path.rsplit_once('/')?;
        // The id of a model may have slashes, which a gateway may have decoded.
        let (_, model) = rest.split_once("/model/").filter(|(_, m)| !m.is_empty())?;
        let (api, stream) = match verb {
            "converse" => (Api::BedrockConverse, false),
            "converse-stream" => (Api::BedrockConverse, true),
            "invoke" => (Api::BedrockInvoke, false),
            "invoke-with-response-stream" => (Api::BedrockInvoke, true),
            _ => return None,
        };
        let mut found = Found::new(Operation::Chat, api, PROVIDER);
        found.model = Some(decode(model));
        found.stream = stream;
        found.guardrail = target.headers.get(GUARDRAIL).map(str::to_owned);
        Some(found)
    }

    fn confirms(&self, found: &Found, body: &Object) -> bool {
        match found.api {
            // A stored prompt brings the messages along.
            Api::BedrockConverse => {
                field::list(body, "messages").is_some()
                    || field::object(body, "promptVariables").is_some()
                    || (body.is_empty()
                        && found.model.as_ref().is_some_and(|m| m.contains(":prompt/")))
            }
            _ => family::of(body).is_some(),
        }
    }

    fn refine(&self, found: &mut Found, body: &Object) {
        if found.api == Api::BedrockInvoke
            && let Some(family) = family::of(body)
        {
            found.operation = family.operation(body, found.model.as_deref().unwrap_or(""));
        }
    }

    fn request(&self, found: &Found, body: Object, room: &mut Room) -> CallRequest {
        let mut request = match found.api {
            Api::BedrockConverse => converse::request(body, room),
            _ => invoke::request(found, body, room),
        };
        // The path says which model and whether it streams; what the body says has no effect.
        request.model = None;
        request.stream = false;
        request
    }

    fn answer(&self, found: &Found, document: Document, room: &mut Room) -> Answer {
        match found.api {
            Api::BedrockConverse => converse::answer(document, room),
            _ => answer::read(found, document, room),
        }
    }

    fn is_answer(&self, found: &Found, root: &Object) -> bool {
        match found.api {
            Api::BedrockConverse => {
                field::object(root, "output").is_some() && field::is_set(root, "stopReason")
            }
            _ => family::answered(root).is_some(),
        }
    }

    fn is_error(&self, root: &Object) -> bool {
        ["message", "Message", "__type"]
            .iter()
            .any(|key| field::str(root, key).is_some())
    }

    fn error(&self, status: u16, document: Option<&Object>, body: &[u8]) -> CallError {
        answer::failed(status, document, body)
    }

    fn error_headers(&self, error: &mut CallError, headers: &Headers) {
        if let Some(kind) = headers.get(ERROR_TYPE).and_then(answer::exception) {
            error.kind = kind;
        }
    }

    fn stream(&self, found: &Found) -> Box<dyn Stream> {
        match found.api {
            Api::BedrockConverse => Box::<ConverseStream>::default(),
            _ => Box::<InvokeStream>::default(),
        }
    }

    fn headers(&self, response: &mut CallResponse, headers: &Headers) {
        usage::from_headers(&mut response.usage, headers);
    }

    fn by_answer(&self, payload: &Payload<'_>) -> Option<Found> {
        let fits = match payload {
            Payload::Document(root) => {
                let output = field::object(root, "output");
                output.is_some_and(|o| field::object(o, "message").is_some())
                    && field::is_set(root, "stopReason")
                    && field::object(root, "metrics").is_some()
            }
            Payload::Event(root) => {
                field::is_set(root, "contentBlockIndex")
                    && (field::object(root, "delta").is_some()
                        || field::object(root, "start").is_some())
            }
        };
        fits.then(|| Found::new(Operation::Chat, Api::BedrockConverse, PROVIDER))
    }
}
