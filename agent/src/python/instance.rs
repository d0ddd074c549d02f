//! Attributes of instances: those of their `__dict__`, wherever their version keeps it, and those
//! of their classes' `__slots__`.

use std::rc::Rc;

use super::dict::{Entry, MAX_SCANNED};
use super::layout::{DictLayout, OB_SIZE};
use super::object::{Kind, MAX_BASES, Type};
use super::reader::{Reader, Result, malformed};

/// In a member descriptor (`Include/cpython/descrobject.h`): its name, and its `PyMemberDef`.
const MEMBER_NAME: u64 = 24;
const MEMBER_DEFINITION: u64 = 40;
/// In a `PyMemberDef`: `type`, `offset`.
const DEFINITION_TYPE: u64 = 8;
const DEFINITION_OFFSET: u64 = 16;
/// `type` of an attribute that is an object: `T_OBJECT` and `T_OBJECT_EX`.
const OBJECT_TYPES: [i32; 2] = [6, 16];

/// In an exception: `dict`, `args`.
const EXCEPTION_DICT: u64 = 16;
const EXCEPTION_ARGS: u64 = 24;

/// Before an object of 3.11: pointers to its values and to its dict. In 3.12 one word is both, and
/// from 3.13 on a pointer to the dict alone.
const MANAGED_VALUES: u64 = 32;
const MANAGED_DICT: u64 = 24;

/// Furthest that a slot is in an object, in bytes.
const MAX_SLOT_OFFSET: i64 = 1 << 16;

/// Most slots of an object.
const MAX_SLOTS: usize = 1024;

/// A slot of the instances of a class: its name, and where in them it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    name: String,
    offset: i64,
}

/// An attribute: its name, and where its value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Name.
    pub name: String,
    /// Address of the value.
    pub value: u64,
}

