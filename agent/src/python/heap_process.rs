//! A whole process made by hand: runtime, interpreter, threads with frames, modules.

use super::heap::{Heap, NewCode};
use super::layout::{Bytecode, Frames};
use super::version::Version;

/// Where from a thread's base the word of its state is.
pub const THREAD_STATE: i32 = 0x310 + 3 * 16 + 8;

/// A whole process.
pub struct Process {
    /// Its memory.
    pub heap: Heap,
    /// Its `_PyRuntime`.
    pub runtime: u64,
    /// Its interpreter.
    pub interpreter: u64,
    /// Its threads: state and base.
    pub threads: Vec<(u64, u64)>,
    /// The code object that all of them run.
    pub code: u64,
}

impl Process {
    /// One with two threads, and a module `app` that has a class and functions. `modules_at` is
    /// where `sys.modules` is in the interpreter.
    #[must_use]
    pub fn new(version: Version, modules_at: u64) -> Self {
        let mut heap = Heap::new(version);
        let modules = heap.modules(version);
        let layout = heap.layout;
        let interpreter = heap.room(16 << 10);
        heap.write(interpreter + modules_at, modules);
        let runtime = heap.room(4096);
        heap.write(runtime + layout.runtime.interpreters_head, interpreter);
        // Initialised, and the key.
        heap.write(runtime + layout.runtime.auto_tss_key, 1 | 3 << 32);
        let code = heap.code(&NewCode {
            name: "run",
            file: "/app/main.py",
            arguments: &["self"],
            keyword_only: 0,
            rest: None,
            constants: &[],
            first_line: 12,
        });
        let mut process = Self {
            heap,
            runtime,
            interpreter,
            threads: Vec::new(),
            code,
        };
        process.thread();
        process.thread();
        process
    }

    /// Another thread, with a frame within a frame.
    fn thread(&mut self) {
        let layout = self.heap.layout;
        let heap = &mut self.heap;
        let base = heap.room(0x900);
        heap.write(base, base);
        let state = heap.room(512);
        heap.write(base.wrapping_add_signed(THREAD_STATE.into()), state);
        heap.write(state + layout.thread.interp, self.interpreter);
        heap.write(state + layout.thread.thread_id, base);
        let next = self.threads.last().map_or(0, |(state, _)| *state);
        heap.write(state + layout.thread.next, next);
        heap.write(self.interpreter + layout.interpreter.threads_head, state);
        let (outer, inner) = (heap.room(512), heap.room(512));
        for frame in [outer, inner] {
            let instruction = match layout.code.bytecode {
                Bytecode::Bytes(_) => 0,
                Bytecode::Inline(at) => self.code + at,
            };
            heap.write(frame + layout.frame.code, self.code | layout.frame.tag & 1);
            heap.write(frame + layout.frame.instruction, instruction);
        }
        heap.write(inner + layout.frame.previous, outer);
        match layout.thread.frames {
            Frames::Object { frame } => heap.write(state + frame, inner),
            Frames::Direct { current_frame } => heap.write(state + current_frame, inner),
            Frames::CFrame {
                cframe,
                current_frame,
            } => {
                let between = heap.room(32);
                heap.write(state + cframe, between);
                heap.write(between + current_frame, inner);
            }
        }
        self.threads.push((state, base));
    }
}

impl Heap {
    /// `sys.modules`.
    fn modules(&mut self, version: Version) -> u64 {
        let hex = 3 << 24 | i128::from(version.minor()) << 16 | 0x02f0;
        let (hex, maxsize) = (self.int(hex), self.int(i64::MAX.into()));
        let text = self.text(&format!("{version}.2 (main)"));
        let name = self.text("cpython");
        let class = self.class("SimpleNamespace", &["name"], false);
        let keys = self.cached_keys(class, &["name"]);
        let implementation = self.instance(class, keys, &[name]);
        let sys = self.module(
            "sys",
            &[
                ("hexversion", hex),
                ("maxsize", maxsize),
                ("version", text),
                ("implementation", implementation),
            ],
        );
        let (none, yes, int) = (self.none(), self.boolean(true), self.type_named("int"));
        let builtins = self.module("builtins", &[("None", none), ("True", yes), ("int", int)]);
        let code = self.code(&NewCode {
            name: "_verbose_message",
            file: "<frozen importlib._bootstrap>",
            arguments: &["message", "verbosity"],
            keyword_only: 1,
            rest: Some("args"),
            constants: &[],
            first_line: 240,
        });
        let function = self.function("_verbose_message", "importlib._bootstrap", code);
        let importlib = self.module("_frozen_importlib", &[("_verbose_message", function)]);
        let app = self.app();
        self.names(&[
            ("sys", sys),
            ("builtins", builtins),
            ("_frozen_importlib", importlib),
            ("app", app),
        ])
    }

    /// A module with a function in a function, a wrapper, and what is no function.
    fn app(&mut self) -> u64 {
        fn new<'a>(name: &'a str, constants: &'a [u64]) -> NewCode<'a> {
            NewCode {
                name,
                file: "/app/main.py",
                arguments: &["request"],
                keyword_only: 0,
                rest: None,
                constants,
                first_line: 7,
            }
        }
        let nested = self.code(&new("wrapped", &[]));
        let outer = self.code(&new("shielded", &[nested]));
        let shielded = self.function("shielded", "app", outer);
        let code = self.code(&new("handler", &[]));
        let handler = self.function("handler", "app", code);
        let still = self.wrapper("staticmethod", handler);
        let module = self.text("app");
        let class = self.class("Service", &[], true);
        let dict = self.names(&[("__module__", module), ("handler", still)]);
        self.write(class + 264, dict);
        let number = self.int(5);
        self.module(
            "app",
            &[
                ("shielded", shielded),
                ("Service", class),
                ("number", number),
            ],
        )
    }
}
