//! OpenAI's Realtime API over WebSocket, and DashScope's (Qwen-Omni, Qwen-TTS), which imitates it.
//! Each response is a call: asked for by the client, or made by the server when it heard the end
//! of what was said.
//!
//! Of sound and pictures nothing but their size is kept. A session's client secret is not looked
//! at, nor is what the subprotocol of the handshake says.
//!
//! Source: OpenAI's API reference ("Realtime": client events, server events), Azure's ("Realtime
//! API reference"), Model Studio's ("Qwen-Omni-Realtime": client events, server events), and the
//! types of the `openai` library, 2.0 and 3.57.

mod answer;
mod answering;
mod config;
mod error;
mod event;
mod input;
mod session;

#[cfg(test)]
mod tests;

use super::hosts;
use super::json::{Object, field};
use super::sockets::{Found, Session, SocketShape};
use super::target::Target;
use crate::model::call::{Api, Operation};
use crate::model::websocket::Sender;

/// Whoever speaks it at DashScope's path and is not known by the host.
const DASHSCOPE: &str = "dashscope";

/// What the types of events begin with.
const FAMILIES: [&str; 9] = [
    "session.",
    "response.",
    "conversation.",
    "input_audio_buffer.",
    "output_audio_buffer.",
    "input_text_buffer.",
    "input_image_buffer.",
    "transcription_session.",
    "rate_limits.",
];

/// The shape.
#[derive(Debug)]
pub(super) struct Realtime;

impl SocketShape for Realtime {
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        let path = target.path;
        if !path.ends_with("/realtime") {
            return None;
        }
        let (provider, fixed) = if path.ends_with("/api-ws/v1/realtime") {
            (DASHSCOPE, false)
        } else if path.contains("/openai/") || target.parameter("api-version").is_some() {
            (hosts::AZURE_OPENAI, true)
        } else {
            (hosts::OPENAI, false)
        };
        let model = ["model", "deployment"].map(|name| target.parameter(name));
        let deployed = target.segment_after("/openai/deployments/");
        Some(Found {
            model: model.into_iter().flatten().next().or(deployed),
            ..found(provider, fixed)
        })
    }

    fn is_own(&self, sender: Sender, root: &Object) -> bool {
        let Some(kind) = field::str(root, "type") else {
            return false;
        };
        FAMILIES.iter().any(|f| kind.starts_with(f))
            || sender == Sender::Server && kind == "error" && field::object(root, "error").is_some()
    }

    fn unseen(&self) -> Found {
        Found {
            midway: true,
            ..found(hosts::OPENAI, false)
        }
    }

    fn session(&self, found: &Found, text_bytes: usize) -> Box<dyn Session> {
        Box::new(session::RealtimeSession::new(found, text_bytes))
    }
}

fn found(provider: &'static str, fixed: bool) -> Found {
    Found {
        operation: Operation::Chat,
        api: Api::Realtime,
        provider,
        fixed,
        model: None,
        midway: false,
    }
}
