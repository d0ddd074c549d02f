//! Memory as CPython lays it out, made by hand for any version: what tests and the fuzzer read.

use std::collections::HashMap;

use super::layout::{Bytecode, DictLayout, IntLayout, Layout};
use super::memory::{Image, Memory as _};
use super::version::Version;

/// Where the first object is.
const FIRST: u64 = 0x7f00_0000_0000;

/// Bits of `tp_flags`.
mod flag {
    pub(super) const INLINE_VALUES: u64 = 1 << 2;
    pub(super) const MANAGED_DICT: u64 = 1 << 4;
    pub(super) const HEAP: u64 = 1 << 9;
    pub(super) const READY: u64 = 1 << 12;
}

/// Names and flags of the interpreter's types.
const TYPES: [(&str, u64); 22] = [
    ("type", 1 << 31),
    ("object", 0),
    ("NoneType", 0),
    ("int", 1 << 24),
    ("bool", 1 << 24),
    ("float", 0),
    ("str", 1 << 28),
    ("bytes", 1 << 27),
    ("tuple", 1 << 26),
    ("list", 1 << 25),
    ("dict", 1 << 29),
    ("set", 0),
    ("module", 0),
    ("function", 0),
    ("code", 0),
    ("method", 0),
    ("staticmethod", 0),
    ("property", 0),
    ("member_descriptor", 0),
    ("mappingproxy", 0),
    ("ValueError", 1 << 30),
    ("cell", 0),
];

/// An object's bytes while it is made.
struct Object(Vec<u8>);

impl Object {
    fn new(size: u64) -> Self {
        Self(vec![0; size as usize])
    }

    fn word(mut self, at: u64, word: u64) -> Self {
        self.put(at, &word.to_le_bytes());
        self
    }

    fn int(mut self, at: u64, int: u32) -> Self {
        self.put(at, &int.to_le_bytes());
        self
    }

    fn bytes(mut self, at: u64, bytes: &[u8]) -> Self {
        self.put(at, bytes);
        self
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let (at, end) = (at as usize, at as usize + bytes.len());
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0[at..end].copy_from_slice(bytes);
    }
}

/// What a code object is made of.
pub struct NewCode<'a> {
    /// `co_name`, `co_qualname`.
    pub name: &'a str,
    /// `co_filename`.
    pub file: &'a str,
    /// Arguments, the last `keyword_only` of them after a star.
    pub arguments: &'a [&'a str],
    /// How many arguments are given by keyword alone.
    pub keyword_only: u32,
    /// `*name`.
    pub rest: Option<&'a str>,
    /// `co_consts`.
    pub constants: &'a [u64],
    /// `co_firstlineno`.
    pub first_line: u32,
}

/// A heap that grows.
pub struct Heap {
    /// How it is laid out.
    pub layout: &'static Layout,
    /// Its memory.
    pub image: Image,
    next: u64,
    types: HashMap<&'static str, u64>,
}

impl Heap {
    /// One with the interpreter's types.
    #[must_use]
    pub fn new(version: Version) -> Self {
        let mut heap = Self {
            layout: Layout::table(version),
            image: Image::new(),
            next: FIRST,
            types: HashMap::new(),
        };
        let mut names = TYPES;
        // `type` first: all others are of it.
        names.sort_by_key(|(name, _)| *name != "type");
        let mut object = 0;
        for (name, flags) in names {
            let text = heap.c_string(name);
            let address = heap.next;
            let of = heap.types.get("type").copied().unwrap_or(address);
            let made = Object::new(960)
                .word(8, of)
                .word(24, text)
                .word(32, 16)
                .word(168, flags | flag::READY)
                .word(256, object);
            let address = heap.put(made);
            if name == "object" {
                object = address;
            }
            heap.types.insert(name, address);
        }
        heap
    }

    /// Zeroed memory.
    pub fn room(&mut self, size: u64) -> u64 {
        self.put(Object::new(size))
    }

