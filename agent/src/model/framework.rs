//! Runs of agent frameworks: what the kernel tells at their functions, and what that comes to.

use serde_json::Value as Json;

use super::call::{CallRequest, CallResponse};
use super::defect::Defects;
use super::engine::{EngineAsked, EngineWork};
use super::exchange::ExchangeId;
use super::time::BootTime;

/// What a framework does with a run, as it was copied from the process.
#[derive(Clone, Debug, PartialEq)]
pub struct RunHit<'a> {
    /// Process (thread group) id in the initial PID namespace.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// When.
    pub time: BootTime,
    /// What it does.
    pub what: RunStep<'a>,
}

/// What it is that a framework does.
#[derive(Clone, Debug, PartialEq)]
pub enum RunStep<'a> {
    /// Something that speaks for a run is made: when the run begins, or later as a copy.
    Begins(Box<RunStart<'a>>),
    /// A run is over: what speaks for it was told its result.
    Ends {
        /// See [`RunStart::manager`].
        manager: u64,
    },
    /// What speaks for an asynchronous run is told something.
    Told {
        /// See [`RunStart::manager`].
        manager: u64,
        /// Qualified name of the method that it is told by.
        method: &'a [u8],
        /// Class of what it is told.
        class: &'a [u8],
    },
    /// An exception passes the frame in which runs began.
    Raised {
        /// See [`RunStart::owner`].
        owner: u64,
        /// See [`RunStart::owner_code`].
        owner_code: u64,
        /// Class of the exception; empty when it was not read.
        class: &'a [u8],
    },
    /// What speaks for a run is freed: nobody can tell its end any more.
    Gone {
        /// See [`RunStart::manager`].
        manager: u64,
        /// The function that had it made returned just now.
        returned: bool,
    },
}

/// A run that may begin. Names are those of CPython's types and code objects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunStart<'a> {
    /// Address of the object that speaks for the run (its run manager).
    pub manager: u64,
    /// Id of the run.
    pub run: Option<u128>,
    /// Id of the run that it belongs to.
    pub parent: Option<u128>,
    /// The innermost frame around the owner in which another run began, when it names no parent.
    pub around: Option<u64>,
    /// Context in which the thread runs; none when it runs in none that was entered.
    pub context: Option<u64>,
    /// Frame of the function that began the run.
    pub owner: u64,
    /// Its code object.
    pub owner_code: u64,
    /// `co_flags` of that.
    pub owner_flags: u32,
    /// Class of its first argument: of what runs.
    pub owner_class: &'a [u8],
    /// Qualified name of the method that made the manager; without its class to 3.10.
    pub method: &'a [u8],
    /// `co_flags` of that method.
    pub flags: u32,
    /// It will be told when what speaks for the run is gone.
    pub followed: bool,
    /// The name that was given to the run.
    pub name: Option<RunName<'a>>,
}

/// A name as CPython keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunName<'a> {
    /// Its first characters, each of so many bytes, in the processor's order.
    pub bytes: &'a [u8],
    /// Bytes of a character: 1 (Latin-1), 2 or 4.
    pub width: usize,
    /// How many characters it has in all.
    pub characters: u64,
}

/// A framework that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framework {
    /// langchain-core, and what is built on it.
    LangChain,
    /// llama-index-core, and what is built on it.
    LlamaIndex,
    /// vLLM, asked in its own process.
    Vllm,
    /// Dify's engine, graphon.
    Dify,
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// A chain, or any other step.
    Chain,
    /// An agent.
    Agent,
    /// A model that completes texts.
    Completion,
    /// A model that answers messages.
    Chat,
    /// A tool.
    Tool,
    /// A retriever.
    Retriever,
    /// A model that gives embeddings.
    Embedding,
    /// A model that puts documents in order.
    Reranker,
}

/// How a framework writes the id of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunLabel {
    /// As a UUID.
    Uuid,
    /// This, a hyphen, and a UUID.
    Prefixed(String),
    /// So, whatever its number is.
    Text(String),
    /// It has none.
    None,
}

