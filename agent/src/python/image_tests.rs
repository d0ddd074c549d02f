//! The reader over memory made by hand, as every version lays it out.

use super::check::{self, NoFit, Root};
use super::find::FunctionName;
use super::heap::Heap;
use super::heap_process::{Process, THREAD_STATE};
use super::layout::Layout;
use super::memory::{Image, Memory, Unreadable};
use super::object::Kind;
use super::reader::{QUESTION_BUDGET, ReadError, Reader};
use super::render;
use super::value::{Limits, Value};
use super::version::Version;
use serde_json::{Value as Json, json};

fn read(heap: &Heap, address: u64) -> Json {
    let reader = Reader::new(&heap.image, heap.layout, QUESTION_BUDGET);
    render::json(&reader.value(address, Limits::default()))
}

#[track_caller]
fn every_version(make: impl Fn(&mut Heap) -> u64, wanted: &Json) {
    for version in Version::ALL {
        let mut heap = Heap::new(version);
        let object = make(&mut heap);
        assert_eq!(&read(&heap, object), wanted, "{version}");
    }
}

#[test]
fn numbers() {
    every_version(|h| h.none(), &Json::Null);
    every_version(|h| h.boolean(false), &json!(false));
    every_version(|h| h.boolean(true), &json!(true));
    for value in [
        0,
        1,
        -1,
        1 << 30,
        i128::from(i64::MAX),
        i128::from(i64::MIN),
    ] {
        let wanted = i64::try_from(value).unwrap_or_default();
        every_version(|h| h.int(value), &json!(wanted));
    }
    let large = i128::from(i64::MIN) - 1;
    every_version(|h| h.int(large), &json!(large.to_string()));
    every_version(
        |h| h.digits("int", false, &[7; 65]),
        &json!("<int of about 1950 bits>"),
    );
    // A digit of more than 30 bits is none.
    every_version(
        |h| h.digits("int", false, &[1 << 30]),
        &json!("<unreadable>"),
    );
    every_version(|h| h.float(-0.5), &json!(-0.5));
    every_version(|h| h.float(f64::INFINITY), &json!("inf"));
}

#[test]
fn texts() {
    for text in ["", "ascii", "\u{ff}", "é", "日本", "a😀"] {
        every_version(|h| h.text(text), &json!(text));
        every_version(|h| h.legacy_text(text), &json!(text));
    }
    every_version(
        |h| h.codes(&[0x61, 0xd800, 0xdfff]),
        &json!("a\u{fffd}\u{fffd}"),
    );
    for version in Version::ALL {
        let mut heap = Heap::new(version);
        let Some(text) = heap.wide_text("wide €") else {
            assert!(version >= Version::V3_12);
            continue;
        };
        assert_eq!(read(&heap, text), json!("wide €"));
    }
    every_version(|h| h.bytes(b"12345"), &json!("<5 bytes>"));
}

#[test]
fn what_is_long_is_cut_and_says_so() {
    for version in Version::ALL {
        let mut heap = Heap::new(version);
        let text = heap.text("äbcdef");
        let items: Vec<_> = (0..9).map(|i| heap.int(i)).collect();
        let list = heap.list(&items);
        let reader = Reader::new(&heap.image, heap.layout, QUESTION_BUDGET);
        let limits = Limits {
            text: 4,
            items: 2,
            ..Limits::default()
        };
        assert_eq!(
            render::json(&reader.value(text, limits)),
            json!("äbcd… <2 more>")
        );
        assert_eq!(
            render::json(&reader.value(list, limits)),
            json!([0, 1, "<7 more>"])
        );
        let limits = Limits {
            values: 3,
            ..Limits::default()
        };
        let some = render::json(&reader.value(list, limits));
        assert_eq!(some.as_array().map(Vec::len), Some(9));
        assert_eq!(some[1], json!(1));
        assert_eq!(some[2], json!("<omitted>"));
    }
}

