//! Finding OpenSSL's functions in a file that has no names for them.
//!
//! A static OpenSSL in a stripped file is code without symbols. What stays is what OpenSSL says
//! of itself when it raises an error: the name of its source file, and the function, by its number
//! (1.1.1: `SSL_F_SSL_READ` of `sslerr.h`) or by its name (3 and newer: `ERR_raise` of `err.h`).
//! So the functions are found that raise the errors of `SSL_read`, `ssl_read_internal` and kin.
//!
//! A wrong guess would make probes read what is no TLS, so nothing is taken that not all of this
//! says, and only where each function is the only one of which it is true:
//!
//! 1. the unwind table has the function, from where to where, and that it is entered at its beginning;
//! 2. `SSL_read` raises its one error (`SSL_R_BAD_LENGTH`) as itself, from `ssl/ssl_lib.c`;
//! 3. `ssl_read_internal` raises `SSL_R_UNINITIALIZED` as itself, from the same file;
//! 4. the first calls the second's beginning, with its own connection and buffer, its length made
//!    wider, and a place on its stack, in the position that tells the form; or the second was built
//!    into the first (`-O3`), which then calls a method of the connection with just these, as the
//!    other forms do with their own four arguments;
//! 5. the same holds for the writes;
//! 6. one function there counts its argument's references down before it calls anything, and then, by
//!    itself or by a part of it, gives it and a field of it to a call as what is of the class
//!    `CRYPTO_EX_INDEX_SSL`: `SSL_free`.
//!
//! What is found are addresses of what symbols would have named, and the same places for probes
//! follow from them. Pure: the bytes come from the caller. Hostile ones cost bounded work.

mod body;
mod layout;
#[cfg(target_arch = "x86_64")]
#[cfg(test)]
mod tests;

use std::ops::Range;

use object::ReadRef;
use thiserror::Error;

use self::body::{Body, Site, Value};
use self::layout::Layout;
use super::elf::{Function, Image, Segment};
use super::place::{self, Form, TlsPlacements};

/// Why the functions of a TLS library were not found.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotFound {
    /// Code of this processor is not read.
    #[error("it is known for x86-64 only how to find them")]
    Processor,
    /// It does not say where functions begin.
    #[error("it has no unwind table, which tells where functions begin")]
    NoUnwindTable,
    /// Nothing refers to the name of OpenSSL's source file.
    #[error("no code refers to the name of OpenSSL's source file ssl_lib.c")]
    NoErrors,
    /// None, or several, look like this function.
    #[error("{count} functions look like {what}")]
    NotOne {
        /// Its name in OpenSSL.
        what: &'static str,
        /// How many do.
        count: usize,
    },
    /// One function does not call another as it would in OpenSSL.
    #[error("what looks like {caller} does not hand its arguments to what looks like {callee}")]
    Disagree {
        /// The one.
        caller: &'static str,
        /// The other.
        callee: &'static str,
    },
    /// More than is looked through, so that it is not known what is the only one.
    #[error("it has more {0} than are looked through")]
    TooMany(&'static str),
    /// Two functions begin at one place.
    #[error("what looks like different functions begins at one place")]
    Same,
    /// The beginning of something that is not entered there.
    #[error("the unwind table says that no function is entered at {0:#x}")]
    NoEntry(u64),
    /// No place for a probe.
    #[error("the function at {0:#x} lies outside of what is loaded")]
    Outside(u64),
}

/// `ERR_LIB_SSL` (`err.h`)
const LIBRARY: u64 = 20;
/// `SSL_R_BAD_LENGTH`, `SSL_R_UNINITIALIZED` (`sslerr.h`, the same from 1.1.1 to 4.0)
const BAD_LENGTH: u64 = 271;
const UNINITIALIZED: u64 = 276;
/// `CRYPTO_EX_INDEX_SSL` (`crypto.h`)
const CLASS_SSL: u64 = 0;
/// Most functions of one direction, beside the plain one, that have the internal one built in.
const MOST_FORMS: usize = 2;
/// The end of what OpenSSL is told to be the name of the file, wherever it was built.
const SOURCE: &[u8] = b"ssl/ssl_lib.c\0";

/// A function that raises an error as itself.
struct Raiser {
    name: &'static str,
    /// The name as it stands in the file.
    text: &'static [u8],
    /// `SSL_F_…` of OpenSSL 1.1.1 (`sslerr.h`).
    number: u64,
    reason: u64,
}

const READ: Raiser = Raiser {
    name: "SSL_read",
    text: b"SSL_read\0",
    number: 223,
    reason: BAD_LENGTH,
};
const READ_INTERNAL: Raiser = Raiser {
    name: "ssl_read_internal",
    text: b"ssl_read_internal\0",
    number: 523,
    reason: UNINITIALIZED,
};
const WRITE: Raiser = Raiser {
    name: "SSL_write",
    text: b"SSL_write\0",
    number: 208,
    reason: BAD_LENGTH,
};
const WRITE_INTERNAL: Raiser = Raiser {
    name: "ssl_write_internal",
    text: b"ssl_write_internal\0",
    number: 524,
    reason: UNINITIALIZED,
};

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where probes go.
    pub places: TlsPlacements,
    /// What says so: where in the file the functions lie and the texts that they refer to. A file that has the same there
    /// has the same functions.
    pub evidence: Vec<Range<u64>>,
}

