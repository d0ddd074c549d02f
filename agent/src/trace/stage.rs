//! The stage: takes calls and what is known of processes, gives spans.

use super::applications::Applications;
use super::engine::Served;
use super::function::{self, Functions, Over};
use super::held::{Held, Told};
use super::parents::lineage::Lineage;
use super::parents::{self, Parents};
use super::path::Paths;
use super::retry::{Attempted, Retries};
use super::run::{self, RunOver};
use super::{http, redaction, resource, span};
use crate::model::call::{CallEvent, Operation};
use crate::model::engine::{EngineAsked, EngineRequest, EngineWork};
use crate::model::event::{ConnectionId, Socket};
use crate::model::exchange::{ExchangeId, Role};
use crate::model::framework::{Framework, RunContents, RunEvent, RunFacts, RunKind};
use crate::model::function::{Argument, CallName, FunctionCall, FunctionEnd, FunctionFacts};
use crate::model::process::{ContentPolicy, ProcessFacts, Share};
use crate::model::span::{Resource, Span};
use crate::model::stack::CallPath;
use crate::model::time::{BootTime, ClockOffset};
use crate::redact::{Redacted, Redactor};
use crate::vocabulary::Names;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Processes that are remembered; of more, those with the lowest ids are forgotten.
pub const MAX_PROCESSES: usize = 16_384;

/// What is known of a process, as spans need it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) resource: Arc<Resource>,
    /// See [`ProcessFacts::model_server`].
    pub(super) model_server: Option<String>,
    /// What is told of content now.
    pub(super) content: ContentPolicy,
    /// What is told of it when nothing is left out.
    asked: ContentPolicy,
    /// See [`ProcessFacts::network`].
    network: u64,
    /// See [`ProcessFacts::split_applications`].
    splits: bool,
    /// See [`ProcessFacts::share`].
    pub(super) share: Share,
}

impl Known {
    fn of(facts: &ProcessFacts, redactor: &Redactor) -> Self {
        let mut resource = resource::of(facts);
        redaction::attributes(redactor, &mut resource.attributes);
        Self {
            resource: Arc::new(resource),
            model_server: facts.model_server.clone(),
            content: facts.content.clone(),
            asked: facts.content.clone(),
            network: facts.network,
            splits: facts.split_applications,
            share: facts.share,
        }
    }

    /// Leaves content out, or tells it as it was asked for; whether there are events stays as it was.
    fn shed_content(&mut self, shed: bool) {
        self.content.clone_from(&self.asked);
        if shed {
            self.content.emit_events = Some(self.asked.emits_events());
            self.content.on_spans = false;
            self.content.on_events = false;
        }
    }

    /// Of a process of which nothing is known: then nothing says that content may be told.
    fn nothing(pid: u32, redactor: &Redactor) -> Self {
        let mut facts = ProcessFacts {
            pid,
            ..ProcessFacts::default()
        };
        facts.content.on_spans = false;
        Self::of(&facts, redactor)
    }
}

/// What was left out, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Spans given.
    pub spans: u64,
    /// Attempts that became spans of their own because too many waited.
    pub retries_evicted: u64,
    /// Requests whose parent was not looked for because there were too many.
    pub unrelated: u64,
    /// Spans that were told before their parent was known, because too many waited or they had
    /// waited too long.
    pub parents_given_up: u64,
    /// Python contexts forgotten because there were too many: what is made in them has no parent.
    pub contexts_evicted: u64,
    /// Processes forgotten because there were too many.
    pub processes_evicted: u64,
    /// Calls of functions that were not followed because there were too many.
    pub functions_refused: u64,
    /// Arguments of functions that are not told because there were too many.
    pub arguments_refused: u64,
    /// Functions forgotten because there were too many: their calls have no name.
    pub functions_evicted: u64,
    /// Call paths forgotten because there were too many.
    pub paths_evicted: u64,
    /// Calls, and runs of frameworks, told without the content that they were to be told with, since that
    /// was to be left out.
    pub calls_shed: u64,
    /// What engines said of requests that no served one named.
    pub engines_unclaimed: u64,
}

