//! One table per version. Numbers are `offsetof` and `sizeof` of the versions' own headers (3.8.18,
//! 3.9.18, 3.10.13, 3.11.7, 3.12.1, 3.13.0, 3.13.5, 3.14.10; x86-64, release builds); each table is
//! the one before with what changed.

use super::{
    Bytecode, CodeLayout, DictLayout, FrameLayout, Frames, FunctionLayout, IntLayout,
    InterpreterLayout, Layout, RuntimeLayout, TextLayout, ThreadLayout,
};
use crate::python::version::Version;

pub(super) fn of(version: Version) -> &'static Layout {
    match version {
        Version::V3_8 => &V3_8,
        Version::V3_9 => &V3_9,
        Version::V3_10 => &V3_10,
        Version::V3_11 => &V3_11,
        Version::V3_12 => &V3_12,
        Version::V3_13 => &V3_13,
        Version::V3_14 => &V3_14,
    }
}

static V3_8: Layout = LAYOUT_3_8;
static V3_9: Layout = LAYOUT_3_9;
static V3_10: Layout = LAYOUT_3_10;
static V3_11: Layout = LAYOUT_3_11;
static V3_12: Layout = LAYOUT_3_12;
static V3_13: Layout = LAYOUT_3_13;
static V3_14: Layout = LAYOUT_3_14;

const LAYOUT_3_8: Layout = Layout {
    version: Version::V3_8,
    runtime: RuntimeLayout {
        interpreters_head: 32,
        auto_tss_key: 1392,
    },
    interpreter: InterpreterLayout {
        next: 0,
        id: 16,
        threads_head: 8,
        modules: 56,
    },
    thread: ThreadLayout {
        next: 8,
        interp: 16,
        frames: Frames::Object { frame: 24 },
        thread_id: 176,
        native_thread_id: None,
        context: 240,
    },
    frame: FrameLayout {
        code: 32,
        previous: 24,
        instruction: 104,
        locals: 360,
        function: None,
        owner: None,
        shim_owner: None,
        tag: 0,
    },
    code: CodeLayout {
        argcount: 16,
        kwonlyargcount: 24,
        nlocals: 28,
        flags: 36,
        firstlineno: 40,
        consts: 56,
        names: 72,
        cellvars: Some(88),
        kinds: None,
        filename: 104,
        name: 112,
        qualname: None,
        linetable: 120,
        bytecode: Bytecode::Bytes(48),
    },
    function: FunctionLayout {
        code: 16,
        qualname: 104,
        dict: 72,
        module: 88,
    },
    text: TextLayout {
        ascii: 48,
        compact: 72,
        wide: Some((40, 64)),
    },
    int: IntLayout::Sized,
    dict: DictLayout::Sized,
    tuple_items: 24,
    type_qualname: 864,
    type_cached_keys: 872,
};

const LAYOUT_3_9: Layout = Layout {
    version: Version::V3_9,
    runtime: RuntimeLayout {
        auto_tss_key: 584,
        ..LAYOUT_3_8.runtime
    },
    interpreter: InterpreterLayout {
        id: 24,
        modules: 856,
        ..LAYOUT_3_8.interpreter
    },
    type_qualname: 856,
    type_cached_keys: 864,
    ..LAYOUT_3_8
};

const LAYOUT_3_10: Layout = Layout {
    version: Version::V3_10,
    frame: FrameLayout {
        instruction: 96,
        locals: 352,
        ..LAYOUT_3_9.frame
    },
    function: FunctionLayout {
        code: 48,
        qualname: 40,
        dict: 88,
        module: 104,
    },
    type_qualname: 864,
    type_cached_keys: 872,
    ..LAYOUT_3_9
};

const LAYOUT_3_11: Layout = Layout {
    version: Version::V3_11,
    runtime: RuntimeLayout {
        interpreters_head: 40,
        auto_tss_key: 592,
    },
    interpreter: InterpreterLayout {
        next: 0,
        id: 48,
        threads_head: 16,
        modules: 888,
    },
    thread: ThreadLayout {
        next: 8,
        interp: 16,
        frames: Frames::CFrame {
            cframe: 56,
            current_frame: 8,
        },
        thread_id: 152,
        native_thread_id: Some(160),
        context: 224,
    },
    frame: FrameLayout {
        code: 32,
        previous: 48,
        instruction: 56,
        locals: 72,
        function: Some(0),
        owner: Some(69),
        shim_owner: None,
        tag: 0,
    },
    code: CodeLayout {
        argcount: 56,
        kwonlyargcount: 64,
        nlocals: 80,
        flags: 48,
        firstlineno: 72,
        consts: 24,
        names: 96,
        cellvars: None,
        kinds: Some(104),
        filename: 112,
        name: 120,
        qualname: Some(128),
        linetable: 136,
        bytecode: Bytecode::Inline(184),
    },
    dict: DictLayout::Values,
    ..LAYOUT_3_10
};

const LAYOUT_3_12: Layout = Layout {
    version: Version::V3_12,
    runtime: RuntimeLayout {
        interpreters_head: 40,
        auto_tss_key: 1544,
    },
    interpreter: InterpreterLayout {
        next: 0,
        id: 8,
        threads_head: 72,
        modules: 944,
    },
    thread: ThreadLayout {
        frames: Frames::CFrame {
            cframe: 56,
            current_frame: 0,
        },
        thread_id: 136,
        native_thread_id: Some(144),
        context: 208,
        ..LAYOUT_3_11.thread
    },
    frame: FrameLayout {
        code: 0,
        previous: 8,
        function: Some(16),
        owner: Some(70),
        shim_owner: Some(3),
        ..LAYOUT_3_11.frame
    },
    code: CodeLayout {
        argcount: 52,
        kwonlyargcount: 60,
        firstlineno: 68,
        bytecode: Bytecode::Inline(192),
        ..LAYOUT_3_11.code
    },
    text: TextLayout {
        ascii: 40,
        compact: 56,
        wide: None,
    },
    int: IntLayout::Tagged,
    dict: DictLayout::TaggedValues,
    type_qualname: 872,
    type_cached_keys: 880,
    ..LAYOUT_3_11
};

const LAYOUT_3_13: Layout = Layout {
    version: Version::V3_13,
    runtime: RuntimeLayout {
        interpreters_head: 632,
        auto_tss_key: 2160,
    },
    interpreter: InterpreterLayout {
        next: 7264,
        id: 7272,
        threads_head: 7344,
        modules: 7656,
    },
    thread: ThreadLayout {
        frames: Frames::Direct { current_frame: 72 },
        thread_id: 152,
        native_thread_id: Some(160),
        ..LAYOUT_3_12.thread
    },
    code: CodeLayout {
        bytecode: Bytecode::Inline(200),
        ..LAYOUT_3_12.code
    },
    dict: DictLayout::InlineValues,
    ..LAYOUT_3_12
};

const LAYOUT_3_14: Layout = Layout {
    version: Version::V3_14,
    runtime: RuntimeLayout {
        interpreters_head: 808,
        auto_tss_key: 2336,
    },
    interpreter: InterpreterLayout {
        next: 7272,
        id: 7280,
        threads_head: 7344,
        modules: 7688,
    },
    frame: FrameLayout {
        locals: 80,
        owner: Some(74),
        tag: 3,
        ..LAYOUT_3_13.frame
    },
    code: CodeLayout {
        bytecode: Bytecode::Inline(208),
        ..LAYOUT_3_13.code
    },
    tuple_items: 32,
    ..LAYOUT_3_13
};
