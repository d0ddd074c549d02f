//! Functions by name: `module:Qualified.name`, with `<locals>` for what is defined inside a
//! function, as `__qualname__` has it.

use std::collections::HashSet;

use thiserror::Error;

use super::code::Code;
use super::dict::MAX_SCANNED;
use super::object::Kind;
use super::reader::{ReadError, Reader};

/// In a `classmethod` or `staticmethod`: `cm_callable`. In a `property`: `prop_get`. In a `method`:
/// `im_func`. The same in all versions.
const INNER: u64 = 16;

/// The part of a name that says that what follows is defined inside a function.
const LOCALS: &str = "<locals>";

/// Most wrappers around a function that are taken off.
const MAX_WRAPPERS: usize = 16;

/// Most functions of a listing.
pub const MAX_LISTED: usize = 100_000;

/// A function's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionName {
    /// The module, as in `sys.modules`.
    pub module: String,
    /// The parts of the qualified name.
    pub parts: Vec<String>,
}

/// Why a function was not found.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotFound {
    /// Not a name.
    #[error(
        "`{0}` names no function: write MODULE:QUALIFIED.NAME, for example \
         `json.decoder:JSONDecoder.decode`"
    )]
    NoName(String),
    /// The module is not loaded.
    #[error("the module `{0}` is not loaded")]
    NotLoaded(String),
    /// The module is there, the name is not.
    #[error("`{within}` has no `{part}`")]
    NoPart {
        /// What was found.
        within: String,
        /// What was not.
        part: String,
    },
    /// What has the name is no function of Python code.
    #[error("`{name}` is no Python function but of type `{type_name}`")]
    NoFunction {
        /// Its name.
        name: String,
        /// Its type.
        type_name: String,
    },
    /// The process's memory did not say.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A function of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// `module:Qualified.name`, as it can be looked for.
    pub name: String,
    /// Its code object.
    pub code: u64,
}

impl FunctionName {
    /// Takes a name apart.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, NotFound> {
        let bad = || NotFound::NoName(text.to_owned());
        let (module, name) = text.split_once(':').ok_or_else(bad)?;
        let parts: Vec<String> = name.split('.').map(str::to_owned).collect();
        let is_word = |part: &str| !part.is_empty() && !part.contains([':', ' ', '\t', '\n']);
        let sound = module.split('.').all(is_word)
            && parts.iter().all(|part| is_word(part))
            && parts.first().is_some_and(|part| part != LOCALS)
            && parts.last().is_some_and(|part| part != LOCALS);
        if !sound {
            return Err(bad());
        }
        Ok(Self {
            module: module.to_owned(),
            parts,
        })
    }
}

impl std::fmt::Display for FunctionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.module, self.parts.join("."))
    }
}