/// The trace stage.
#[derive(Debug)]
pub struct Spans {
    offset: ClockOffset,
    processes: BTreeMap<u32, Known>,
    retries: Retries,
    parents: Parents,
    functions: Functions,
    /// Runs of frameworks that were not told yet; with each, whether a call was told in its place.
    runs: BTreeMap<ExchangeId, (Box<RunFacts>, bool)>,
    /// What the run was given and gave whose end is told next.
    run_contents: Option<(ExchangeId, Box<RunContents>)>,
    /// What engines did in those.
    work: BTreeMap<ExchangeId, (Box<EngineAsked>, Box<EngineWork>)>,
    served: Served,
    paths: Paths,
    applications: Applications,
    /// Spans say how their parent was found.
    tell_source: bool,
    /// Content is left out, whatever is asked for.
    shed_content: bool,
    /// What else attributes are called.
    names: Names,
    over: Vec<Attempted>,
    held: Held,
    spans: Vec<Span>,
    counters: Counters,
    redactor: Redactor,
}

impl Spans {
    /// A stage whose ids are drawn under `seed`.
    #[must_use]
    pub fn new(seed: u128) -> Self {
        Self {
            offset: ClockOffset::default(),
            processes: BTreeMap::new(),
            retries: Retries::default(),
            parents: Parents::new(seed),
            functions: Functions::default(),
            runs: BTreeMap::new(),
            run_contents: None,
            work: BTreeMap::new(),
            served: Served::default(),
            paths: Paths::default(),
            applications: Applications::default(),
            tell_source: true,
            shed_content: false,
            names: Names::default(),
            over: Vec::new(),
            held: Held::default(),
            spans: Vec::new(),
            counters: Counters::default(),
            redactor: Redactor::default(),
        }
    }

    /// Redacts by these rules from here on.
    pub fn redact(&mut self, redactor: Redactor) {
        self.redactor = redactor;
    }

    /// What redacts.
    #[must_use]
    pub const fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// What was redacted so far.
    #[must_use]
    pub fn redacted(&self) -> Vec<Redacted> {
        self.redactor.counts()
    }

    /// Whether spans say how their parent was found; they do unless told otherwise.
    pub fn tell_source(&mut self, told: bool) {
        self.tell_source = told;
    }

    /// Spans have these names beside those of the conventions; none unless told otherwise.
    pub fn names(&mut self, names: Names) {
        self.names = names;
    }

    /// What the provider stage told.
    pub fn call(&mut self, event: CallEvent) {
        match event {
            CallEvent::Retrying {
                pid,
                exchange,
                attempt,
                fingerprint,
                start,
            } => {
                let retries = &mut self.retries;
                let first = retries.began(pid, exchange, attempt, fingerprint, start);
                if let Some(first) = first {
                    self.parents.attempt(exchange, first);
                }
            }
            CallEvent::Finished(call) => {
                let exchange = call.exchange;
                self.retries.ended(call, &mut self.over);
                self.emit();
                // It goes on under the name of the first one.
                if self.parents.is_attempt(exchange) {
                    self.parents.forget(exchange);
                    self.paths.take(exchange);
                }
            }
            CallEvent::Began(begun) => {
                let paired = self.parents.began(*begun);
                self.release(paired);
            }
            CallEvent::Passed(begun) => self.parents.passed(&begun),
            CallEvent::Over { exchange, told } => {
                if !told {
                    self.paths.take(exchange);
                }
                let known = self.parents.over(exchange, told);
                self.release_known(known);
            }
            CallEvent::Requested(request) => self.tell(Told::Request(request)),
        }
    }

    /// Nothing happened until now.
    pub fn tick(&mut self, now: BootTime) {
        if !self.retries.is_empty() {
            self.retries.tick(now, &mut self.over);
            self.emit();
        }
        self.served.tick(now);
        let parents = &self.parents;
        for told in self.held.tick(now, |id| parents.awaits_answer(id)) {
            let given_up = self.parents.awaits_answer(told.exchange());
            self.counters.parents_given_up += u64::from(given_up);
            self.write(told);
        }
    }

    /// What is told of the contexts of Python processes goes here, in order with the bytes.
    pub fn lineage(&mut self) -> &mut Lineage {
        self.parents.lineage()
    }

    /// A context was copied by this thread of a process: in this generator or coroutine, nearer than
    /// any plain function.
    pub fn copied(
        &mut self,
        thread: (u32, u32),
        parent: Option<u64>,
        child: u64,
        within: Option<CallName>,
    ) {
        self.parents.copied(thread, parent, child, within);
    }

    /// Something is written to the client of a served connection, on which requests are answered
    /// one after the other.
    pub fn answers(&mut self, connection: ConnectionId) {
        let known = self.parents.answers(connection);
        self.release_known(known);
    }

    /// What is known of the socket of a connection, before its first request or later.
    pub fn socket(&mut self, connection: ConnectionId, socket: &Socket) {
        let known = self.processes.get(&connection.pid);
        let network = known.map_or(0, |known| known.network);
        for paired in self.parents.socket(connection, network, socket) {
            self.release(Some(paired));
        }
    }