#[test]
fn containers() {
    every_version(
        |h| {
            let (one, two) = (h.int(1), h.text("two"));
            let inner = h.tuple(&[one, two]);
            let set = h.set(&[one]);
            h.list(&[inner, set])
        },
        &json!([[1, "two"], [1]]),
    );
    for general in [false, true] {
        every_version(
            |h| {
                let (a, b, value) = (h.text("a"), h.text("b"), h.none());
                h.dict(&[(a, value), (b, value), (b, 0)], general)
            },
            // The removed entry is none.
            &json!({"a": null, "b": null, "<more>": 1}),
        );
    }
    every_version(
        |h| {
            let keys: Vec<_> = (0..300).map(|i| (h.int(i), h.int(i))).collect();
            let dict = h.dict(&keys, true);
            h.list(&[dict])
        },
        &{
            let some = (0..128).map(|i| (i.to_string(), json!(i)));
            let mut some: serde_json::Map<_, _> = some.collect();
            some.insert("<more>".into(), json!(172));
            json!([some])
        },
    );
}

#[test]
fn cycles_and_depths_end() {
    every_version(
        |h| {
            let none = h.none();
            let list = h.list(&[none, none]);
            let around = h.tuple(&[list]);
            h.set_item(list, around);
            list
        },
        &json!([["<cycle>"], null]),
    );
    for version in Version::ALL {
        let mut heap = Heap::new(version);
        let mut object = heap.none();
        for _ in 0..1000 {
            object = heap.tuple(&[object]);
        }
        let reader = Reader::new(&heap.image, heap.layout, QUESTION_BUDGET);
        let limits = Limits {
            depth: usize::MAX,
            ..Limits::default()
        };
        let text = render::json(&reader.value(object, limits)).to_string();
        assert!(text.ends_with(&format!("\"<deeper>\"{}", "]".repeat(64))));
    }
}

#[test]
fn instances() {
    every_version(
        |h| {
            let class = h.class("Data", &["a", "b", "c"], false);
            let keys = h.cached_keys(class, &["a", "b", "c"]);
            let (one, two) = (h.int(1), h.text("two"));
            h.instance(class, keys, &[one, 0, two])
        },
        &json!({"a": 1, "c": "two"}),
    );
    every_version(
        |h| {
            let class = h.class("Data", &["a"], false);
            let one = h.int(1);
            let dict = h.names(&[("other", one)]);
            h.with_dict(class, dict)
        },
        &json!({"other": 1}),
    );
    every_version(
        |h| {
            let class = h.class("Slots", &["x", "unset", "y"], true);
            let (one, two) = (h.int(1), h.int(2));
            h.slotted(class, &[one, 0, two])
        },
        &json!({"x": 1, "y": 2}),
    );
    every_version(
        |h| {
            let class = h.class("Empty", &[], true);
            h.slotted(class, &[])
        },
        &json!("<app.Outer.Empty>"),
    );
    every_version(
        |h| {
            let (text, number) = (h.text("wrong"), h.int(3));
            let args = h.tuple(&[text, number]);
            h.exception(args)
        },
        &json!("ValueError: wrong, 3"),
    );
}

#[test]
fn what_is_no_object_is_unreadable() {
    for version in Version::ALL {
        let mut heap = Heap::new(version);
        let list = heap.list(&[0x1000, 0, u64::MAX]);
        let unreadable = "<unreadable>";
        let wanted = json!([unreadable, unreadable, unreadable]);
        assert_eq!(read(&heap, list), wanted, "{version}");
    }
}

#[test]
fn a_process_proves_its_version_and_no_other() {
    for version in Version::ALL {
        let layout = Layout::table(version);
        let process = Process::new(version, layout.interpreter.modules);
        let image = &process.heap.image;
        for root in [
            Root::Runtime(process.runtime),
            Root::Interpreter(process.interpreter),
        ] {
            let fit = check::fit(image, layout, root).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(fit.layout, *layout);
            assert_eq!(fit.main.address, process.interpreter);
            assert_eq!((fit.threads, fit.thread_state), (2, Some(THREAD_STATE)));
            assert!(!fit.modules_moved);
        }
        for other in Version::ALL.into_iter().filter(|v| *v != version) {
            let root = Root::Interpreter(process.interpreter);
            let other = Layout::table(other);
            assert!(check::fit(image, other, root).is_err(), "{version}");
        }
        let words = [0, 8, process.runtime, process.interpreter];
        let found = check::scan(image, layout, &words);
        assert_eq!(found, Some(Root::Interpreter(process.interpreter)));
    }
}