impl Reader<'_> {
    /// The attributes that the object itself has, at most so many: its slots, then its `__dict__`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn attributes(&self, object: u64, most: usize) -> Result<Vec<Attribute>> {
        let found = self.type_of(object)?;
        let mut all = self.slots(object, &found, most)?;
        for (key, value) in self.dict_attributes(object, &found, most)? {
            if all.len() >= most {
                break;
            }
            let reader = self.of_name(key);
            let is_text = reader.type_of(key).is_ok_and(|t| t.kind == Kind::Text);
            if let (true, Ok(name)) = (is_text, reader.short_text(key)) {
                all.push(Attribute { name, value });
            }
        }
        Ok(all)
    }

    /// The value of one attribute of the object itself.
    ///
    /// # Errors
    ///
    /// When the object cannot be read.
    pub fn attribute(&self, object: u64, name: &str) -> Result<Option<u64>> {
        let found = self.type_of(object)?;
        let entries = self.dict_attributes(object, &found, MAX_SCANNED)?;
        if let Some(value) = self.named(entries.into_iter(), name) {
            return Ok(Some(value));
        }
        let slots = self.slots(object, &found, MAX_SLOTS)?;
        Ok(slots.into_iter().find(|a| a.name == name).map(|a| a.value))
    }

    /// The `args` of an exception, a tuple.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn exception_args(&self, exception: u64) -> Result<u64> {
        self.word(exception.wrapping_add(EXCEPTION_ARGS))
    }

    /// Entries of the object's `__dict__`; none when it has none.
    fn dict_attributes(&self, object: u64, found: &Type, most: usize) -> Result<Vec<Entry>> {
        if found.kind == Kind::Exception {
            let dict = self.word(object.wrapping_add(EXCEPTION_DICT))?;
            return self.optional_dict(dict, most);
        }
        if found.has_managed_dict() {
            return self.managed_attributes(object, found, most);
        }
        let at = match found.dict_offset {
            0 => return Ok(Vec::new()),
            offset if offset > 0 => offset,
            // From the end of an object of variable size (`_PyObject_DictPointer`).
            offset => {
                let size = self.size(object.wrapping_add(OB_SIZE))?;
                let count = i64::try_from(size.unsigned_abs()).unwrap_or(i64::MAX);
                let items = count.checked_mul(found.item_size);
                let whole = items.and_then(|items| items.checked_add(found.basic_size));
                let Some(end) = whole.and_then(|n| n.checked_add(7)).map(|n| n & !7) else {
                    return malformed("object", object);
                };
                end.saturating_add(offset)
            }
        };
        if !(OB_SIZE.cast_signed()..=MAX_SLOT_OFFSET << 16).contains(&at) {
            return malformed("object", object);
        }
        let dict = self.word(object.wrapping_add_signed(at))?;
        self.optional_dict(dict, most)
    }

    fn optional_dict(&self, dict: u64, most: usize) -> Result<Vec<Entry>> {
        if dict == 0 {
            return Ok(Vec::new());
        }
        self.dict_entries(dict, most)
    }

    /// As [`Self::dict_attributes`], of an object whose dict lies before it (from 3.11 on;
    /// `Include/internal/pycore_object.h`).
    fn managed_attributes(&self, object: u64, found: &Type, most: usize) -> Result<Vec<Entry>> {
        let managed = self.word(object.wrapping_sub(MANAGED_DICT))?;
        match self.layout.dict {
            DictLayout::Sized => malformed("object without a managed dict", object),
            DictLayout::Values => {
                if managed != 0 {
                    return self.dict_entries(managed, most);
                }
                let values = self.word(object.wrapping_sub(MANAGED_VALUES))?;
                self.beside_keys(found, values, most)
            }
            // `_PyDictOrValues_IsValues`: the lowest bit; the pointer is one less than the values.
            DictLayout::TaggedValues if managed & 1 == 1 => {
                self.beside_keys(found, managed.wrapping_add(1), most)
            }
            DictLayout::TaggedValues => self.optional_dict(managed, most),
            DictLayout::InlineValues => {
                if managed != 0 || !found.has_inline_values() {
                    return self.optional_dict(managed, most);
                }
                let values = object.wrapping_add_signed(found.basic_size);
                if !self.inline_values_count(values)? {
                    return Ok(Vec::new());
                }
                self.beside_keys(found, values, most)
            }
        }
    }

    /// Values that belong to the keys that a class caches.
    fn beside_keys(&self, found: &Type, values: u64, most: usize) -> Result<Vec<Entry>> {
        let lasting = self.lasting();
        let cached = found.address.wrapping_add(self.layout.type_cached_keys);
        let keys = lasting.word(cached)?;
        if keys == 0 || values == 0 {
            return Ok(Vec::new());
        }
        let keys = lasting.keys(keys)?;
        let values = match self.layout.dict {
            DictLayout::InlineValues => self.inline_values(values, keys.count)?,
            _ => self.plain_values(values, keys.count)?,
        };
        lasting.entries(&keys, Some(&values), most)
    }

    /// The values of the slots of the object's class and its bases.
    fn slots(&self, object: u64, found: &Type, most: usize) -> Result<Vec<Attribute>> {
        let slots = match found.slots.get() {
            Some(slots) => Rc::clone(slots),
            None => {
                let slots = self.lasting().slots_of(found)?;
                Rc::clone(found.slots.get_or_init(|| slots.into()))
            }
        };
        let mut all = Vec::new();
        for slot in slots.iter().take(most) {
            // What is beyond what was copied of it says nothing.
            let value = self.word(object.wrapping_add_signed(slot.offset));
            if let Some(value) = value.ok().filter(|value| *value != 0) {
                let name = slot.name.clone();
                all.push(Attribute { name, value });
            }
        }
        Ok(all)
    }

    /// The slots of a class and its bases.
    fn slots_of(&self, found: &Type) -> Result<Vec<Slot>> {
        let mut all = Vec::new();
        let mut class = found.clone();
        for _ in 0..MAX_BASES {
            if !class.is_heap() || class.dict == 0 {
                break;
            }
            for (_, member) in self.dict_entries(class.dict, MAX_SCANNED)? {
                if all.len() >= MAX_SLOTS {
                    return Ok(all);
                }
                let is_member = self.type_of(member).is_ok_and(|t| t.kind == Kind::Member);
                if let (true, Ok(Some(slot))) = (is_member, self.slot(member)) {
                    all.push(slot);
                }
            }
            if class.base == 0 {
                break;
            }
            class = (*self.type_at(class.base)?).clone();
        }
        Ok(all)
    }

    /// The slot that a member descriptor leads to; `None` where it is no object.
    fn slot(&self, member: u64) -> Result<Option<Slot>> {
        let definition = self.word(member.wrapping_add(MEMBER_DEFINITION))?;
        let kind = self.int(definition.wrapping_add(DEFINITION_TYPE))?;
        let offset = self.size(definition.wrapping_add(DEFINITION_OFFSET))?;
        if !OBJECT_TYPES.contains(&kind)
            || !(OB_SIZE.cast_signed()..MAX_SLOT_OFFSET).contains(&offset)
        {
            return Ok(None);
        }
        let name = self.word(member.wrapping_add(MEMBER_NAME))?;
        let name = self.short_text(name)?;
        Ok(Some(Slot { name, offset }))
    }
}