    /// From where in its program a request is sent, whose head was written just now.
    pub fn call_path(&mut self, request: ExchangeId, path: Box<CallPath>) {
        self.paths.know(request, path);
    }

    /// A connection is gone. Call it after its last calls were handed over.
    pub fn closed(&mut self, connection: ConnectionId) {
        let known = self.parents.closed(connection);
        self.release_known(known);
    }

    /// What is known of a process, from here on.
    pub fn process(&mut self, facts: &ProcessFacts) {
        if !self.processes.contains_key(&facts.pid) && self.processes.len() >= MAX_PROCESSES {
            self.processes.pop_first();
            self.counters.processes_evicted += 1;
        }
        let mut known = Known::of(facts, &self.redactor);
        known.shed_content(self.shed_content);
        self.parents
            .process(facts.pid, facts.runtime_name.is_some());
        self.processes.insert(facts.pid, known);
    }

    /// The resource of what a process does, as far as it is known.
    #[must_use]
    pub fn resource(&self, pid: u32) -> Option<Arc<Resource>> {
        self.processes
            .get(&pid)
            .map(|known| Arc::clone(&known.resource))
    }

    /// Whether spans tell content of what a process does, as far as that is known now.
    #[must_use]
    pub fn tells_content(&self, pid: u32) -> bool {
        let known = self.processes.get(&pid);
        known.is_some_and(|known| known.content.on_spans)
    }

    /// Leaves out the content of what is told from here on, or not any more.
    pub fn shed_content(&mut self, shed: bool) {
        self.shed_content = shed;
        for known in self.processes.values_mut() {
            known.shed_content(shed);
        }
    }

    /// A process is gone. Call it after its connections' last calls were handed over.
    pub fn process_exit(&mut self, pid: u32) {
        self.retries.process_exit(pid, &mut self.over);
        self.emit();
        for told in self.held.release(|told| told.pid() == pid) {
            self.write(told);
        }
        self.served.process_exit(pid);
        self.parents.process_exit(pid);
        self.applications.process_exit(pid);
        self.processes.remove(&pid);
    }

    /// What is known of a function that is watched.
    pub fn function(&mut self, facts: &FunctionFacts) {
        self.functions.know(facts);
    }

    /// A function begins.
    ///
    /// `depth` is how many watched plain functions of its thread are around it; none of a generator
    /// or coroutine, which stands by itself. `within` is the generator or coroutine around it,
    /// nearer than any plain function, and the context in which it begins.
    pub fn function_began(
        &mut self,
        id: ExchangeId,
        call: FunctionCall,
        depth: Option<u32>,
        within: (Option<CallName>, Option<u64>),
    ) {
        if let Some(depth) = depth {
            for over in self.functions.lost(call, depth) {
                self.function_over(over);
            }
        }
        if let Some(begun) = self.functions.began(id, call, depth.is_none()) {
            let generator = depth.is_none().then(|| call.name());
            self.parents.called(begun, generator, within);
        }
    }

    /// The generator or coroutine in which a request is made whose head was written just now.
    pub fn within(&mut self, request: ExchangeId, call: CallName) {
        self.parents.within(request, call);
    }

    /// An argument of a function that began just now. Where content is not told it is not kept.
    pub fn function_argument(&mut self, call: FunctionCall, index: u32, value: &Argument<'_>) {
        if self.tells_content(call.pid) {
            self.functions.argument(call, index, value);
        }
    }

    /// What is inside of its arguments; likewise.
    pub fn function_values(&mut self, call: FunctionCall, values: &[Option<Json>]) {
        if self.tells_content(call.pid) {
            for (index, value) in (0..).zip(values) {
                if let Some(value) = value {
                    self.functions.value(call, index, value);
                }
            }
        }
    }

    /// A function is over.
    pub fn function_ended(&mut self, call: FunctionCall, how: &FunctionEnd<'_>, time: BootTime) {
        for over in self.functions.ended(call, how, time) {
            self.function_over(over);
        }
    }

    /// A process is gone: its functions do not end any more.
    pub fn functions_exit(&mut self, pid: u32, time: BootTime) {
        for over in self.functions.stop(Some(pid), time) {
            self.function_over(over);
        }
    }

    /// Nothing more will come of functions.
    pub fn functions_stop(&mut self, time: BootTime) {
        for over in self.functions.stop(None, time) {
            self.function_over(over);
        }
    }

    /// Whether a process is known to be a model server.
    #[must_use]
    pub fn serves_models(&self, pid: u32) -> bool {
        let known = self.processes.get(&pid);
        known.is_some_and(|known| known.model_server.is_some())
    }

