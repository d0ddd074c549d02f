//! DashScope's inference API over WebSocket (`/api-ws/v1/inference`): tasks, one after the other or
//! several at a time. Each is a call: recognition and synthesis of speech, generation.
//!
//! Source: Model Studio's API reference ("Paraformer", "CosyVoice", "Sambert": WebSocket API; client
//! events and server events) and the `dashscope` library, 1.25.

use super::socket_task::SocketTask;
use super::{PROVIDER, error};
use crate::model::call::{Api, CallError, Operation};
use crate::model::defect::Defects;
use crate::model::time::BootTime;
use crate::model::websocket::{Ending, Message, Payload, Sender};
use crate::provider::json::{self, Object, field};
use crate::provider::sockets::{
    Begin, Found, MAX_TURNS, Output, Session, SocketShape, UnderWay, Unheard, failure,
};
use crate::provider::target::Target;

/// The shape.
#[derive(Debug)]
pub(in crate::provider) struct Inference;

impl SocketShape for Inference {
    fn route(&self, target: &Target<'_>) -> Option<Found> {
        target
            .path
            .ends_with("/api-ws/v1/inference")
            .then(|| self.unseen())
            .map(|found| Found {
                midway: false,
                ..found
            })
    }

    fn is_own(&self, sender: Sender, root: &Object) -> bool {
        let Some(header) = field::object(root, "header") else {
            return false;
        };
        let what = match sender {
            Sender::Client => "action",
            Sender::Server => "event",
        };
        field::nonempty(header, "task_id").is_some()
            && field::str(header, what).is_some_and(|name| name.contains('-'))
    }

    fn unseen(&self) -> Found {
        Found {
            operation: Operation::GenerateContent,
            api: Api::DashScopeInference,
            provider: PROVIDER,
            fixed: false,
            model: None,
            midway: true,
        }
    }

    fn refusal(&self, status: u16, document: Option<&Object>, body: &[u8]) -> CallError {
        error::of_status(status, document, body)
    }

    fn session(&self, found: &Found, text_bytes: usize) -> Box<dyn Session> {
        Box::new(InferenceSession {
            text_bytes,
            tasks: Vec::new(),
            missed: if found.midway {
                Defects::ATTACHED_MIDWAY
            } else {
                Defects::NONE
            },
            unheard: Unheard::new(found.midway),
        })
    }
}

/// A connection.
#[derive(Debug)]
struct InferenceSession {
    text_bytes: usize,
    /// Those under way, in the order in which they began.
    tasks: Vec<SocketTask>,
    /// What is missing that may be the beginning of a task.
    missed: Defects,
    /// Sides of which nothing was heard since an attach in mid-connection.
    unheard: Unheard,
}

impl InferenceSession {
    fn text(&mut self, text: &[u8], message: &Message<'_>, out: &mut Output<'_>) {
        let Some(mut root) = json::read(text).map(|d| d.root) else {
            if message.sender == Sender::Server {
                for task in &mut self.tasks {
                    task.defects.add(Defects::EVENT_BROKEN);
                }
            }
            return;
        };
        let Some(header) = field::take_object(&mut root, "header") else {
            return;
        };
        let payload = field::take_object(&mut root, "payload").unwrap_or_default();
        let Some(id) = field::nonempty(&header, "task_id") else {
            return;
        };
        let room = self.text_bytes.min(out.left);
        match message.sender {
            Sender::Client => match field::str(&header, "action") {
                Some("run-task") => {
                    let streaming = field::str(&header, "streaming");
                    let task = SocketTask::run(id, streaming, payload, message, room);
                    self.open(task, message.time, out);
                    out.began(Begin::with(message));
                }
                Some("continue-task") => {
                    if let Some(task) = self.task(id) {
                        task.proceed(&payload, out.left);
                    }
                }
                _ => {}
            },
            Sender::Server => {
                if self.task(id).is_none() && !self.missed.is_none() {
                    let half = SocketTask::half(id, message, self.missed, room);
                    self.open(half, message.time, out);
                }
                let Some(at) = self.tasks.iter().position(|t| t.id() == id) else {
                    return;
                };
                match field::str(&header, "event") {
                    Some("result-generated") => {
                        self.tasks[at].result(payload, message, out.left);
                    }
                    Some("task-finished") => {
                        let mut task = self.tasks.remove(at);
                        task.result(payload, message, out.left);
                        out.over(task.over(message.time, None));
                    }
                    Some("task-failed") => {
                        let mut task = self.tasks.remove(at);
                        task.failed(&header);
                        out.over(task.over(message.time, None));
                    }
                    _ => {}
                }
            }
        }
    }

    fn task(&mut self, id: &str) -> Option<&mut SocketTask> {
        self.tasks.iter_mut().find(|t| t.id() == id)
    }

    fn open(&mut self, task: SocketTask, time: BootTime, out: &mut Output<'_>) {
        if self.tasks.len() >= MAX_TURNS {
            let mut oldest = self.tasks.remove(0);
            oldest.defects.add(Defects::RESPONSE_CUT);
            out.over(oldest.over(time, None));
        }
        self.tasks.push(task);
    }
}

impl Session for InferenceSession {
    fn message(&mut self, message: &Message<'_>, out: &mut Output<'_>) {
        self.unheard.heard(message.sender);
        match message.payload {
            Payload::Text(text) => self.text(text, message, out),
            // It names no task: it is of the one under way.
            Payload::Binary => {
                if let [only] = self.tasks.as_mut_slice() {
                    only.sound(message);
                }
            }
        }
    }

    fn gap(&mut self, sender: Sender, _: &mut Output<'_>) {
        let defect = self.unheard.gap(sender);
        self.missed.add(defect);
        for task in &mut self.tasks {
            task.interrupted(defect);
        }
    }

    fn ended(&mut self, time: BootTime, ending: Ending, stopping: bool, out: &mut Output<'_>) {
        let failure = failure(ending).filter(|_| !stopping);
        for mut task in self.tasks.drain(..) {
            if !task.is_answered() {
                task.defects.add(Defects::RESPONSE_CUT);
            }
            out.over(task.over(time, failure.clone()));
        }
    }

    fn held(&self) -> usize {
        self.tasks.iter().map(SocketTask::held).sum()
    }

    fn under_way(&self) -> Vec<UnderWay<'_>> {
        self.tasks
            .iter()
            .filter_map(SocketTask::under_way)
            .collect()
    }
}