    /// Writes a word.
    pub fn write(&mut self, address: u64, word: u64) {
        self.image.change(address, &word.to_le_bytes());
    }

    fn put(&mut self, object: Object) -> u64 {
        self.put_behind(object, 0)
    }

    /// Puts an object of which so many bytes lie before its address.
    fn put_behind(&mut self, object: Object, before: u64) -> u64 {
        let address = self.next;
        // A gap between them: what reads too far fails.
        self.next += (object.0.len() as u64).next_multiple_of(16) + 16;
        self.image.put(address, object.0);
        address + before
    }

    fn object(&self, of: &'static str, size: u64) -> Object {
        Object::new(size).word(0, 1).word(8, self.types[of])
    }

    /// A type of the interpreter.
    #[must_use]
    pub fn type_named(&self, name: &str) -> u64 {
        self.types[name]
    }

    fn c_string(&mut self, text: &str) -> u64 {
        let len = (text.len() as u64 + 1).next_multiple_of(32);
        // In one page, as the reader asks for.
        self.next = self.next.next_multiple_of(32);
        self.put(Object::new(len).bytes(0, text.as_bytes()))
    }

    /// `None`.
    pub fn none(&mut self) -> u64 {
        let none = self.object("NoneType", 16);
        self.put(none)
    }

    /// An `int` of these digits.
    pub fn digits(&mut self, of: &'static str, negative: bool, digits: &[u32]) -> u64 {
        let count = digits.len() as u64;
        let size = match (self.layout.int, negative) {
            (IntLayout::Sized, false) => count,
            (IntLayout::Sized, true) => count.cast_signed().wrapping_neg().cast_unsigned(),
            (IntLayout::Tagged, false) => count << 3 | u64::from(count == 0),
            (IntLayout::Tagged, true) => count << 3 | 2,
        };
        let bytes: Vec<u8> = digits.iter().flat_map(|d| d.to_le_bytes()).collect();
        let int = self.object(of, 32).word(16, size).bytes(24, &bytes);
        self.put(int)
    }

    /// An `int`.
    pub fn int(&mut self, value: i128) -> u64 {
        let mut rest = value.unsigned_abs();
        let mut digits = Vec::new();
        while rest != 0 {
            digits.push((rest & 0x3fff_ffff) as u32);
            rest >>= 30;
        }
        self.digits("int", value < 0, &digits)
    }

    /// `True` or `False`.
    pub fn boolean(&mut self, value: bool) -> u64 {
        let digits = [1];
        self.digits("bool", false, &digits[..usize::from(value)])
    }

    /// A `float`.
    pub fn float(&mut self, value: f64) -> u64 {
        let float = self.object("float", 24).word(16, value.to_bits());
        self.put(float)
    }

    /// A compact string, of the narrowest kind that holds it.
    pub fn text(&mut self, text: &str) -> u64 {
        let widest = text.chars().map(u32::from).max().unwrap_or(0);
        let (kind, at) = match widest {
            0..=0x7f => (1, self.layout.text.ascii),
            0x80..=0xff => (1, self.layout.text.compact),
            0x100..=0xffff => (2, self.layout.text.compact),
            _ => (4, self.layout.text.compact),
        };
        let ascii = u32::from(widest < 0x80);
        let codes: Vec<u32> = text.chars().map(u32::from).collect();
        self.text_of(&codes, kind, at, 0x20 | ascii << 6)
    }

    /// A string whose characters lie elsewhere.
    pub fn legacy_text(&mut self, text: &str) -> u64 {
        let codes: Vec<u32> = text.chars().map(u32::from).collect();
        let bytes: Vec<u8> = codes.iter().flat_map(|c| c.to_le_bytes()).collect();
        let data = self.put(Object::new(bytes.len() as u64).bytes(0, &bytes));
        let made = self.object("str", self.layout.text.compact + 8);
        let made = made.word(16, codes.len() as u64).int(32, 4 << 2);
        let made = made.word(self.layout.text.compact, data);
        self.put(made)
    }