    /// A request is over that an engine was asked for by what is served in this process. Call it before
    /// its answer is handed over.
    pub fn engine(&mut self, pid: u32, time: BootTime, request: EngineRequest) {
        self.served.know(pid, time, request);
    }

    /// What a framework was found to do.
    pub fn run(&mut self, event: RunEvent) {
        match event {
            RunEvent::Began(facts) => {
                let inside = facts.inside;
                let mut run = parents::Run::new(facts.kind.is_model(), inside, facts.is_generator);
                run.many = matches!(facts.kind, RunKind::Embedding | RunKind::Reranker);
                let begun = run::begun(&facts);
                self.parents.ran(begun, facts.parent, run, facts.context);
                if let Some(application) = self.application(&facts) {
                    self.parents.serves(facts.exchange, application);
                }
                self.runs.insert(facts.exchange, (facts, false));
            }
            RunEvent::Agent(run) => {
                if let Some((facts, _)) = self.runs.get_mut(&run) {
                    facts.kind = RunKind::Agent;
                }
            }
            RunEvent::Streams(run) => self.parents.streams(run),
            RunEvent::Left(run) => self.parents.leaves(run),
            RunEvent::Contents {
                exchange,
                mut contents,
            } => {
                let run = self.runs.get(&exchange);
                if !run.is_some_and(|(run, _)| self.tells_content(run.pid)) {
                    contents.leave_out();
                }
                self.run_contents = Some((exchange, contents));
            }
            RunEvent::Worked {
                exchange,
                asked,
                work,
            } => {
                if self.runs.contains_key(&exchange) {
                    self.work.insert(exchange, (asked, work));
                }
            }
            RunEvent::Ended {
                exchange,
                end,
                error,
                defects,
            } => {
                self.parents.leaves(exchange);
                let contents = self.run_contents.take();
                let contents = contents.filter(|(of, _)| *of == exchange);
                if let Some((facts, _)) = self.runs.get(&exchange) {
                    let many = matches!(facts.kind, RunKind::Embedding | RunKind::Reranker);
                    self.tell(Told::Run(Box::new(RunOver {
                        facts: facts.clone(),
                        end,
                        error,
                        defects,
                        contents: contents.map(|(_, contents)| contents),
                    })));
                    // What may have been one of several requests is the only one.
                    self.release_known(many);
                }
            }
        }
    }

    /// The application that a run is that of, where that is to be a service of its own: a workflow of Dify.
    fn application(&self, run: &RunFacts) -> Option<Arc<str>> {
        let splits = || {
            self.processes
                .get(&run.pid)
                .is_some_and(|known| known.splits)
        };
        let is_one = run.framework == Framework::Dify && run.parent.is_none() && splits();
        let name = run.name.as_deref().filter(|_| is_one)?;
        Some(name.into())
    }

    /// Gives a span, as that of the application that it is done in.
    fn give(&mut self, mut span: Span, application: Option<Arc<str>>) {
        if let Some(name) = application {
            let key = (span.pid, &name);
            let own = self
                .applications
                .resource(key, &span.resource, &self.redactor);
            span.resource = own;
        }
        self.spans.push(span);
        self.counters.spans += 1;
    }

    fn function_over(&mut self, over: Over) {
        self.parents.returned(&over.begun);
        self.tell(Told::Function(Box::new(over)));
    }

    /// The offset of wall time from here on.
    pub fn clock(&mut self, offset: ClockOffset) {
        self.offset = offset;
    }

    /// Nothing more will come.
    pub fn flush(&mut self) {
        self.retries.flush(&mut self.over);
        self.emit();
        for told in self.held.release(|_| true) {
            self.write(told);
        }
    }

