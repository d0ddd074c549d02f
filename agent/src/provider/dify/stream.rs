//! Streamed answers: each event names itself in its data.

use super::answer;
use super::request::modality;
use crate::model::call::{Api, CallError, CallResponse, Part, Usage};
use crate::model::exchange::SseEvent;
use crate::provider::content;
use crate::provider::error;
use crate::provider::json::field;
use crate::provider::json::{self, Object};
use crate::provider::limits::{MAX_ITEMS, MAX_NAME_BYTES};
use crate::provider::openai::usage;
use crate::provider::shape::{Answer, Seen, Stream};
use crate::provider::text::{Growing, Room};
use serde_json::{Value, json};

/// Events that nobody else has.
pub(super) const EVENTS: [&str; 9] = [
    "message",
    "agent_message",
    "agent_thought",
    "message_end",
    "workflow_started",
    "workflow_finished",
    "node_started",
    "node_finished",
    "text_chunk",
];

/// An answer under way.
#[derive(Debug)]
pub(super) struct EventStream {
    api: Api,
    response: CallResponse,
    /// What all events of one answer name.
    task: Option<String>,
    text: Growing,
    /// What a workflow made.
    outputs: Option<Part>,
    thoughts: Vec<Thought>,
    files: Vec<Part>,
    /// Counts of the nodes so far.
    nodes: Usage,
    error: Option<CallError>,
    too_many: bool,
    over: bool,
}

/// A tool that an agent used. It is told again whenever more is known of it.
#[derive(Debug)]
struct Thought {
    id: String,
    tool: String,
    input: Growing,
    observation: Growing,
}

impl EventStream {
    pub(super) fn new(api: Api) -> Self {
        Self {
            api,
            response: CallResponse::default(),
            task: None,
            text: Growing::default(),
            outputs: None,
            thoughts: Vec::new(),
            files: Vec::new(),
            nodes: Usage::default(),
            error: None,
            too_many: false,
            over: false,
        }
    }

    fn named(&mut self, kind: &str, mut root: Object, room: &mut Room) -> Seen {
        answer::head(&mut self.response, self.api, &root);
        if self.task.is_none() {
            self.task = field::owned(&root, "task_id").filter(|t| t.len() <= MAX_NAME_BYTES);
        }
        let data = match field::take(&mut root, "data") {
            Some(Value::Object(data)) => data,
            _ => Object::new(),
        };
        let mut output = false;
        match kind {
            "ping" => return Seen::Nothing,
            "message" | "agent_message" => {
                output = self.grow(field::str(&root, "answer"), room);
            }
            "text_chunk" => output = self.grow(field::str(&data, "text"), room),
            "message_replace" => {
                self.text
                    .replace(field::str(&root, "answer").unwrap_or(""), room);
            }
            "agent_thought" => self.thought(&root, room),
            "message_file" => self.file(&mut root, room),
            "message_end" => {
                answer::counts(&mut self.response, &root);
                self.over = true;
            }
            "node_finished" => self.node(&data),
            "workflow_finished" => self.finished(data, room),
            "error" => self.error = Some(error::of_event(&Value::Object(root))),
            _ => {}
        }
        Seen::Chunk { output }
    }

    fn grow(&mut self, piece: Option<&str>, room: &mut Room) -> bool {
        if let Some(piece) = piece {
            self.text.push(piece, room);
        }
        piece.is_some_and(|p| !p.is_empty())
    }

    /// The thought itself is in the answer too; here the tool counts.
    fn thought(&mut self, root: &Object, room: &mut Room) {
        let Some(tool) = field::nonempty(root, "tool").filter(|t| t.len() <= MAX_NAME_BYTES) else {
            return;
        };
        let id = field::str(root, "id").unwrap_or("");
        let at = self.thoughts.iter().position(|t| t.id == id);
        if at.is_none() && (self.thoughts.len() >= MAX_ITEMS || id.len() > MAX_NAME_BYTES) {
            self.too_many = true;
            return;
        }
        let at = at.unwrap_or_else(|| {
            self.thoughts.push(Thought {
                id: id.to_owned(),
                tool: tool.to_owned(),
                input: Growing::default(),
                observation: Growing::default(),
            });
            self.thoughts.len() - 1
        });
        let Some(thought) = self.thoughts.get_mut(at) else {
            return;
        };
        for (slot, key) in [
            (&mut thought.input, "tool_input"),
            (&mut thought.observation, "observation"),
        ] {
            if let Some(text) = field::nonempty(root, key) {
                slot.replace(text, room);
            }
        }
    }

