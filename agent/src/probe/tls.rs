//! The probes of a TLS library: which program goes where, and what the kernel is told of places that were
//! guessed.

use std::path::Path;

use genspan_common::guess::{GuessKey, GuessState, verdict};

use super::kernel::{AttachError, Kernel, Probes};
use super::place::{Form, TlsPlacements};

impl Kernel {
    /// Puts the probes of one TLS library on one process. `path` is where this process finds
    /// the file. Where the places are `guessed`, nothing is told of a call before one was seen to be what it
    /// should be (`ebpf/src/guess.rs`).
    ///
    /// # Errors
    ///
    /// When the kernel refuses one; those placed before are removed again.
    pub fn attach_tls(
        &mut self,
        pid: u32,
        path: &Path,
        places: &TlsPlacements,
        guessed: bool,
    ) -> Result<Probes, AttachError> {
        let programs = programs(places, guessed, self.multi.is_some());
        self.attach(pid, path, &programs)
    }

    /// The same for a process that was just forked and may call soon: does not wait until the
    /// kernel has placed them, where the kernel heeds them before. What it refuses is only logged.
    ///
    /// # Errors
    ///
    /// As [`Self::attach_tls`], where it does wait.
    pub fn attach_tls_soon(
        &mut self,
        pid: u32,
        path: &Path,
        places: &TlsPlacements,
        guessed: bool,
    ) -> Result<Probes, AttachError> {
        let programs = programs(places, guessed, self.multi.is_some());
        self.attach_soon(pid, path, &programs)
    }

    /// Nothing more is told of calls at these addresses of a process, whatever the kernel thinks of them. Holds from
    /// now on, while probes are removed some time later.
    pub fn revoke_guesses(&mut self, pid: u32, places: &[u64]) {
        let state = GuessState {
            verdict: verdict::REVOKED,
            weight: 0,
        };
        for place in places {
            let done = self.guesses.insert(key(pid, *place), state, 0);
            if let Err(error) = done {
                tracing::warn!(
                    pid,
                    "the kernel could not be told of a wrong guess: {error}"
                );
            }
        }
    }

    /// What was said of these addresses holds no more: the process is gone, or runs another program.
    pub fn forget_guesses(&mut self, pid: u32, places: &[u64]) {
        for place in places {
            // Not there: it gave way to others.
            let _ = self.guesses.remove(&key(pid, *place));
        }
    }
}

const fn key(tgid: u32, place: u64) -> GuessKey {
    GuessKey {
        place,
        tgid,
        zero: 0,
    }
}

/// The programs of a library's probes, each with its place: as sessions, or as perf places them.
fn programs(places: &TlsPlacements, guessed: bool, as_sessions: bool) -> Vec<(&'static str, u64)> {
    let mut all = if as_sessions {
        sessions(places)
    } else {
        paired(places)
    };
    if guessed {
        for (name, _) in &mut all {
            *name = of_guess(name);
        }
    }
    all
}

/// The program that does the same where a function was guessed.
fn of_guess(name: &'static str) -> &'static str {
    match name {
        "tls_read_enter" => "guess_read_enter",
        "tls_read_ex_enter" => "guess_read_ex_enter",
        "tls_read_public_ex_enter" => "guess_read_public_ex_enter",
        "tls_read_return" => "guess_read_return",
        "tls_write_enter" => "guess_write_enter",
        "tls_write_ex_enter" => "guess_write_ex_enter",
        "tls_write_ex5_enter" => "guess_write_ex5_enter",
        "tls_write_return" => "guess_write_return",
        "tls_read" => "guess_read",
        "tls_read_ex" => "guess_read_ex",
        "tls_read_public_ex" => "guess_read_public_ex",
        "tls_write" => "guess_write",
        "tls_write_ex" => "guess_write_ex",
        "tls_write_ex5" => "guess_write_ex5",
        // Every other one; the test below names them all.
        _ => "guess_free",
    }
}

/// The programs of a TLS library's probes as perf places them, each with its place.
fn paired(places: &TlsPlacements) -> Vec<(&'static str, u64)> {
    let mut programs = Vec::new();
    // The return before the entry: between the two a call would be an entry without its return
    // otherwise, and stay pending.
    for read in &places.reads {
        let enter = match read.form {
            Form::Plain => "tls_read_enter",
            Form::Ex | Form::Ex5 => "tls_read_ex_enter",
            Form::PublicEx => "tls_read_public_ex_enter",
        };
        programs.push(("tls_read_return", read.offset));
        programs.push((enter, read.offset));
    }
    for write in &places.writes {
        let enter = match write.form {
            Form::Plain => "tls_write_enter",
            Form::Ex | Form::PublicEx => "tls_write_ex_enter",
            Form::Ex5 => "tls_write_ex5_enter",
        };
        programs.push(("tls_write_return", write.offset));
        programs.push((enter, write.offset));
    }
    programs.extend(places.free.map(|free| ("tls_free", free)));
    programs
}

/// The same for sessions: one program for both ends of a call.
fn sessions(places: &TlsPlacements) -> Vec<(&'static str, u64)> {
    let reads = places.reads.iter().map(|read| {
        let program = match read.form {
            Form::Plain => "tls_read",
            Form::Ex | Form::Ex5 => "tls_read_ex",
            Form::PublicEx => "tls_read_public_ex",
        };
        (program, read.offset)
    });
    let writes = places.writes.iter().map(|write| {
        let program = match write.form {
            Form::Plain => "tls_write",
            Form::Ex | Form::PublicEx => "tls_write_ex",
            Form::Ex5 => "tls_write_ex5",
        };
        (program, write.offset)
    });
    let free = places.free.map(|free| ("tls_free", free));
    reads.chain(writes).chain(free).collect()
}

#[cfg(test)]
mod tests {
    use super::{Form, TlsPlacements, programs};
    use crate::probe::place::Placement;

    #[test]
    fn each_form_has_programs_of_its_own_where_it_was_guessed() {
        let one = |offset, form| Placement {
            offset,
            form,
            emulated: true,
        };
        let forms = [Form::Plain, Form::Ex, Form::PublicEx, Form::Ex5];
        let all = |from: u64| {
            let places = (from..).zip(forms);
            places.map(|(at, form)| one(at, form)).collect()
        };
        let places = TlsPlacements {
            reads: all(10),
            writes: all(20),
            free: Some(30),
        };
        for as_sessions in [false, true] {
            let sure = programs(&places, false, as_sessions);
            let guessed = programs(&places, true, as_sessions);
            assert_eq!(sure.len(), if as_sessions { 9 } else { 17 });
            assert_eq!(sure.len(), guessed.len());
            for ((name, at), (guess, place)) in sure.into_iter().zip(guessed) {
                assert_eq!(at, place);
                assert_eq!(
                    name.strip_prefix("tls_"),
                    guess.strip_prefix("guess_"),
                    "{name}"
                );
            }
        }
    }
}
