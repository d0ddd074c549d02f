//! What a command line runs: the program behind the interpreter and its options.

use crate::target::command::{OPTIONS_WITH_VALUE, file_stem, is_interpreter};

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// `python -m MODULE`
    Module,
    /// `python FILE`, also by the first line of the file.
    Script,
    /// `python -c CODE`
    Code,
    /// No interpreter stands before it: a program of its own, or a process that gave itself a title.
    Own,
}

/// The program of a command line, and what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program<'a> {
    /// How it is run.
    pub how: How,
    /// The module, the path of the script or the program, or the code.
    pub name: &'a str,
    /// Its arguments.
    pub arguments: &'a [String],
}

impl<'a> Program<'a> {
    /// Takes a command line apart. `None` for an interpreter alone, which reads from its input.
    #[must_use]
    pub fn of(command: &'a [String]) -> Option<Self> {
        let (first, rest) = command.split_first()?;
        if first.is_empty() {
            return None;
        }
        let make = |how, name, arguments| Self {
            how,
            name,
            arguments,
        };
        if !is_interpreter(file_stem(first)) {
            return Some(make(How::Own, first.as_str(), rest));
        }
        let mut at = 0;
        while let Some(argument) = rest.get(at) {
            let behind = |n: usize| rest.get(at + n..).unwrap_or_default();
            let next = rest.get(at + 1).map(String::as_str);
            match argument.as_str() {
                "-m" => return next.map(|m| make(How::Module, m, behind(2))),
                "-c" => return next.map(|c| make(How::Code, c, behind(2))),
                "-" => return None,
                option if OPTIONS_WITH_VALUE.contains(&option) => at += 1,
                option if option.starts_with('-') => {
                    // `-mMODULE`, and grouped flags such as `-um MODULE`.
                    if let Some((flags, module)) = option.split_once('m')
                        && !flags.starts_with("--")
                        && flags.chars().skip(1).all(|c| FLAGS.contains(c))
                    {
                        return if module.is_empty() {
                            next.map(|m| make(How::Module, m, behind(2)))
                        } else {
                            Some(make(How::Module, module, behind(1)))
                        };
                    }
                }
                script => return Some(make(How::Script, script, behind(1))),
            }
            at += 1;
        }
        None
    }

    /// The module, or the program's name without folders and `.py`.
    #[must_use]
    pub fn short_name(&self) -> &'a str {
        match self.how {
            How::Module => self.name,
            How::Code => "",
            How::Script | How::Own => file_stem(self.name),
        }
    }

    /// Whether it is one of the processes that `multiprocessing` starts beside those that a program
    /// asks for: `spawn_main`, the fork server, the resource tracker (`Lib/multiprocessing/spawn.py`,
    /// `forkserver.py`, `resource_tracker.py` of CPython 3.8 to 3.14).
    #[must_use]
    pub fn is_multiprocessing(&self) -> bool {
        self.how == How::Code && self.name.starts_with("from multiprocessing.")
    }

    /// Whether it is the one of them that runs nothing of the program: the resource tracker.
    #[must_use]
    pub fn is_tracker(&self) -> bool {
        const TRACKER: &str = "from multiprocessing.resource_tracker ";
        self.how == How::Code && self.name.starts_with(TRACKER)
    }
}

/// Options of the interpreter without a value (`Python/getopt.c`).
const FLAGS: &str = "bBdEiIOPqsSuvVx";

#[cfg(test)]
mod tests {
    use super::{How, Program};

    #[test]
    fn command_lines_are_taken_apart() {
        for (line, want) in [
            ("python app.py --port 1", Some((How::Script, "app", 2))),
            (
                "/v/bin/python3.12 -u -X dev /v/bin/uvicorn a:b",
                Some((How::Script, "uvicorn", 1)),
            ),
            (
                "python -O -m vllm.x serve",
                Some((How::Module, "vllm.x", 1)),
            ),
            (
                "python -um http.server 80",
                Some((How::Module, "http.server", 1)),
            ),
            (
                "python -mhttp.server",
                Some((How::Module, "http.server", 0)),
            ),
            ("python -c print(1) x", Some((How::Code, "", 1))),
            ("/usr/bin/ollama serve", Some((How::Own, "ollama", 1))),
            ("VLLM::EngineCore", Some((How::Own, "VLLM::EngineCore", 0))),
            ("python -", None),
            ("python -m", None),
            ("python", None),
            ("", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let got = Program::of(&words);
            let got = got.map(|p| (p.how, p.short_name(), p.arguments.len()));
            assert_eq!(got, want, "{line}");
        }
        assert_eq!(Program::of(&[]), None);
    }
}
