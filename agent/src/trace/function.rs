//! Calls of functions, from their beginning to their end, and their spans.

use super::attributes::Set;
use super::http::OTHER;
use super::span::At;
use super::stage::Known;
use crate::model::defect::Defects;
use crate::model::event::ConnectionId;
use crate::model::exchange::{ExchangeId, Role};
use crate::model::function::{Argument, CallName, FunctionCall, FunctionEnd, FunctionFacts};
use crate::model::process::ContentPolicy;
use crate::model::request::Begun;
use crate::model::snapshot::without_classes;
use crate::model::span::{Span, SpanKind, Value};
use crate::model::time::BootTime;
use crate::model::weight;
use crate::redact::Redactor;
use crate::vocabulary::attr;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Calls under way that are followed, of all threads.
pub(super) const MAX_OPEN: usize = 65_536;

/// Most bytes that the arguments of calls under way take, of all threads; more are not told.
const MAX_ARGUMENT_BYTES: usize = 64 << 20;

/// What an argument takes beside its text.
const ARGUMENT_BYTES: usize = 64;

/// Functions of which is remembered what they are; of more, the oldest are forgotten.
const MAX_KNOWN: usize = 16_384;

/// A function of which nothing is known.
const UNNAMED: &str = "function";

/// What an argument is told as.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Value(Value),
    /// A text that is not redacted yet, and how many of its characters were not read.
    Text(String, u64),
    /// What is inside of it, not redacted yet, and the bytes that it takes.
    Inside(Json, usize),
}

impl Told {
    fn bytes(&self) -> usize {
        let text = match self {
            Self::Text(text, _) => text.len(),
            Self::Value(Value::Str(text)) => text.len(),
            Self::Value(_) => 0,
            Self::Inside(_, bytes) => *bytes,
        };
        ARGUMENT_BYTES + text
    }
}

/// A call under way.
#[derive(Debug)]
struct Open {
    begun: Begun,
    call: FunctionCall,
    arguments: BTreeMap<u32, Told>,
}

/// A call that is over.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) begun: Begun,
    pub(super) function: u32,
    arguments: BTreeMap<u32, Told>,
    pub(super) end: BootTime,
    raised: Option<String>,
    /// A generator or coroutine was closed.
    closed: bool,
    defects: Defects,
}

impl Over {
    /// The memory that it holds, roughly.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.arguments.values().map(Told::bytes).sum::<usize>()
    }
}

impl Open {
    fn over(self, end: BootTime, defects: Defects) -> Over {
        Over {
            begun: self.begun,
            function: self.call.function,
            arguments: self.arguments,
            end,
            raised: None,
            closed: false,
            defects,
        }
    }

    fn ended(self, how: &FunctionEnd<'_>, time: BootTime) -> Over {
        let defects = match how {
            FunctionEnd::Returned | FunctionEnd::Raised(_) | FunctionEnd::Closed => Defects::NONE,
            FunctionEnd::Late => Defects::END_LATE,
            FunctionEnd::ThreadEnded => Defects::THREAD_ENDED,
        };
        let mut over = self.over(time, defects);
        over.closed = *how == FunctionEnd::Closed;
        if let FunctionEnd::Raised(name) = how {
            // Its name may be out of the kernel's reach.
            over.raised = Some(if name.is_empty() {
                OTHER.to_owned()
            } else {
                String::from_utf8_lossy(name).into_owned()
            });
        }
        over
    }
}

/// The functions that are watched, and their calls under way.
#[derive(Debug, Default)]
pub(super) struct Functions {
    known: BTreeMap<u32, FunctionFacts>,
    /// By process and thread, the outermost first.
    open: BTreeMap<(u32, u32), Vec<Open>>,
    /// Generators and coroutines.
    generators: BTreeMap<CallName, Open>,
    count: usize,
    /// What the arguments of those take.
    bytes: usize,
    /// Calls not followed because there were too many.
    pub(super) refused: u64,
    /// Arguments not told because there were too many.
    pub(super) arguments_refused: u64,
    /// Functions forgotten because there were too many.
    pub(super) evicted: u64,
}

impl Functions {
    /// What a function is.
    pub(super) fn know(&mut self, facts: &FunctionFacts) {
        if !self.known.contains_key(&facts.id) && self.known.len() >= MAX_KNOWN {
            self.known.pop_first();
            self.evicted += 1;
        }
        self.known.insert(facts.id, facts.clone());
    }

    /// What is known of a function.
    pub(super) fn facts(&self, function: u32) -> Option<&FunctionFacts> {
        self.known.get(&function)
    }

    /// Those calls of a thread whose end was lost, as one shows that begins within so many.
    pub(super) fn lost(&mut self, call: FunctionCall, depth: u32) -> Vec<Over> {
        let Some(open) = self.open.get_mut(&(call.pid, call.tid)) else {
            return Vec::new();
        };
        let lost = open.split_off(open.len().min(depth as usize));
        self.leave(&lost);
        over_from_inside(lost, call.began, Defects::END_LOST)
    }