/// Finds the functions, and in them the places for probes. `segments` are the image's read-only ones.
///
/// # Errors
///
/// Why not: then nothing of this file may be probed.
pub fn find<'d, R: ReadRef<'d>>(
    image: &Image<'d, R>,
    segments: Vec<Segment<'d>>,
) -> Result<Found, NotFound> {
    if !cfg!(target_arch = "x86_64") {
        return Err(NotFound::Processor);
    }
    let layout = Layout::new(image, segments)?;
    let sources = layout.strings_ending(SOURCE)?;
    let starts = layout.functions_at(&layout.references(&sources)?);
    let bodies = body::read(&layout, &starts)?;
    if bodies.is_empty() {
        return Err(NotFound::NoErrors);
    }
    let seen = Seen {
        layout: &layout,
        sources: &sources,
        bodies: &bodies,
    };
    let reads = seen.places(&READ, &READ_INTERNAL)?;
    let writes = seen.places(&WRITE, &WRITE_INTERNAL)?;
    let free = seen.free()?;
    let entries = || reads.iter().chain(&writes).map(|(start, _)| *start);
    let evidence = seen.evidence(entries().chain([free]).collect())?;
    let evidence = evidence.into_iter().map(|range| {
        let from = image.any_offset(range.start);
        let from = from.ok_or(NotFound::Outside(range.start))?;
        Ok(from..from.saturating_add(range.end - range.start))
    });
    let evidence = evidence.collect::<Result<_, _>>()?;
    let place = |address, form| {
        if !layout.is_entered_at(address) {
            return Err(NotFound::NoEntry(address));
        }
        let function = Function { address, size: 0 };
        place::own(image, function, form).ok_or(NotFound::Outside(address))
    };
    let all = |found: Vec<(u64, Form)>| {
        found
            .into_iter()
            .map(|(a, form)| place(a, form))
            .collect::<Result<Vec<_>, _>>()
    };
    let places = TlsPlacements {
        reads: all(reads)?,
        writes: all(writes)?,
        free: Some(place(free, Form::Plain)?.offset),
    };
    if !places.are_distinct() {
        return Err(NotFound::Same);
    }
    Ok(Found { places, evidence })
}

/// What the search has come to know.
struct Seen<'a> {
    layout: &'a Layout<'a>,
    sources: &'a [u64],
    bodies: &'a [Body],
}

