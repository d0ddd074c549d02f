//! Replicate: predictions of models of every kind. One is a task: made by one request, asked after
//! by others, perhaps cancelled, or its output read as a stream at an address that the answer to
//! the first request names. All of these are one call.
//!
//! Source: Replicate's HTTP API reference, "Create a prediction" (of a version, of an official
//! model, of a deployment), "Get a prediction", "Cancel a prediction", and "Streaming output".

mod answer;
mod request;
mod stream;

#[cfg(test)]
mod tests;

use super::json::field;
use super::json::{Document, Object};
use super::open::Verdict;
use super::shape::{Answer, Found, Payload, Shape, Stream};
use super::target::Target;
use super::tasks::TaskStep;
use super::text::Room;
use crate::model::call::{Api, CallRequest, Operation};
use stream::OutputStream;

/// Whoever speaks it and is not known by the host.
const PROVIDER: &str = "replicate";

/// Lengths of ids of predictions: 26 letters and digits so far.
const ID: std::ops::RangeInclusive<usize> = 20..=40;

/// What the path of a stream has before the token that names it.
const STREAMS: [&str; 2] = ["/v1/streams/", "/v1/files/"];

/// The shape.
#[derive(Debug)]
pub(super) struct Replicate;

const FOUND: Found = Found::new(
    Operation::GenerateContent,
    Api::ReplicatePrediction,
    PROVIDER,
);

impl Shape for Replicate {
    fn request_headers(&self) -> &'static [&'static str] {
        &["accept"]
    }

    fn route(&self, target: &Target<'_>) -> Option<Found> {
        if let Some(step) = step(target) {
            return Some(Found {
                bodyless: Some(Verdict::Unknown),
                task: Some(step),
                ..FOUND
            });
        }
        if target.method != "POST" {
            return None;
        }
        let base = target.path.strip_suffix("/predictions")?;
        if base.ends_with("/v1") {
            return Some(FOUND);
        }
        // `…/v1/models/{owner}/{name}/predictions`, and the same of deployments.
        let (base, name) = base.rsplit_once('/')?;
        let (base, owner) = base.rsplit_once('/')?;
        let fits = base.ends_with("/v1/models") || base.ends_with("/v1/deployments");
        (fits && !owner.is_empty() && !name.is_empty()).then(|| Found {
            model: Some(format!("{owner}/{name}")),
            ..FOUND
        })
    }

    fn confirms(&self, found: &Found, body: &Object) -> bool {
        let named = found.model.is_some() || field::str(body, "version").is_some();
        named && field::object(body, "input").is_some()
    }

    fn request(&self, _: &Found, body: Object, room: &mut Room) -> CallRequest {
        request::read(body, room)
    }

    fn answer(&self, _: &Found, document: Document, room: &mut Room) -> Answer {
        answer::read(document, room)
    }

    fn is_answer(&self, _: &Found, root: &Object) -> bool {
        field::str(root, "id").is_some()
            && field::str(root, "status").is_some_and(|s| answer::STATES.contains(&s))
            && field::object(root, "urls").is_some()
    }

    fn is_error(&self, root: &Object) -> bool {
        field::is_set(root, "detail")
    }

    fn stream(&self, _: &Found) -> Box<dyn Stream> {
        Box::<OutputStream>::default()
    }

    fn by_answer(&self, answer: &Payload<'_>) -> Option<Found> {
        let Payload::Document(root) = answer else {
            return None;
        };
        let own = self.is_answer(&FOUND, root) && field::is_set(root, "version");
        own.then_some(FOUND)
    }
}

/// `GET …/v1/predictions/{id}`, `POST …/v1/predictions/{id}/cancel`, and the stream of one.
fn step(target: &Target<'_>) -> Option<TaskStep> {
    if target.method == "GET"
        && target.headers.get("accept") == Some("text/event-stream")
        && STREAMS.iter().any(|start| target.path.contains(start))
    {
        return Some(TaskStep::Stream(target.path.to_owned()));
    }
    let (path, step): (_, fn(String) -> TaskStep) = match target.method {
        "GET" => (target.path, TaskStep::Poll),
        "POST" => (target.path.strip_suffix("/cancel")?, TaskStep::Cancel),
        _ => return None,
    };
    let (base, id) = path.rsplit_once('/')?;
    let fits = base.ends_with("/v1/predictions")
        && ID.contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then(|| step(id.to_owned()))
}
