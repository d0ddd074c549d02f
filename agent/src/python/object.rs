//! Objects and their types: what something is, told by its type's flags and name.

use std::cell::OnceCell;
use std::rc::Rc;

use super::instance::Slot;
use super::layout::{OB_SIZE, OB_TYPE};
use super::reader::{Reader, Result, malformed, words_of};
use super::text;

/// Offsets in `PyTypeObject`, the same in all versions (`Include/cpython/object.h`).
mod at {
    pub(super) const NAME: usize = 24;
    pub(super) const BASIC_SIZE: usize = 32;
    pub(super) const ITEM_SIZE: usize = 40;
    pub(super) const FLAGS: usize = 168;
    pub(super) const BASE: usize = 256;
    pub(super) const DICT: usize = 264;
    pub(super) const DICT_OFFSET: usize = 288;
    /// What is read of a type at once.
    pub(super) const HEAD: usize = 296;
}

/// Bits of `tp_flags` (`Include/object.h`, `Include/cpython/object.h`).
mod flag {
    /// `Py_TPFLAGS_INLINE_VALUES`, from 3.13 on.
    pub(super) const INLINE_VALUES: u64 = 1 << 2;
    /// `Py_TPFLAGS_MANAGED_DICT`, from 3.11 on.
    pub(super) const MANAGED_DICT: u64 = 1 << 4;
    /// `Py_TPFLAGS_HEAPTYPE`: made by a `class` statement or the like.
    pub(super) const HEAP: u64 = 1 << 9;
    /// `Py_TPFLAGS_READY`.
    pub(super) const READY: u64 = 1 << 12;
    pub(super) const INT: u64 = 1 << 24;
    pub(super) const LIST: u64 = 1 << 25;
    pub(super) const TUPLE: u64 = 1 << 26;
    pub(super) const BYTES: u64 = 1 << 27;
    pub(super) const TEXT: u64 = 1 << 28;
    pub(super) const DICT: u64 = 1 << 29;
    pub(super) const EXCEPTION: u64 = 1 << 30;
    pub(super) const TYPE: u64 = 1 << 31;
}

/// Most steps along `tp_base`.
pub(super) const MAX_BASES: usize = 32;

/// Longest name of a type.
const MAX_NAME: usize = 256;

/// What an object is, as far as reading it goes. That of a subclass is its base's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Python's own")]
pub enum Kind {
    None,
    Bool,
    Int,
    Float,
    Text,
    Bytes,
    Tuple,
    List,
    Dict,
    Set,
    Exception,
    Type,
    Module,
    Function,
    Method,
    Code,
    Cell,
    /// `classmethod` and `staticmethod`.
    Wrapper,
    Property,
    /// A slot of a class: `member_descriptor`.
    Member,
    /// `types.MappingProxyType`.
    MappingProxy,
    /// Of a class of Python code, or of an extension: it has attributes, perhaps.
    Instance,
}

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// Where it is.
    pub address: u64,
    /// The last part of `tp_name`: what its instances' `type(x).__name__` says.
    pub name: String,
    /// The part of `tp_name` before it; for a class of Python code the name has none.
    pub prefix: Option<String>,
    /// What its instances are.
    pub kind: Kind,
    /// `tp_base`, or zero.
    pub base: u64,
    /// `tp_dict`, or zero.
    pub dict: u64,
    flags: u64,
    /// `tp_basicsize`.
    pub(super) basic_size: i64,
    /// `tp_itemsize`.
    pub(super) item_size: i64,
    /// `tp_dictoffset`.
    pub(super) dict_offset: i64,
    /// Its name as tracebacks have it, once it was asked for.
    full_name: OnceCell<String>,
    /// The slots of its instances, likewise.
    pub(super) slots: OnceCell<Rc<[Slot]>>,
}

impl Type {
    /// Whether it was made by a `class` statement or the like.
    #[must_use]
    pub fn is_heap(&self) -> bool {
        self.flags & flag::HEAP != 0
    }

    /// Whether its instances' dict is before them (from 3.11 on).
    pub(super) fn has_managed_dict(&self) -> bool {
        self.flags & flag::MANAGED_DICT != 0
    }

    /// Whether its instances' values lie in them (from 3.13 on).
    pub(super) fn has_inline_values(&self) -> bool {
        self.flags & flag::INLINE_VALUES != 0
    }
}