#[test]
fn moved_modules_are_found() {
    for version in Version::ALL {
        let layout = Layout::table(version);
        let process = Process::new(version, 9000);
        let fit = check::fit(&process.heap.image, layout, Root::Runtime(process.runtime));
        let fit = fit.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(fit.layout.interpreter.modules, 9000);
        assert!(fit.modules_moved);
    }
}

/// Nuitka gives `builtins` a type of its own; its functions are laid out in another way than those that it says they
/// are derived from.
#[test]
fn types_of_a_compiled_program() {
    for version in Version::ALL {
        let mut heap = Heap::new(version);
        let builtins = heap.module("builtins", &[]);
        let function = heap.module("f", &[]);
        for (object, name, base) in [
            (builtins, "compiled_module", "module"),
            (function, "compiled_function", "function"),
        ] {
            let own = heap.type_from(name, base);
            heap.write(object + 8, own);
        }
        let reader = Reader::new(&heap.image, heap.layout, QUESTION_BUDGET);
        let kind = |object| reader.type_of(object).unwrap().kind;
        assert_eq!(kind(builtins), Kind::Module);
        assert!(reader.module_dict(builtins).is_ok());
        assert_eq!(kind(function), Kind::Instance);
    }
}

#[test]
fn a_wrong_table_says_what_does_not_fit() {
    let mut layout = Layout::table(Version::V3_12).clone();
    let process = Process::new(Version::V3_12, layout.interpreter.modules);
    layout.thread.interp += 8;
    let fit = check::fit(&process.heap.image, &layout, Root::Runtime(process.runtime));
    let error = fit.expect_err("it does not fit").to_string();
    assert!(
        error.starts_with("the layout of CPython 3.12 does not fit: threads: "),
        "{error}"
    );
    let other = NoFit::OtherVersion {
        version: Version::V3_12,
        found: "3.11.2".into(),
    };
    assert_eq!(
        other.to_string(),
        "the process says that it is CPython 3.11.2, not 3.12"
    );
}

#[test]
fn functions_are_found_by_name() {
    for version in Version::ALL {
        let layout = Layout::table(version);
        let process = Process::new(version, layout.interpreter.modules);
        let reader = Reader::new(&process.heap.image, layout, QUESTION_BUDGET);
        let find = |name: &str| {
            let name = FunctionName::parse(name).expect("a name");
            reader.find(process.interpreter, &name)
        };
        for (name, wanted) in [
            ("app:shielded", "shielded"),
            ("app:shielded.<locals>.wrapped", "wrapped"),
            ("app:Service.handler", "handler"),
        ] {
            let code = find(name).unwrap_or_else(|e| panic!("{version}: {e}"));
            assert_eq!((code.name.as_str(), code.first_line), (wanted, 7));
            assert_eq!(code.arguments[0].name, "request");
            assert!(code.entry > 0);
            let place = reader.place(code.address, 0).expect("a place");
            assert_eq!((place.filename.as_str(), place.line), ("/app/main.py", 7));
        }
        for (name, wanted) in [
            ("gone:f", "the module `gone` is not loaded"),
            ("app:f", "`app` has no `f`"),
            (
                "app:number",
                "`app:number` is no Python function but of type `int`",
            ),
            ("app:shielded.<locals>.other", "`shielded` has no `other`"),
        ] {
            let error = find(name).expect_err("nothing").to_string();
            assert_eq!(error, wanted);
        }
        let listed = reader.functions(process.interpreter, Some("app"));
        let names: Vec<_> = listed
            .expect("a list")
            .into_iter()
            .map(|f| f.name)
            .collect();
        assert_eq!(names, ["app:Service.handler", "app:shielded"]);
        let (state, _) = process.threads[0];
        let frames = reader.frames(state, 10).expect("frames");
        assert_eq!(frames.len(), 2);
        for frame in frames {
            assert_eq!(frame.code, process.code);
            let offset = reader.instruction_offset(frame.code, frame.instruction);
            assert_eq!(offset, Some(0));
        }
    }
}