    /// A string that nobody made ready: `wchar_t`s; only to 3.11.
    pub fn wide_text(&mut self, text: &str) -> Option<u64> {
        let (pointer, length) = self.layout.text.wide?;
        let bytes: Vec<u8> = text
            .chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect();
        let data = self.put(Object::new(bytes.len() as u64).bytes(0, &bytes));
        let made = self.object("str", self.layout.text.compact + 8);
        let count = text.chars().count() as u64;
        let made = made.word(pointer, data).word(length, count);
        Some(self.put(made))
    }

    /// A string of these code points, which may be none of Unicode.
    pub fn codes(&mut self, codes: &[u32]) -> u64 {
        self.text_of(codes, 2, self.layout.text.compact, 0x20)
    }

    fn text_of(&mut self, codes: &[u32], kind: u32, at: u64, state: u32) -> u64 {
        let width = kind as usize;
        let bytes: Vec<u8> = codes
            .iter()
            .flat_map(|code| code.to_le_bytes()[..width].to_vec())
            .collect();
        let made = self.object("str", at).word(16, codes.len() as u64);
        let made = made.int(32, state | kind << 2).bytes(at, &bytes);
        self.put(made)
    }

    /// A `bytes` object.
    pub fn bytes(&mut self, bytes: &[u8]) -> u64 {
        let made = self.object("bytes", 33).word(16, bytes.len() as u64);
        self.put(made.bytes(32, bytes))
    }

    fn array(&mut self, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.put(Object(bytes))
    }

    /// A `tuple`.
    pub fn tuple(&mut self, items: &[u64]) -> u64 {
        let bytes: Vec<u8> = items.iter().flat_map(|w| w.to_le_bytes()).collect();
        let made = self.object("tuple", self.layout.tuple_items);
        let made = made.word(16, items.len() as u64);
        let at = self.layout.tuple_items;
        self.put(made.bytes(at, &bytes))
    }

    /// A `list`.
    pub fn list(&mut self, items: &[u64]) -> u64 {
        let array = self.array(items);
        let made = self.object("list", 40).word(16, items.len() as u64);
        self.put(made.word(24, array))
    }

    /// Puts another item into a list's first place.
    pub fn set_item(&mut self, list: u64, item: u64) {
        let mut array = [0; 8];
        if self.image.read(list + 24, &mut array).is_ok() {
            self.write(u64::from_le_bytes(array), item);
        }
    }

    /// A `set`.
    pub fn set(&mut self, items: &[u64]) -> u64 {
        let size = (items.len() * 2).next_power_of_two().max(8);
        let mut table = vec![0; size * 2];
        for (i, item) in items.iter().enumerate() {
            table[i * 4] = *item;
            table[i * 4 + 1] = 7;
        }
        let table = self.array(&table);
        let made = self.object("set", 200).word(24, items.len() as u64);
        self.put(made.word(32, size as u64 - 1).word(40, table))
    }

    /// Keys of a dict: general ones or, from 3.11 on, those for strings alone.
    fn keys(&mut self, entries: &[(u64, u64)], general: bool) -> u64 {
        let size = (entries.len() as u64 * 2).next_power_of_two().max(8);
        let general = general || self.layout.dict == DictLayout::Sized;
        let width = if size > 0xff { 2 } else { 1 };
        let mut words = Vec::new();
        for (key, value) in entries {
            if general {
                words.push(0x1234);
            }
            words.extend([*key, *value]);
        }
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let count = entries.len() as u64;
        let made = if self.layout.dict == DictLayout::Sized {
            let made = Object::new(40).word(8, size).word(32, count);
            made.bytes(40 + size * width, &bytes)
        } else {
            let log = size.trailing_zeros() as u8;
            let head = [log, log + (width as u8 - 1), u8::from(!general)];
            let made = Object::new(32).bytes(8, &head).word(24, count);
            made.bytes(32 + size * width, &bytes)
        };
        self.put(made)
    }