impl Reader<'_> {
    /// The code of the function with this name in this interpreter.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn find(&self, interpreter: u64, wanted: &FunctionName) -> Result<Code, NotFound> {
        self.find_function(interpreter, wanted)
            .map(|(code, _)| code)
    }

    /// The same with its function object, if it has one of its own: what is defined inside of
    /// another function has a new one each time.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn find_function(
        &self,
        interpreter: u64,
        wanted: &FunctionName,
    ) -> Result<(Code, Option<u64>), NotFound> {
        let module = self
            .module(interpreter, &wanted.module)?
            .ok_or_else(|| NotFound::NotLoaded(wanted.module.clone()))?;
        let mut dict = self.module_dict(module)?;
        let mut within = wanted.module.clone();
        for (i, part) in wanted.parts.iter().enumerate() {
            let missing = || NotFound::NoPart {
                within: within.clone(),
                part: part.clone(),
            };
            let object = self.dict_get(dict, part)?.ok_or_else(missing)?;
            let name = || format!("{}:{}", wanted.module, wanted.parts[..=i].join("."));
            let rest = &wanted.parts[i + 1..];
            if self.type_of(object)?.kind == Kind::Type && !rest.is_empty() {
                dict = self.type_at(object)?.dict;
                within = name();
                continue;
            }
            let found = self.function_of(object, part)?;
            let (function, code) = found.ok_or(NotFound::NoFunction {
                name: name(),
                type_name: self.full_type_name(&*self.type_of(object)?),
            })?;
            let (function, code) = match rest.split_first() {
                None => (Some(function), code),
                Some((first, rest)) if first == LOCALS => (None, self.find_nested(code, rest)?),
                Some((first, _)) => {
                    return Err(NotFound::NoPart {
                        within: name(),
                        part: first.clone(),
                    });
                }
            };
            return Ok((self.code(code)?, function));
        }
        Err(NotFound::NoName(wanted.to_string()))
    }

    /// The class with this name in this interpreter, which no other class or function is around.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn find_class(&self, interpreter: u64, wanted: &FunctionName) -> Result<u64, NotFound> {
        let [part] = wanted.parts.as_slice() else {
            return Err(NotFound::NoName(wanted.to_string()));
        };
        let module = self
            .module(interpreter, &wanted.module)?
            .ok_or_else(|| NotFound::NotLoaded(wanted.module.clone()))?;
        let dict = self.module_dict(module)?;
        let object = self.dict_get(dict, part)?.ok_or_else(|| NotFound::NoPart {
            within: wanted.module.clone(),
            part: part.clone(),
        })?;
        let class = self.type_of(object)?;
        if class.kind != Kind::Type {
            return Err(NotFound::NoFunction {
                name: wanted.to_string(),
                type_name: self.full_type_name(&class),
            });
        }
        Ok(object)
    }

    /// The code object of this qualified name inside another one, which may be that of a module
    /// that has not run yet: `<locals>` in the name is passed over.
    ///
    /// Where a name is defined more than once the last one counts, as it does in Python.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find_nested(&self, code: u64, parts: &[String]) -> Result<u64, NotFound> {
        let mut code = code;
        for part in parts.iter().filter(|part| *part != LOCALS) {
            let mut found = None;
            for nested in self.nested_code(code)? {
                if self.code_name(nested).is_ok_and(|name| name == *part) {
                    found = Some(nested);
                }
            }
            code = found.ok_or_else(|| NotFound::NoPart {
                within: self.code_name(code).unwrap_or_default(),
                part: part.clone(),
            })?;
        }
        Ok(code)
    }

    /// What is a function, or is one when wrappers are taken off, with its code object: those of the
    /// interpreter, and those of `functools.wraps` until the code has the wanted name.
    fn function_of(&self, object: u64, name: &str) -> Result<Option<(u64, u64)>, ReadError> {
        let mut object = object;
        let mut first = None;
        for _ in 0..MAX_WRAPPERS {
            match self.type_of(object)?.kind {
                Kind::Wrapper | Kind::Property | Kind::Method => {
                    object = self.word(object.wrapping_add(INNER))?;
                }
                Kind::Function => {
                    let code = self.word(object.wrapping_add(self.layout.function.code))?;
                    if self.code_name(code)? == name {
                        return Ok(Some((object, code)));
                    }
                    first = first.or(Some((object, code)));
                    let dict = self.word(object.wrapping_add(self.layout.function.dict))?;
                    let inner = match dict {
                        0 => None,
                        dict => self.dict_get(dict, "__wrapped__")?,
                    };
                    match inner {
                        Some(inner) => object = inner,
                        None => return Ok(first),
                    }
                }
                _ => return Ok(first),
            }
        }
        Ok(first)
    }

    /// The functions that are loaded: those of modules and of their classes, each once, where they
    /// are defined. `module` keeps to one module and those below it.
    ///
    /// # Errors
    ///
    /// When the modules cannot be read. What cannot be read of a module is left out.
    pub fn functions(
        &self,
        interpreter: u64,
        module: Option<&str>,
    ) -> Result<Vec<Listed>, ReadError> {
        let mut listing = Listing {
            reader: self,
            all: Vec::new(),
            seen: HashSet::new(),
        };
        for (name, object) in self.modules(interpreter)? {
            let Ok(name) = self.short_text(name) else {
                continue;
            };
            let is_below = module.is_none_or(|m| {
                name.strip_prefix(m)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            if let (true, Ok(dict)) = (is_below, self.module_dict(object)) {
                // A budget that is used up is an answer all the same.
                listing.dict(dict, &name, "", 0).ok();
            }
        }
        listing.all.sort();
        Ok(listing.all)
    }
}

struct Listing<'r, 'm> {
    reader: &'r Reader<'m>,
    all: Vec<Listed>,
    seen: HashSet<u64>,
}

impl Listing<'_, '_> {
    /// Functions and classes of a dict that are defined in this module.
    fn dict(
        &mut self,
        dict: u64,
        module: &str,
        prefix: &str,
        depth: usize,
    ) -> Result<(), ReadError> {
        /// Classes in classes.
        const DEEPEST: usize = 4;
        let reader = self.reader;
        for (key, value) in reader.dict_entries(dict, MAX_SCANNED)? {
            if self.all.len() >= MAX_LISTED {
                return Ok(());
            }
            let kind = match reader.type_of(value) {
                Ok(found) => found.kind,
                Err(ReadError::Budget) => return Err(ReadError::Budget),
                Err(_) => continue,
            };
            let callable = matches!(
                kind,
                Kind::Function | Kind::Wrapper | Kind::Property | Kind::Type
            );
            let Some(part) = callable.then(|| reader.short_text(key).ok()).flatten() else {
                continue;
            };
            if kind == Kind::Type {
                let Ok(class) = reader.type_at(value) else {
                    continue;
                };
                let own = class.is_heap() && self.is_of(class.dict, module);
                if own && depth < DEEPEST && self.seen.insert(value) {
                    self.dict(class.dict, module, &format!("{prefix}{part}."), depth + 1)?;
                }
                continue;
            }
            let Ok(Some((_, code))) = reader.function_of(value, &part) else {
                continue;
            };
            // A function that was only imported is listed where it is defined.
            let own = depth > 0 || self.function_is_of(value, module);
            if own && self.seen.insert(code) {
                let name = format!("{module}:{prefix}{part}");
                self.all.push(Listed { name, code });
            }
        }
        Ok(())
    }

    fn is_of(&self, dict: u64, module: &str) -> bool {
        let found = self.reader.dict_get(dict, "__module__").ok().flatten();
        found.is_some_and(|name| self.reader.short_text(name).is_ok_and(|n| n == module))
    }

    fn function_is_of(&self, function: u64, module: &str) -> bool {
        let at = function.wrapping_add(self.reader.layout.function.module);
        self.reader
            .word(at)
            .and_then(|name| self.reader.short_text(name))
            .is_ok_and(|name| name == module)
    }
}

#[cfg(test)]
mod tests {
    use super::FunctionName;

    #[test]
    fn names_are_taken_apart() {
        for (text, module, parts) in [
            ("json:dumps", "json", vec!["dumps"]),
            ("a.b:C.f", "a.b", vec!["C", "f"]),
            (
                "m:shielded.<locals>.wrapped",
                "m",
                vec!["shielded", "<locals>", "wrapped"],
            ),
        ] {
            let name = FunctionName::parse(text).unwrap();
            assert_eq!(name.module, module);
            assert_eq!(name.parts, parts);
            assert_eq!(name.to_string(), text);
        }
        for bad in [
            "",
            "json",
            "json:",
            ":f",
            "a..b:f",
            "m:f.<locals>",
            "m:<locals>.f",
            "m:a b",
        ] {
            assert!(FunctionName::parse(bad).is_err(), "{bad}");
        }
    }
}
