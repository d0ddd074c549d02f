//! A Python object as a value: read as deep and as wide as is wanted, and no further.

use super::number::Int;
use super::object::{Kind, Type};
use super::reader::{ReadError, Reader, Result};

/// In a `list`: `ob_item`.
const LIST_ITEMS: u64 = 24;
/// In a `set`: `fill`, `used`, `mask`, `table`; an entry is a key and its hash.
const SET_USED: u64 = 24;
const SET_MASK: u64 = 32;
const SET_TABLE: u64 = 40;
/// In a `method`: `im_func`. In a `mappingproxy`: `mapping`. In a `module`: `md_dict`.
const METHOD_FUNCTION: u64 = 16;
const PROXY_MAPPING: u64 = 16;
pub(super) const MODULE_DICT: u64 = 16;

/// Most items that a sequence is believed to have.
const MAX_ITEMS: usize = 1 << 32;

/// Most slots of a set's table that are looked through.
const MAX_SET_TABLE: usize = 1 << 16;

/// How deep values are read at all, whatever is asked for.
pub const MAX_DEPTH: usize = 64;

/// How much of a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many levels of containers; what lies deeper is [`Value::Deeper`].
    pub depth: usize,
    /// How many items of each container.
    pub items: usize,
    /// How many attributes of each object, slots included.
    pub attributes: usize,
    /// How many bytes of each text.
    pub text: usize,
    /// How many values in all.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 12,
            items: 128,
            attributes: 128,
            text: 64 << 10,
            values: 10_000,
        }
    }
}

/// What was read of an object.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are Python's own")]
pub enum Value {
    None,
    Bool(bool),
    Int(Int),
    Float(f64),
    /// With how many characters are missing at its end.
    Text {
        text: String,
        missing: usize,
    },
    /// With how many bytes are missing at its end.
    Bytes {
        bytes: Vec<u8>,
        missing: usize,
    },
    /// `list`, `tuple`, `set`, `frozenset`, with how many items are missing.
    Items {
        kind: Kind,
        items: Vec<Self>,
        missing: usize,
    },
    /// With how many entries are missing.
    Dict {
        entries: Vec<(Self, Self)>,
        missing: usize,
    },
    Uuid(u128),
    /// An object with attributes: its class as `module.Name`, and they.
    Instance {
        class: String,
        attributes: Vec<(String, Self)>,
    },
    /// With its arguments.
    Exception {
        class: String,
        args: Vec<Self>,
    },
    /// A class, function, method or module: what it is and its name.
    Named {
        kind: Kind,
        name: String,
    },
    /// An object that is around this one.
    Cycle,
    /// Lies deeper than was asked for.
    Deeper,
    /// The limit of values or the budget was reached before it.
    Omitted,
    /// Could not be read: changed under way, most likely.
    Unreadable,
}

/// One value's reading.
struct Walk<'r, 'm> {
    reader: &'r Reader<'m>,
    limits: Limits,
    left: usize,
    /// The containers that are around the present one.
    around: Vec<u64>,
}

impl Reader<'_> {
    /// The value of the object at this address. What cannot be read of it says so in its place.
    #[must_use]
    pub fn value(&self, address: u64, limits: Limits) -> Value {
        let mut walk = Walk {
            reader: self,
            limits: Limits {
                depth: limits.depth.min(MAX_DEPTH),
                ..limits
            },
            left: limits.values,
            around: Vec::new(),
        };
        walk.value(address)
    }

    /// Addresses of the items of a tuple or list, at most so many, and how many there are.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is neither.
    pub fn sequence(&self, address: u64, most: usize) -> Result<(Vec<u64>, usize)> {
        let found = self.type_of(address)?;
        let length = self.object_size(address, MAX_ITEMS, "sequence")?;
        let items = match found.kind {
            Kind::Tuple => address.wrapping_add(self.layout.tuple_items),
            Kind::List if length == 0 => return Ok((Vec::new(), 0)),
            Kind::List => self.word(address.wrapping_add(LIST_ITEMS))?,
            _ => return super::reader::malformed("tuple or list", address),
        };
        let count = self.available(items, length.min(most), 8);
        Ok((self.words(items, count)?, length))
    }

    /// Addresses of the items of a set, at most so many, and how many there are.
    fn set_items(&self, address: u64, most: usize) -> Result<(Vec<u64>, usize)> {
        let used = self.count(address.wrapping_add(SET_USED), MAX_ITEMS, "set")?;
        let mask = self.count(address.wrapping_add(SET_MASK), MAX_ITEMS, "set")?;
        let table = self.word(address.wrapping_add(SET_TABLE))?;
        let slots = (mask + 1).min(MAX_SET_TABLE);
        // The key of a removed item is a dummy whose hash is -1; no item has that hash.
        let words = self.words(table, self.available(table, slots, 16) * 2)?;
        let items = words
            .chunks_exact(2)
            .filter(|entry| entry[0] != 0 && entry[1] != u64::MAX)
            .map(|entry| entry[0]);
        Ok((items.take(most).collect(), used))
    }
}

impl Walk<'_, '_> {
    fn value(&mut self, address: u64) -> Value {
        let Some(left) = self.left.checked_sub(1) else {
            return Value::Omitted;
        };
        self.left = left;
        if !self.reader.holds(address) {
            return Value::Omitted;
        }
        self.any(address).unwrap_or_else(|error| match error {
            ReadError::Budget => Value::Omitted,
            ReadError::Unreadable(_) | ReadError::Malformed { .. } => Value::Unreadable,
        })
    }