impl Seen<'_> {
    /// Where the data of one direction goes through: the internal function that `outer` hands over to,
    /// or `outer` and the other forms that have it built in.
    fn places(&self, outer: &Raiser, inner: &Raiser) -> Result<Vec<(u64, Form)>, NotFound> {
        let caller = one(outer.name, &self.raisers(outer)?)?;
        let disagree = NotFound::Disagree {
            caller: outer.name,
            callee: inner.name,
        };
        let raisers = self.raisers(inner)?;
        if !raisers.iter().any(|b| b.start == caller.start) {
            let callee = one(inner.name, &raisers)?.start;
            let mut calls = caller.sites.iter().filter(|s| s.target == Some(callee));
            let form = calls.find_map(hands_over).ok_or(disagree)?;
            return Ok(vec![(callee, form)]);
        }
        let mut methods = caller.sites.iter().filter(|s| s.target.is_none());
        if !methods.any(|s| hands_over(s) == Some(Form::Ex)) {
            return Err(disagree);
        }
        // `SSL_read_ex`, and perhaps the internal function, which then nobody calls.
        let others = raisers.into_iter().filter(|b| {
            let own = [0, 1, 2, 3].map(Value::Argument);
            let mut methods = b.sites.iter().filter(|s| s.target.is_none());
            methods.any(|s| s.arguments[..4] == own)
        });
        let others: Vec<&Body> = others.collect();
        let starts: Vec<_> = others.iter().map(|b| b.start).collect();
        let calls_one = |b: &Body| {
            b.sites
                .iter()
                .any(|s| s.target.is_some_and(|t| starts.contains(&t)))
        };
        if calls_one(caller) || others.iter().any(|b| calls_one(b)) {
            return Err(disagree);
        }
        if !(1..=MOST_FORMS).contains(&others.len()) {
            return Err(NotFound::NotOne {
                what: inner.name,
                count: others.len(),
            });
        }
        let others = starts.into_iter().map(|s| (s, Form::PublicEx));
        Ok(std::iter::once((caller.start, Form::Plain))
            .chain(others)
            .collect())
    }

    /// Where all of that lies by which these functions were found: they, those that were looked at with them, and
    /// the texts.
    fn evidence(&self, mut functions: Vec<u64>) -> Result<Vec<Range<u64>>, NotFound> {
        let mut texts = self.sources.to_vec();
        for raiser in [&READ, &READ_INTERNAL, &WRITE, &WRITE_INTERNAL] {
            functions.extend(self.raisers(raiser)?.iter().map(|b| b.start));
            texts.extend(self.layout.strings(raiser.text)?);
        }
        let freeing = self.bodies.iter().filter(|b| self.frees(b));
        functions.extend(freeing.map(|b| b.start));
        functions.sort_unstable();
        functions.dedup();
        let functions = functions.iter().filter_map(|start| {
            let (start, end) = self.layout.function_at(*start)?;
            Some(start..end)
        });
        let texts = texts.iter().filter_map(|at| self.layout.string(*at));
        Ok(functions.chain(texts).collect())
    }

    /// The functions that raise this error as that one.
    fn raisers(&self, raiser: &Raiser) -> Result<Vec<&Body>, NotFound> {
        let names = self.layout.strings(raiser.text)?;
        let (number, reason) = (raiser.number, raiser.reason);
        let raises = |b: &&Body| {
            self.raises_numbered(b, number, reason) || self.raises_named(b, &names, reason)
        };
        Ok(self.bodies.iter().filter(raises).collect())
    }

    /// `ERR_put_error(library, function, reason, file, line)` of OpenSSL 1.1.1
    fn raises_numbered(&self, body: &Body, number: u64, reason: u64) -> bool {
        let wanted = [LIBRARY, number, reason].map(Value::Constant);
        let says = |s: &Site| s.arguments[..3] == wanted && self.is_source(s.arguments[3]);
        body.sites.iter().any(says)
    }

    /// `ERR_set_debug(file, line, function)` and `ERR_set_error(library, reason, …)` of OpenSSL 3
    fn raises_named(&self, body: &Body, names: &[u64], reason: u64) -> bool {
        let named = |s: &Site| {
            let name = s.arguments[2].constant();
            self.is_source(s.arguments[0]) && name.is_some_and(|n| names.contains(&n))
        };
        let wanted = [LIBRARY, reason].map(Value::Constant);
        let sites = &body.sites;
        sites.iter().any(named) && sites.iter().any(|s| s.arguments[..2] == wanted)
    }

    /// `SSL_free`: drops a reference, and frees the rest or leaves that to a part of it that the
    /// compiler made a function of its own.
    fn free(&self) -> Result<u64, NotFound> {
        const NAME: &str = "SSL_free";
        let freeing: Vec<&Body> = self.bodies.iter().filter(|b| self.frees(b)).collect();
        let freeing = one(NAME, &freeing)?;
        if freeing.drops_reference {
            return Ok(freeing.start);
        }
        let callers = body::read(self.layout, &self.layout.callers(freeing.start)?)?;
        let hands_over = |b: &&Body| {
            let to =
                |s: &Site| s.target == Some(freeing.start) && s.arguments[0] == Value::Argument(0);
            b.drops_reference && b.sites.iter().any(to)
        };
        let callers: Vec<&Body> = callers.iter().filter(hands_over).collect();
        Ok(one(NAME, &callers)?.start)
    }

    /// `CRYPTO_free_ex_data(CRYPTO_EX_INDEX_SSL, s, &s->ex_data)`, and memory that is freed in this
    /// source file. `SSL_CTX_free` and `SSL_SESSION_free` have classes of their own.
    fn frees(&self, body: &Body) -> bool {
        let wanted = [
            Value::Constant(CLASS_SSL),
            Value::Argument(0),
            Value::Within(0),
        ];
        let source = |s: &Site| self.is_source(s.arguments[1]);
        let sites = &body.sites;
        sites.iter().any(|s| s.arguments[..3] == wanted) && sites.iter().any(source)
    }

    fn is_source(&self, value: Value) -> bool {
        let address = value.constant();
        address.is_some_and(|a| self.sources.contains(&a))
    }
}

/// Whether a call is that of the internal function by the plain one, and where that expects the place
/// for the length: `(s, buf, (size_t)num, &n)`, or `(s, buf, (size_t)num, 0, &n)` for writes since
/// OpenSSL 3.3.
fn hands_over(site: &Site) -> Option<Form> {
    let [connection, buffer, length, fourth, fifth] = site.arguments;
    let same =
        connection == Value::Argument(0) && buffer == Value::Argument(1) && length == Value::Low(2);
    match (fourth, fifth) {
        _ if !same => None,
        (Value::Stack, _) => Some(Form::Ex),
        (Value::Constant(0), Value::Stack) => Some(Form::Ex5),
        _ => None,
    }
}

fn one<'a>(what: &'static str, all: &[&'a Body]) -> Result<&'a Body, NotFound> {
    match all {
        [body] => Ok(body),
        _ => Err(NotFound::NotOne {
            what,
            count: all.len(),
        }),
    }
}