    /// A combined dict.
    pub fn dict(&mut self, entries: &[(u64, u64)], general: bool) -> u64 {
        let keys = self.keys(entries, general);
        let made = self.object("dict", 48).word(16, entries.len() as u64);
        self.put(made.word(32, keys))
    }

    /// A dict of names.
    pub fn names(&mut self, entries: &[(&str, u64)]) -> u64 {
        let entries: Vec<_> = entries
            .iter()
            .map(|(name, value)| (self.text(name), *value))
            .collect();
        self.dict(&entries, false)
    }

    /// A class of Python code, whose instances have these attributes in a dict, or in slots.
    pub fn class(&mut self, name: &str, attributes: &[&str], slots: bool) -> u64 {
        let module = self.text("app");
        let mut members = vec![("__module__", module)];
        if slots {
            for (i, name) in attributes.iter().enumerate() {
                let definition = self.put(Object::new(40).int(8, 16).word(16, 16 + i as u64 * 8));
                let text = self.text(name);
                let made = self.object("member_descriptor", 48);
                let made = made.word(24, text).word(40, definition);
                members.push((name, self.put(made)));
            }
        }
        let dict = self.names(&members);
        let keys: Vec<_> = attributes.iter().map(|n| (self.text(n), 0)).collect();
        let cached = self.keys(&keys, false);
        let text = self.c_string(name);
        let qualname = self.text(&format!("Outer.{name}"));
        let managed = match self.layout.dict {
            _ if slots => 0,
            DictLayout::Sized => 0,
            DictLayout::Values | DictLayout::TaggedValues => flag::MANAGED_DICT,
            DictLayout::InlineValues => flag::MANAGED_DICT | flag::INLINE_VALUES,
        };
        let dict_offset = match self.layout.dict {
            DictLayout::Sized if !slots => 16,
            _ => 0,
        };
        let made = self
            .object("type", 960)
            .word(24, text)
            .word(32, 16)
            .word(168, flag::READY | flag::HEAP | managed)
            .word(256, self.types["object"])
            .word(264, dict)
            .word(288, dict_offset)
            .word(self.layout.type_qualname, qualname)
            .word(self.layout.type_cached_keys, cached);
        self.put(made)
    }

    /// A type that is made in C, without a module in its name, and says that it is derived from another such.
    pub fn type_from(&mut self, name: &str, base: &str) -> u64 {
        let text = self.c_string(name);
        let base = self.types[base];
        let made = self.object("type", 960);
        let made = made.word(24, text).word(32, 56);
        let made = made.word(168, flag::READY).word(256, base);
        self.put(made)
    }

    /// An instance with slots.
    pub fn slotted(&mut self, class: u64, values: &[u64]) -> u64 {
        let mut made = Object::new(16).word(8, class);
        for (i, value) in values.iter().enumerate() {
            made = made.word(16 + i as u64 * 8, *value);
        }
        self.put(made)
    }

    /// An instance as its version makes it first: values beside the class's keys, with a split
    /// dict up to 3.10. `keys` is the keys object of the class.
    pub fn instance(&mut self, class: u64, keys: u64, values: &[u64]) -> u64 {
        match self.layout.dict {
            DictLayout::Sized => {
                let array = self.array(values);
                let used = values.iter().filter(|v| **v != 0).count() as u64;
                let dict = self.object("dict", 48).word(16, used);
                let dict = self.put(dict.word(32, keys).word(40, array));
                self.put(Object::new(24).word(8, class).word(16, dict))
            }
            DictLayout::Values => {
                let array = self.array(values);
                let made = Object::new(32 + 16).word(0, array).word(40, class);
                self.put_behind(made, 32)
            }
            DictLayout::TaggedValues => {
                let array = self.array(values);
                let made = Object::new(24 + 16).word(0, array - 1).word(32, class);
                self.put_behind(made, 24)
            }
            DictLayout::InlineValues => {
                let head = [values.len() as u8, values.len() as u8, 1, 1];
                let mut made = Object::new(24 + 16 + 8).word(32, class).bytes(40, &head);
                for (i, value) in values.iter().enumerate() {
                    made = made.word(48 + i as u64 * 8, *value);
                }
                self.put_behind(made, 24)
            }
        }
    }