    /// A call begins, which may be a generator or coroutine. None when it is not followed.
    pub(super) fn began(
        &mut self,
        id: ExchangeId,
        call: FunctionCall,
        generator: bool,
    ) -> Option<Begun> {
        if self.count >= MAX_OPEN {
            self.refused += 1;
            return None;
        }
        let begun = Begun {
            exchange: id,
            // It goes over none: what names the call stands in its place.
            connection: ConnectionId {
                pid: call.pid,
                ssl: u64::from(call.tid),
                generation: call.began.0,
            },
            role: Role::Client,
            tid: call.tid,
            start: call.began,
            propagated: None,
            stream: None,
        };
        let open = Open {
            begun: begun.clone(),
            call,
            arguments: BTreeMap::new(),
        };
        self.count += 1;
        if generator {
            if let Some(same) = self.generators.insert(call.name(), open) {
                // A thread begins no two at one time.
                self.leave(&[same]);
            }
        } else {
            self.open
                .entry((call.pid, call.tid))
                .or_default()
                .push(open);
        }
        Some(begun)
    }

    /// An argument of a call.
    pub(super) fn argument(&mut self, call: FunctionCall, index: u32, value: &Argument<'_>) {
        self.told(call, index, || told(value));
    }

    /// What is inside of an argument of a call.
    pub(super) fn value(&mut self, call: FunctionCall, index: u32, value: &Json) {
        let inside = || {
            let mut value = value.clone();
            without_classes(&mut value);
            let bytes = weight::value(&value);
            Told::Inside(value, bytes)
        };
        self.told(call, index, inside);
    }

    fn told(&mut self, call: FunctionCall, index: u32, value: impl FnOnce() -> Told) {
        let open = match self.generators.get_mut(&call.name()) {
            None => {
                let open = self.open.get_mut(&(call.pid, call.tid));
                open.and_then(|open| open.last_mut())
            }
            open => open,
        };
        // There are as many as there are names for them.
        if let Some(open) = open
            && open.call == call
            && let Some(facts) = self.known.get(&call.function)
            && (index as usize) < facts.arguments.len()
        {
            let value = value();
            if self.bytes + value.bytes() > MAX_ARGUMENT_BYTES {
                self.arguments_refused += 1;
                return;
            }
            self.bytes += value.bytes();
            if let Some(before) = open.arguments.insert(index, value) {
                self.bytes -= before.bytes();
            }
        }
    }

    /// These are not under way any more.
    fn leave(&mut self, calls: &[Open]) {
        self.count -= calls.len();
        let arguments = calls.iter().flat_map(|open| open.arguments.values());
        self.bytes -= arguments.map(Told::bytes).sum::<usize>();
    }

    /// A call is over: it, and those within it whose end was lost.
    pub(super) fn ended(
        &mut self,
        call: FunctionCall,
        how: &FunctionEnd<'_>,
        time: BootTime,
    ) -> Vec<Over> {
        if let Some(open) = self.generators.get(&call.name())
            && open.call == call
        {
            let own = self.generators.remove(&call.name());
            self.leave(own.as_slice());
            return own.map(|own| own.ended(how, time)).into_iter().collect();
        }
        let key = (call.pid, call.tid);
        let Some(open) = self.open.get_mut(&key) else {
            return Vec::new();
        };
        // Its beginning may have been lost.
        let Some(at) = open.iter().rposition(|open| open.call == call) else {
            return Vec::new();
        };
        let lost = open.split_off(at + 1);
        let own = open.pop();
        if open.is_empty() {
            self.open.remove(&key);
        }
        self.leave(&lost);
        self.leave(own.as_slice());
        let mut all = over_from_inside(lost, time, Defects::END_LOST);
        all.extend(own.map(|own| own.ended(how, time)));
        all
    }

    /// The calls under way, of one process or of all: their end will not be seen.
    pub(super) fn stop(&mut self, pid: Option<u32>, time: BootTime) -> Vec<Over> {
        let range = match pid {
            Some(pid) => (pid, 0)..=(pid, u32::MAX),
            None => (0, 0)..=(u32::MAX, u32::MAX),
        };
        let keys: Vec<_> = self.open.range(range).map(|(key, _)| *key).collect();
        let mut all = Vec::new();
        for key in keys {
            let open = self.open.remove(&key).unwrap_or_default();
            self.leave(&open);
            all.extend(over_from_inside(open, time, Defects::UNFINISHED));
        }
        let names: Vec<_> = self
            .generators
            .keys()
            .filter(|name| pid.is_none_or(|pid| name.pid == pid))
            .copied()
            .collect();
        let open = names.iter().filter_map(|name| self.generators.remove(name));
        let mut open: Vec<_> = open.collect();
        open.sort_by_key(|open| open.call.began);
        self.leave(&open);
        all.extend(over_from_inside(open, time, Defects::UNFINISHED));
        all
    }
}

fn over_from_inside(open: Vec<Open>, end: BootTime, defects: Defects) -> Vec<Over> {
    let inside = open.into_iter().rev();
    inside.map(|open| open.over(end, defects)).collect()
}