/// A memory that says no after so many reads.
struct Failing<'a>(&'a Image, std::cell::Cell<u32>);

impl Memory for Failing<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let bytes = into.len();
        let left = self.1.get().checked_sub(1);
        self.1.set(left.ok_or(Unreadable { address, bytes })?);
        self.0.read(address, into)
    }
}

#[test]
fn every_read_can_fail() {
    for version in Version::ALL {
        let layout = Layout::table(version);
        let process = Process::new(version, layout.interpreter.modules);
        let name = FunctionName::parse("app:Service.handler").expect("a name");
        let mut reads = 0;
        loop {
            let memory = Failing(&process.heap.image, reads.into());
            let reader = Reader::new(&memory, layout, QUESTION_BUDGET);
            match reader.find(process.interpreter, &name) {
                Ok(code) => {
                    assert_eq!(code.name, "handler");
                    break;
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            reads += 1;
            assert!(reads < 10_000);
        }
        assert!(reads > 30, "{version}: {reads}");
    }
}

#[test]
fn the_budget_ends_a_question() {
    let mut heap = Heap::new(Version::V3_13);
    let texts: Vec<_> = (0..100).map(|_| heap.text(&"x".repeat(1000))).collect();
    let list = heap.list(&texts);
    let reader = Reader::new(&heap.image, heap.layout, 10_000);
    let Value::Items { items, kind, .. } = reader.value(list, Limits::default()) else {
        panic!("no list");
    };
    assert_eq!((items.len(), kind), (100, Kind::List));
    let whole = items.iter().filter(|i| **i != Value::Omitted).count();
    assert!((2..=9).contains(&whole), "{whole}");
    assert_eq!(reader.word(list), Err(ReadError::Budget));
}

/// Every word of a process wrong in turn: an answer or an error, and soon.
#[test]
fn no_word_leads_astray() {
    for version in [
        Version::V3_8,
        Version::V3_11,
        Version::V3_12,
        Version::V3_14,
    ] {
        let layout = Layout::table(version);
        let whole = Process::new(version, layout.interpreter.modules);
        let (module, code) = {
            let reader = Reader::new(&whole.heap.image, layout, QUESTION_BUDGET);
            let module = reader.module(whole.interpreter, "app").expect("modules");
            (module.expect("app"), whole.code)
        };
        let dict = |image: &Image| {
            let reader = Reader::new(image, layout, 1 << 20);
            let dict = reader.module_dict(module)?;
            drop(reader.value(dict, Limits::default()));
            reader.functions(whole.interpreter, None)?;
            drop(reader.code(code));
            reader.frames(whole.threads[0].0, 100).map(|f| f.len())
        };
        let mut wrong = whole.heap.image.clone();
        for object in [module, code, whole.interpreter, whole.threads[0].0] {
            for word in 0..32 {
                let at = object + word * 8;
                let mut before = [0; 8];
                if wrong.read(at, &mut before).is_err() {
                    break;
                }
                for value in [
                    0,
                    1,
                    at,
                    module,
                    u64::MAX,
                    1 << 47,
                    i64::MAX.cast_unsigned(),
                ] {
                    wrong.change(at, &value.to_le_bytes());
                    let frames = dict(&wrong).unwrap_or(0);
                    assert!(frames <= 100, "{at:#x} as {value:#x}");
                }
                wrong.change(at, &before);
            }
        }
        assert_eq!(dict(&wrong), Ok(2), "all is as it was");
    }
}