impl RunKind {
    /// Whether it calls a model.
    #[must_use]
    pub const fn is_model(self) -> bool {
        matches!(
            self,
            Self::Completion | Self::Chat | Self::Embedding | Self::Reranker
        )
    }
}

/// How what is done in a run is known to be done in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// What its thread does until it is over.
    Thread,
    /// What is done in its context, and in copies of that, until it is over.
    Context,
    /// Only what says so.
    Nowhere,
}

/// A run that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFacts {
    /// Names it among all that spans are made of.
    pub exchange: ExchangeId,
    /// Process.
    pub pid: u32,
    /// Thread on which it began.
    pub tid: u32,
    /// When it began.
    pub start: BootTime,
    /// The context in which it began.
    pub context: Option<u64>,
    /// Of which framework.
    pub framework: Framework,
    /// The number of the framework's id of it; zero when it has none.
    pub run: u128,
    /// That id as the framework writes it.
    pub label: RunLabel,
    /// The run that it belongs to.
    pub parent: Option<ExchangeId>,
    /// What it does.
    pub kind: RunKind,
    /// Its name.
    pub name: Option<String>,
    /// What runs, where the name says more than that.
    pub subject: Option<String>,
    /// What is done in it.
    pub inside: Inside,
    /// Only the first request is known to be done in it: it is a generator, which others may run
    /// in between.
    pub is_generator: bool,
}

/// What a run was given and gave. All of it counts as content, but for what a model is called and how
/// many tokens it took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunContents {
    /// Of a model: what it was asked.
    pub request: CallRequest,
    /// Of a model: what it answered.
    pub response: CallResponse,
    /// Of anything else: what it was given.
    pub given: Option<Json>,
    /// Of anything else: what it gave.
    pub got: Option<Json>,
    /// Of a tool: the id of the call for which it is run.
    pub call_id: Option<String>,
    /// Of a tool: its own name, where the framework calls it by its class.
    pub name: Option<String>,
    /// Of a tool: what it is for.
    pub description: Option<String>,
    /// There was content that is not to be told.
    pub left_out: bool,
    /// About how many bytes it takes.
    pub bytes: usize,
}

impl RunContents {
    /// Whether there is content in it, or was.
    #[must_use]
    pub fn has_content(&self) -> bool {
        let (request, response) = (&self.request, &self.response);
        let texts = [&self.call_id, &self.name, &self.description];
        self.left_out
            || [&self.given, &self.got].into_iter().any(Option::is_some)
            || texts.into_iter().any(Option::is_some)
            || !request.messages.is_empty()
            || !response.messages.is_empty()
    }

    /// Leaves out what counts as content.
    pub fn leave_out(&mut self) {
        self.left_out = self.has_content();
        (self.given, self.got) = (None, None);
        (self.call_id, self.name, self.description) = (None, None, None);
        self.request.messages = Vec::new();
        self.response.messages = Vec::new();
        self.bytes = 0;
    }
}

/// What a framework was found to do.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEvent {
    /// A run began.
    Began(Box<RunFacts>),
    /// A chain is an agent: what it does first shows that.
    Agent(ExchangeId),
    /// Its function returned a stream that is to be read: of what is done from now on only the
    /// first request is known to be its own.
    Streams(ExchangeId),
    /// It may be over: nothing more is done in it unless it says so.
    Left(ExchangeId),
    /// What a run was given and gave: right before its end.
    Contents {
        /// Which.
        exchange: ExchangeId,
        /// As far as it was copied.
        contents: Box<RunContents>,
    },
    /// What an engine did in it; its end follows.
    Worked {
        /// Which.
        exchange: ExchangeId,
        /// What it was asked for.
        asked: Box<EngineAsked>,
        /// What came of it.
        work: Box<EngineWork>,
    },
    /// It is over.
    Ended {
        /// Which.
        exchange: ExchangeId,
        /// When.
        end: BootTime,
        /// Class of the exception that ended it.
        error: Option<String>,
        /// What could not be seen right of it.
        defects: Defects,
    },
}