/// A value that JSON or an attribute has no word for is a text in angle brackets.
fn told(value: &Argument<'_>) -> Told {
    Told::Value(match value {
        Argument::None => "None".into(),
        Argument::Bool(value) => (*value).into(),
        Argument::Int(value) => (*value).into(),
        Argument::Float(value) if value.is_finite() => (*value).into(),
        Argument::Float(value) => value.to_string().to_lowercase().into(),
        Argument::Text {
            bytes,
            width,
            characters,
        } => {
            let text = characters_of(bytes, *width);
            let read = text.chars().count() as u64;
            return Told::Text(text, characters.saturating_sub(read));
        }
        Argument::Other(name) => format!("<{}>", String::from_utf8_lossy(name)).into(),
    })
}

/// Characters of CPython's own widths; a lone surrogate is U+FFFD.
fn characters_of(bytes: &[u8], width: usize) -> String {
    let code = |chunk: &[u8]| {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        u32::from_le_bytes(word)
    };
    let codes = bytes.chunks_exact(width.max(1)).map(code);
    codes
        .map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// What is inside of an argument: redacted, its texts cut, as JSON; cut itself where that is not enough.
fn inside(mut value: Json, policy: &ContentPolicy, redactor: &Redactor) -> Value {
    redactor.value_document(&mut value);
    redactor.json(&mut value, true);
    let limit = policy.max_attribute_chars.unwrap_or(usize::MAX);
    shorten(&mut value, policy.max_message_chars.min(limit));
    let mut text = match value {
        // A number that no attribute has, or what no JSON has a word for.
        Json::String(text) => text,
        other => other.to_string(),
    };
    if let Some((at, _)) = text.char_indices().nth(limit) {
        text.truncate(at);
    }
    text.into()
}

fn shorten(value: &mut Json, limit: usize) {
    match value {
        Json::String(text) => {
            if let Some((at, _)) = text.char_indices().nth(limit) {
                text.truncate(at);
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|v| shorten(v, limit)),
        Json::Object(all) => all.values_mut().for_each(|v| shorten(v, limit)),
        Json::Number(_) | Json::Bool(_) | Json::Null => {}
    }
}

/// The text of an argument: redacted, then cut.
fn fitting(text: &str, missing: u64, policy: &ContentPolicy, redactor: &Redactor) -> String {
    let mut text = text.to_owned();
    redactor.redact(&mut text, missing > 0);
    let limit = policy.max_attribute_chars.unwrap_or(usize::MAX);
    let limit = limit.min(policy.max_message_chars);
    if let Some((at, _)) = text.char_indices().nth(limit) {
        text.truncate(at);
    } else if missing > 0 {
        text.push('…');
    }
    text
}

/// The span of a call.
pub(super) fn of_function(
    at: At,
    known: &Known,
    facts: Option<&FunctionFacts>,
    over: Over,
    redactor: &Redactor,
) -> Span {
    let policy = &known.content;
    let mut set = Set::new(policy.max_attribute_chars, redactor);
    if let Some(facts) = facts {
        let name = format!("{}.{}", facts.module, facts.name);
        set.add(attr::CODE_FUNCTION_NAME, name);
        if !facts.file.is_empty() {
            set.add(attr::CODE_FILE_PATH, facts.file.clone());
            set.add(attr::CODE_LINE_NUMBER, i64::from(facts.line));
        }
        // What a function is given is content.
        for (index, value) in over.arguments.iter().filter(|_| policy.on_spans) {
            let Some(name) = facts.arguments.get(*index as usize) else {
                continue;
            };
            let value = match value {
                Told::Value(value) => value.clone(),
                Told::Text(text, missing) => fitting(text, *missing, policy, redactor).into(),
                Told::Inside(value, _) => inside(value.clone(), policy, redactor),
            };
            set.add_named(format!("{}{name}", attr::FUNCTION_ARGUMENT), value);
        }
    }
    set.may(attr::ERROR_TYPE, over.raised.clone());
    if over.closed {
        set.add(attr::FUNCTION_CLOSED, true);
    }
    if !over.defects.is_none() {
        let names: Vec<String> = over.defects.names().map(str::to_owned).collect();
        set.add(attr::DEFECTS, names);
    }
    at.source(&mut set);
    let start = at.offset.wall(over.begun.start);
    Span {
        trace_id: at.place.trace,
        span_id: at.place.span,
        parent_span_id: at.place.parent.map(|(span, _)| span),
        // Half of it would be another one.
        trace_state: at.place.state.filter(|s| redactor.text(s) == s.as_str()),
        name: facts.map_or_else(|| UNNAMED.to_owned(), |facts| facts.name.clone()),
        kind: SpanKind::Internal,
        start,
        end: at.offset.wall(over.end).max(start),
        error: over.raised.map(|_| String::new()),
        attributes: set.done(),
        events: Vec::new(),
        chunk_gaps: None,
        pid: over.begun.connection.pid,
        resource: known.resource.clone(),
        sampled: known.share.has(at.place.trace),
    }
}

#[cfg(test)]
#[path = "function_tests.rs"]
mod tests;