    fn file(&mut self, root: &mut Object, room: &mut Room) {
        let kind = modality(field::str(root, "type").unwrap_or(""));
        let Some(url) = field::take_string(root, "url").filter(|u| !u.is_empty()) else {
            return;
        };
        if self.files.len() >= MAX_ITEMS {
            self.too_many = true;
            return;
        }
        self.files.push(content::at_url(url, kind, room));
    }

    /// Nodes that ask a model tell what it cost.
    fn node(&mut self, data: &Object) {
        let told = ["outputs", "process_data"]
            .iter()
            .find_map(|key| field::object(field::object(data, key)?, "usage"));
        let Some(told) = told.map(usage::read) else {
            return;
        };
        for (sum, more) in [
            (&mut self.nodes.input, told.input),
            (&mut self.nodes.output, told.output),
        ] {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        }
    }

    fn finished(&mut self, data: Object, room: &mut Room) {
        self.error = self.error.take().or_else(|| answer::failure(&data));
        // Not every node tells: only when the sum is right are their counts all there is.
        let total = field::int(&data, "total_tokens");
        let sum = self.nodes.input.zip(self.nodes.output);
        if let (Some(total), Some((input, output))) = (total, sum)
            && input.checked_add(output) == Some(total)
            && self.response.usage == Usage::default()
        {
            self.response.usage = self.nodes;
        }
        // In a chat the message follows.
        if self.api == Api::DifyWorkflow {
            self.over = true;
            if field::object(&data, "outputs").is_some_and(|o| !o.is_empty()) {
                // What came in pieces is told whole.
                let pieces = std::mem::take(&mut self.text).into_text();
                room.0 = room.0.saturating_add(pieces.kept.len());
                self.outputs = answer::outputs(data, room);
            }
        }
    }
}

impl Stream for EventStream {
    fn event(&mut self, event: SseEvent<'_>, room: &mut Room) -> Seen {
        let data = event.data.trim_ascii();
        if data.is_empty() || event.event == "ping" {
            return Seen::Nothing;
        }
        let Some(document) = json::read(data) else {
            return Seen::Broken;
        };
        let kind = field::str(&document.root, "event").unwrap_or(event.event);
        let kind = kind.to_owned();
        self.named(&kind, document.root, room)
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn id(&self) -> Option<&str> {
        self.task.as_deref()
    }

    fn id_in<'a>(&self, root: &'a Object) -> Option<&'a str> {
        field::nonempty(root, "task_id")
    }

    fn finish(self: Box<Self>, _: &mut Room) -> Answer {
        let this = *self;
        let mut response = this.response;
        let mut parts: Vec<Part> = this
            .thoughts
            .into_iter()
            .flat_map(Thought::into_parts)
            .collect();
        if this.text.seen && !(this.text.is_empty() && this.outputs.is_some()) {
            parts.push(Part::Text(this.text.into_text()));
        }
        parts.extend(this.outputs);
        parts.extend(this.files);
        if !parts.is_empty() {
            answer::said(&mut response, parts, !this.over);
        }
        Answer {
            response,
            error: this.error,
            too_many: this.too_many,
            ..Answer::default()
        }
    }
}

impl Thought {
    /// The call, and what came of it. Both were counted when they came.
    fn into_parts(self) -> Vec<Part> {
        let mut counted = Room(usize::MAX);
        let input = self.input.into_text().kept;
        let mut call = json!({"type": "server_tool_call", "name": self.tool,
            "server_tool_call": {"type": self.tool}});
        call["id"] = Value::from(self.id.as_str());
        if let Some(input) = content::arguments(input, &mut counted) {
            call["server_tool_call"]["input"] = input;
        }
        let mut parts = vec![Part::Other(call)];
        if !self.observation.is_empty() {
            let mut told = json!({"type": "server_tool_call_response",
                "server_tool_call_response": {"type": self.tool,
                    "content": self.observation.into_text().kept}});
            told["id"] = Value::from(self.id);
            parts.push(Part::Other(told));
        }
        parts
    }
}