    /// An instance whose dict somebody asked for, or replaced.
    pub fn with_dict(&mut self, class: u64, dict: u64) -> u64 {
        match self.layout.dict {
            DictLayout::Sized => self.put(Object::new(24).word(8, class).word(16, dict)),
            DictLayout::Values => {
                let made = Object::new(32 + 16).word(8, dict).word(40, class);
                self.put_behind(made, 32)
            }
            DictLayout::TaggedValues | DictLayout::InlineValues => {
                let made = Object::new(24 + 16 + 8).word(0, dict).word(32, class);
                self.put_behind(made, 24)
            }
        }
    }

    /// An exception with arguments.
    pub fn exception(&mut self, args: u64) -> u64 {
        let made = self.object("ValueError", 72).word(24, args);
        self.put(made)
    }

    /// A code object.
    pub fn code(&mut self, new: &NewCode<'_>) -> u64 {
        let layout = self.layout.code;
        let names: Vec<_> = new.arguments.iter().chain(&new.rest).collect();
        let names: Vec<_> = names.into_iter().map(|name| self.text(name)).collect();
        let (names, constants) = (self.tuple(&names), self.tuple(new.constants));
        let (name, file) = (self.text(new.name), self.text(new.file));
        let (empty, none) = (self.tuple(&[]), self.bytes(&[]));
        let positional = new.arguments.len() as u32 - new.keyword_only;
        let mut made = self
            .object("code", 208)
            .int(layout.argcount, positional)
            .int(layout.kwonlyargcount, new.keyword_only)
            .int(layout.nlocals, new.arguments.len() as u32)
            .int(layout.flags, if new.rest.is_some() { 4 } else { 0 })
            .int(layout.firstlineno, new.first_line)
            .word(layout.consts, constants)
            .word(layout.names, names)
            .word(layout.filename, file)
            .word(layout.name, name)
            .word(layout.linetable, none);
        if let Some(at) = layout.qualname {
            made = made.word(at, name);
        }
        if let Some(at) = layout.cellvars {
            made = made.word(at, empty);
        }
        if let Some(at) = layout.kinds {
            made = made.word(at, none);
        }
        match layout.bytecode {
            Bytecode::Inline(at) => made = made.word(at, 0x97),
            Bytecode::Bytes(at) => {
                let code = self.bytes(&[0x64, 0, 0x53, 0]);
                made = made.word(at, code);
            }
        }
        self.put(made)
    }

    /// A function of a module.
    pub fn function(&mut self, name: &str, module: &str, code: u64) -> u64 {
        let layout = self.layout.function;
        let (name, module) = (self.text(name), self.text(module));
        let made = self.object("function", 144).word(layout.code, code);
        self.put(made.word(layout.qualname, name).word(layout.module, module))
    }

    /// A `staticmethod` or `property` around something.
    pub fn wrapper(&mut self, of: &'static str, inner: u64) -> u64 {
        let made = self.object(of, 40).word(16, inner);
        self.put(made)
    }

    /// A module with these names.
    pub fn module(&mut self, name: &str, names: &[(&str, u64)]) -> u64 {
        let text = self.text(name);
        let mut all = vec![("__name__", text)];
        all.extend_from_slice(names);
        let dict = self.names(&all);
        let made = self.object("module", 56).word(16, dict);
        self.put(made)
    }

    /// Keys of a class's instances.
    pub fn cached_keys(&mut self, class: u64, names: &[&str]) -> u64 {
        let keys: Vec<_> = names.iter().map(|n| (self.text(n), 0)).collect();
        let keys = self.keys(&keys, false);
        self.write(class + self.layout.type_cached_keys, keys);
        keys
    }
}
