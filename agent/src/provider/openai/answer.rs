//! Answers that came as one document.

use super::{finish, messages, responses_output, usage};
use crate::model::call::{Api, CallResponse, Message, Operation, Part};
use crate::provider::error;
use crate::provider::json::field;
use crate::provider::json::{Document, Object};
use crate::provider::limits::MAX_CHOICES;
use crate::provider::shape::Answer;
use crate::provider::text::Room;
use serde_json::Value;

/// Reads the document of a successful exchange.
pub(super) fn read(operation: Operation, api: Api, document: Document, room: &mut Room) -> Answer {
    let Document { mut root, whole } = document;
    if api == Api::Responses {
        return responses_output::read(operation, root, whole, room);
    }
    // A gateway that says 200 and means an error.
    if !field::is_set(&root, "choices") && !field::is_set(&root, "data") {
        if let Some(mut error) = error::in_document(&root) {
            if error.kind.is_empty() {
                error.kind = error::OTHER.to_owned();
            }
            return Answer {
                error: Some(error),
                ..Answer::default()
            };
        }
    }
    let mut answer = Answer {
        response: head(&root),
        ..Answer::default()
    };
    choices(&mut root, api, whole, room, &mut answer);
    answer
}

/// What stands at the top of each answer.
pub(super) fn head(root: &Object) -> CallResponse {
    let in_choice = || {
        let first = field::list(root, "choices")?.first()?.as_object()?;
        field::object(first, "usage")
    };
    let groq = || field::object(field::object(root, "x_groq")?, "usage");
    let usage = field::object(root, "usage")
        .or_else(in_choice)
        .or_else(groq);
    CallResponse {
        id: field::owned(root, "id"),
        model: field::owned(root, "model"),
        service_tier: field::owned(root, "service_tier"),
        system_fingerprint: field::owned(root, "system_fingerprint"),
        usage: usage.map(usage::read).unwrap_or_default(),
        ..CallResponse::default()
    }
}

fn choices(root: &mut Object, api: Api, whole: bool, room: &mut Room, answer: &mut Answer) {
    let mut list: Vec<Object> = field::take_list(root, "choices")
        .unwrap_or_default()
        .into_iter()
        .filter_map(|c| match c {
            Value::Object(o) => Some(o),
            _ => None,
        })
        .collect();
    list.sort_by_key(|c| field::int(c, "index").unwrap_or(0));
    answer.too_many = list.len() > MAX_CHOICES;
    for mut choice in list.into_iter().take(MAX_CHOICES) {
        // OpenRouter: the answer broke off at whoever is behind it.
        if let Some(failed) = choice.get("error").filter(|e| e.is_object()) {
            let failed = error::of_event(failed);
            answer.error.get_or_insert(failed);
        }
        match field::nonempty(&choice, "finish_reason") {
            Some(reason) => answer.response.finish_reasons.push(reason.to_owned()),
            None if whole => answer
                .response
                .finish_reasons
                .push(finish::ERROR.to_owned()),
            None => {}
        }
        // Mistral answers what is to be filled in with a message.
        let message = if api == Api::Completions && !field::is_set(&choice, "message") {
            text(&mut choice, whole, room)
        } else {
            messages::received(&mut choice, whole, room)
        };
        answer.response.messages.extend(message);
    }
}

/// A choice of a legacy completion.
fn text(choice: &mut Object, whole: bool, room: &mut Room) -> Option<Message> {
    let text = field::take_string(choice, "text")?;
    let reason = field::nonempty(choice, "finish_reason").map(|r| finish::mapped(r).to_owned());
    Some(Message {
        role: "assistant".to_owned(),
        name: None,
        parts: vec![Part::Text(room.keep(text))],
        finish_reason: reason.or_else(|| whole.then(|| finish::ERROR.to_owned())),
    })
}