    fn any(&mut self, address: u64) -> Result<Value> {
        let reader = self.reader;
        let found = reader.type_of(address)?;
        let name_of = |kind| -> Result<Value> {
            // Those of functions are copied with them; what else has one lives long.
            let is_copied = matches!(kind, Kind::Function | Kind::Method);
            let of = if is_copied { reader } else { reader.lasting() };
            let name = of.name_of(address, kind)?;
            Ok(Value::Named { kind, name })
        };
        Ok(match found.kind {
            Kind::None => Value::None,
            Kind::Bool => Value::Bool(reader.integer(address)? != Int::Small(0)),
            Kind::Int => Value::Int(reader.integer(address)?),
            Kind::Float => Value::Float(reader.float(address)?),
            Kind::Text => {
                let text = reader.text_unchecked(address, self.limits.text)?;
                let missing = text.length - text.text.chars().count().min(text.length);
                Value::Text {
                    text: text.text,
                    missing,
                }
            }
            Kind::Bytes => {
                let (bytes, length) = reader.bytes_object(address, self.limits.text)?;
                let missing = length - bytes.len();
                Value::Bytes { bytes, missing }
            }
            Kind::Type => Value::Named {
                kind: Kind::Type,
                name: reader.full_type_name(&*reader.type_at(address)?),
            },
            kind @ (Kind::Function | Kind::Module | Kind::Code | Kind::Method) => name_of(kind)?,
            Kind::MappingProxy => {
                let mapping = reader.word(address.wrapping_add(PROXY_MAPPING))?;
                self.within(address, |walk| Ok(walk.value(mapping)))?
            }
            kind @ (Kind::Tuple | Kind::List | Kind::Set) => {
                let most = self.limits.items;
                let (items, length) = if kind == Kind::Set {
                    reader.set_items(address, most)?
                } else {
                    reader.sequence(address, most)?
                };
                self.within(address, |walk| {
                    let missing = length.saturating_sub(items.len());
                    let items = items.into_iter().map(|item| walk.value(item)).collect();
                    Ok(Value::Items {
                        kind,
                        items,
                        missing,
                    })
                })?
            }
            Kind::Dict => {
                let entries = reader.dict_entries(address, self.limits.items)?;
                let missing = reader.dict_len(address)?.saturating_sub(entries.len());
                self.within(address, |walk| {
                    let read = |(key, value)| (walk.value(key), walk.value(value));
                    let entries = entries.into_iter().map(read).collect();
                    Ok(Value::Dict { entries, missing })
                })?
            }
            Kind::Exception => {
                let args = reader.exception_args(address)?;
                let (args, _) = reader.sequence(args, self.limits.items)?;
                let class = reader.full_type_name(&found);
                self.within(address, |walk| {
                    let args = args.into_iter().map(|item| walk.value(item)).collect();
                    Ok(Value::Exception { class, args })
                })?
            }
            Kind::Instance => self.instance(address, &found)?,
            Kind::Cell | Kind::Wrapper | Kind::Property | Kind::Member => Value::Instance {
                class: reader.full_type_name(&found),
                attributes: Vec::new(),
            },
        })
    }

    fn instance(&mut self, address: u64, found: &Type) -> Result<Value> {
        let reader = self.reader;
        let class = reader.full_type_name(found);
        if class == "uuid.UUID"
            && let Some(int) = reader.attribute(address, "int")?
        {
            return Ok(Value::Uuid(reader.unsigned_128(int)?));
        }
        let attributes = reader.attributes(address, self.limits.attributes)?;
        self.within(address, |walk| {
            let read = |a: super::instance::Attribute| (a.name, walk.value(a.value));
            let attributes = attributes.into_iter().map(read).collect();
            Ok(Value::Instance { class, attributes })
        })
    }

    /// Reads what is inside this container.
    fn within(
        &mut self,
        address: u64,
        read: impl FnOnce(&mut Self) -> Result<Value>,
    ) -> Result<Value> {
        if self.around.contains(&address) {
            return Ok(Value::Cycle);
        }
        if self.around.len() >= self.limits.depth {
            return Ok(Value::Deeper);
        }
        self.around.push(address);
        let value = read(self);
        self.around.pop();
        value
    }
}

impl Reader<'_> {
    /// The name of a function, method, code object or module.
    fn name_of(&self, address: u64, kind: Kind) -> Result<String> {
        match kind {
            Kind::Function => {
                let name = self.word(address.wrapping_add(self.layout.function.qualname))?;
                self.short_text(name)
            }
            Kind::Method => {
                let function = self.word(address.wrapping_add(METHOD_FUNCTION))?;
                match self.type_of(function)?.kind {
                    Kind::Function => self.name_of(function, Kind::Function),
                    _ => super::reader::malformed("function", function),
                }
            }
            Kind::Module => {
                let dict = self.word(address.wrapping_add(MODULE_DICT))?;
                match self.dict_get(dict, "__name__")? {
                    Some(name) => self.short_text(name),
                    None => super::reader::malformed("module", address),
                }
            }
            _ => {
                let code = &self.layout.code;
                let name = code.qualname.unwrap_or(code.name);
                self.short_text(self.word(address.wrapping_add(name))?)
            }
        }
    }
}