impl Reader<'_> {
    /// The type of the object.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub fn type_of(&self, object: u64) -> Result<Rc<Type>> {
        let address = self.word(object.wrapping_add(OB_TYPE))?;
        self.type_at(address)
    }

    /// The type at this address.
    ///
    /// # Errors
    ///
    /// As [`Self::type_of`].
    pub fn type_at(&self, address: u64) -> Result<Rc<Type>> {
        let lasting = self.lasting();
        if !std::ptr::eq(lasting, self) {
            return lasting.type_at(address);
        }
        if let Some(found) = self.known_type(address) {
            return Ok(found);
        }
        if !address.is_multiple_of(8) {
            return malformed("type", address);
        }
        let head = match self.array::<{ at::HEAD }>(address) {
            Ok(head) => words_of(&head),
            Err(error) => return self.last_type(address).ok_or(error),
        };
        let word = |at: usize| head.get(at / 8).copied().unwrap_or(0);
        let flags = word(at::FLAGS);
        if flags & flag::READY == 0 {
            return malformed("type", address);
        }
        let stamp = [
            word(at::NAME),
            word(at::BASIC_SIZE),
            word(at::ITEM_SIZE),
            word(at::BASE),
            word(at::DICT),
            word(at::DICT_OFFSET),
        ];
        if let Some(found) = self.learned_type(address, stamp) {
            self.remember_type(Rc::clone(&found));
            return Ok(found);
        }
        let full = text::c_string(self, word(at::NAME), MAX_NAME)?;
        let (prefix, name) = match full.rsplit_once('.') {
            Some((prefix, name)) if flags & flag::HEAP == 0 => {
                (Some(prefix.to_owned()), name.to_owned())
            }
            _ => (None, full),
        };
        let mut found = Type {
            address,
            kind: Kind::Instance,
            name,
            prefix,
            base: word(at::BASE),
            dict: word(at::DICT),
            flags,
            basic_size: word(at::BASIC_SIZE).cast_signed(),
            item_size: word(at::ITEM_SIZE).cast_signed(),
            dict_offset: word(at::DICT_OFFSET).cast_signed(),
            full_name: OnceCell::new(),
            slots: OnceCell::new(),
        };
        found.kind = self.kind_of(&found);
        let found = Rc::new(found);
        self.learn_type(&found, stamp);
        self.remember_type(Rc::clone(&found));
        Ok(found)
    }

    /// What instances of this type are.
    fn kind_of(&self, found: &Type) -> Kind {
        let by_flag = [
            (flag::TEXT, Kind::Text),
            (flag::DICT, Kind::Dict),
            (flag::LIST, Kind::List),
            (flag::TUPLE, Kind::Tuple),
            (flag::BYTES, Kind::Bytes),
            (flag::EXCEPTION, Kind::Exception),
            (flag::TYPE, Kind::Type),
        ];
        if let Some((_, kind)) = by_flag.iter().find(|(bit, _)| found.flags & bit != 0) {
            return *kind;
        }
        if found.flags & flag::INT != 0 {
            let is_bool = found.name == "bool" && !found.is_heap();
            return if is_bool { Kind::Bool } else { Kind::Int };
        }
        let mut base = found.clone();
        let mut may_be_module = false;
        for _ in 0..MAX_BASES {
            if !base.is_heap() && base.prefix.is_none() {
                let kind = builtin(&base.name);
                if may_be_module && kind != Kind::Module {
                    return Kind::Instance;
                }
                if kind != Kind::Instance || base.name == "object" {
                    return kind;
                }
                // A type that is named as one of the interpreter's and is none. Nuitka has such: the one that it gives to
                // `builtins` is a module's, and that of its functions says that it is a function's but is laid out
                // otherwise.
                may_be_module = true;
            }
            // A float too, laid out as one, but derived from it as its second base.
            if base.name == "float64" && base.prefix.as_deref() == Some("numpy") {
                return Kind::Float;
            }
            match self.shallow(base.base) {
                Some(next) => base = next,
                None => break,
            }
        }
        Kind::Instance
    }

    /// A base of a type, without asking what it is.
    fn shallow(&self, address: u64) -> Option<Type> {
        if let Some(known) = self.known_type(address) {
            return Some((*known).clone());
        }
        if address == 0 || !address.is_multiple_of(8) {
            return None;
        }
        let head = words_of(&self.array::<{ at::HEAD }>(address).ok()?);
        let flags = *head.get(at::FLAGS / 8)?;
        let name = text::c_string(self, *head.get(at::NAME / 8)?, MAX_NAME).ok()?;
        let (prefix, name) = match name.rsplit_once('.') {
            Some((prefix, name)) => (Some(prefix.to_owned()), name.to_owned()),
            None => (None, name),
        };
        Some(Type {
            address,
            name,
            prefix,
            kind: Kind::Instance,
            base: *head.get(at::BASE / 8)?,
            dict: *head.get(at::DICT / 8)?,
            flags,
            basic_size: 0,
            item_size: 0,
            dict_offset: 0,
            full_name: OnceCell::new(),
            slots: OnceCell::new(),
        })
    }

    /// `ob_size`.
    pub(super) fn object_size(
        &self,
        object: u64,
        most: usize,
        what: &'static str,
    ) -> Result<usize> {
        self.count(object.wrapping_add(OB_SIZE), most, what)
    }

    /// The name of a type as tracebacks have it: `module.qualified.name`, or as much of it as
    /// can be read.
    #[must_use]
    pub fn full_type_name(&self, found: &Type) -> String {
        let name = || self.lasting().read_full_name(found);
        found.full_name.get_or_init(name).clone()
    }

    fn read_full_name(&self, found: &Type) -> String {
        if !found.is_heap() {
            return match &found.prefix {
                Some(prefix) => format!("{prefix}.{}", found.name),
                None => found.name.clone(),
            };
        }
        let qualname = self
            .word(found.address.wrapping_add(self.layout.type_qualname))
            .and_then(|address| self.short_text(address))
            .unwrap_or_else(|_| found.name.clone());
        let module = self
            .dict_get(found.dict, "__module__")
            .ok()
            .flatten()
            .and_then(|address| self.short_text(address).ok());
        match module {
            Some(module) if module != "builtins" => format!("{module}.{qualname}"),
            _ => qualname,
        }
    }
}

/// What instances of a type of the interpreter are, by its name.
fn builtin(name: &str) -> Kind {
    match name {
        "NoneType" => Kind::None,
        "float" => Kind::Float,
        "set" | "frozenset" => Kind::Set,
        "module" => Kind::Module,
        "function" => Kind::Function,
        "method" => Kind::Method,
        "code" => Kind::Code,
        "cell" => Kind::Cell,
        "classmethod" | "staticmethod" => Kind::Wrapper,
        "property" => Kind::Property,
        "member_descriptor" => Kind::Member,
        "mappingproxy" => Kind::MappingProxy,
        _ => Kind::Instance,
    }
}