    /// The spans made since the last time.
    pub fn drain(&mut self) -> impl Iterator<Item = Span> + '_ {
        self.spans.drain(..)
    }

    /// Whether there is something to drain.
    #[must_use]
    pub fn has_spans(&self) -> bool {
        !self.spans.is_empty()
    }

    /// What was left out so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            retries_evicted: self.retries.evicted,
            unrelated: self.parents.refused,
            contexts_evicted: self.parents.contexts_evicted(),
            functions_refused: self.functions.refused,
            arguments_refused: self.functions.arguments_refused,
            functions_evicted: self.functions.evicted,
            paths_evicted: self.paths.evicted,
            engines_unclaimed: self.served.unclaimed,
            ..self.counters
        }
    }

    fn emit(&mut self) {
        for attempted in std::mem::take(&mut self.over) {
            self.tell(Told::Call(Box::new(attempted)));
        }
    }

    /// Makes a span, now or when the other end of its connection was seen.
    fn tell(&mut self, told: Told) {
        if self.parents.awaits(told.exchange()) {
            for told in self.held.push(told) {
                self.counters.parents_given_up += u64::from(self.parents.awaits(told.exchange()));
                self.write(told);
            }
        } else {
            self.write(told);
        }
    }

    /// Makes the span of a served request that need not wait any more.
    fn release(&mut self, paired: Option<ExchangeId>) {
        let Some(paired) = paired.filter(|_| !self.held.is_empty()) else {
            return;
        };
        // Its client may wait for an answer yet.
        let parents = &self.parents;
        let free = |told: &Told| told.exchange() == paired && !parents.awaits(paired);
        for told in self.held.release(free) {
            self.write(told);
        }
    }

    /// Makes the spans that wait and need not, once something became `known`.
    fn release_known(&mut self, known: bool) {
        if !known || self.held.is_empty() {
            return;
        }
        let parents = &self.parents;
        for told in self.held.release(|told| !parents.awaits(told.exchange())) {
            self.write(told);
        }
    }

    fn write(&mut self, told: Told) {
        let pid = told.pid();
        let unknown;
        let known = match self.processes.get(&pid) {
            Some(known) => known,
            None => {
                unknown = Known::nothing(pid, &self.redactor);
                &unknown
            }
        };
        if self.shed_content && matches!(told, Told::Call(_)) {
            let asked = known.asked.on_spans || known.asked.on_events;
            self.counters.calls_shed += u64::from(asked);
        }
        let exchange = told.exchange();
        let mut merged = None;
        let mut in_run = false;
        let mut engine = None;
        let place = match &told {
            Told::Call(attempted) => {
                if attempted.call.role == Role::Server {
                    let work = self.served.take(&attempted.call);
                    engine = work.map(|work| (None, Box::new(work)));
                }
                let begun = span::begun(&attempted.call);
                merged = self.parents.merged(exchange).filter(|run| {
                    let run = self.runs.get(run);
                    run.is_some_and(|(run, _)| does(run.kind, attempted.call.operation))
                });
                match merged {
                    Some(run) => {
                        in_run = true;
                        self.parents.take_merged(&begun, run)
                    }
                    None => {
                        in_run = self.parents.part(exchange);
                        self.parents.take(&begun)
                    }
                }
            }
            Told::Request(request) => {
                in_run = self.parents.part(exchange);
                self.parents.take(&request.begun)
            }
            Told::Run(over) => {
                let work = self.work.remove(&exchange);
                engine = work.map(|(asked, work)| (Some(asked), work));
                let told = self.runs.remove(&exchange);
                if told.is_none_or(|(_, told)| told) {
                    self.parents.forget(exchange);
                    return;
                }
                if self.shed_content && known.asked.on_spans {
                    let had = over.contents.as_ref().is_some_and(|c| c.has_content());
                    self.counters.calls_shed += u64::from(had);
                }
                self.parents.alone(exchange);
                self.parents.take(&run::begun(&over.facts))
            }
            Told::Function(over) => self.parents.take(&over.begun),
        };
        let run = merged.and_then(|run| self.runs.get_mut(&run));
        let run = run.map(|(facts, told)| {
            *told = true;
            &**facts
        });
        let application = place.application.clone();
        let at = span::At {
            place,
            offset: self.offset,
            tell_source: self.tell_source,
            names: self.names,
            path: self.paths.take(told.exchange()),
            engine,
        };
        let redactor = &self.redactor;
        let span = match told {
            Told::Call(attempted) => span::of_call(at, known, *attempted, run, redactor),
            Told::Run(over) => run::of_run(at, known, *over, redactor),
            Told::Request(request) => http::of_request(at, known, &request, redactor),
            Told::Function(over) => {
                let facts = self.functions.facts(over.function);
                function::of_function(at, known, facts, *over, redactor)
            }
        };
        self.give(span, application);
        // The run that it was, or was a part of, need not wait any longer.
        self.release_known(in_run);
    }
}

/// Whether this is what a run of this kind asks a model for.
const fn does(kind: RunKind, operation: Operation) -> bool {
    match kind {
        RunKind::Chat | RunKind::Completion => matches!(
            operation,
            Operation::Chat | Operation::TextCompletion | Operation::GenerateContent
        ),
        RunKind::Embedding => matches!(operation, Operation::Embeddings),
        RunKind::Reranker => matches!(operation, Operation::Rerank),
        RunKind::Chain | RunKind::Agent | RunKind::Tool | RunKind::Retriever => false,
    }
}
