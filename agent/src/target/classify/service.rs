//! Which processes are one service: those of one model server, and what a program forks and starts
//! to share its work.

use std::collections::HashMap;

use super::program::Program;
use super::server::Part;
use super::{Classification, Description};

/// Most steps from a process up to its ancestors; a loop is none.
const MAX_STEPS: usize = 64;

/// A process that was described, with what it is.
type Seen<'a> = &'a dyn Fn(u32) -> Option<&'a (Description, Classification)>;

/// The root of a process's service: its own id for one that stands for itself.
///
/// `seen` are the processes that were described; `parents` has the parent of every process of the
/// host, those that were not described too.
#[must_use]
pub fn root(pid: u32, seen: Seen<'_>, parents: &HashMap<u32, u32>) -> u32 {
    let mut root = pid;
    for _ in 0..MAX_STEPS {
        match seen(root).and_then(|one| above(one, seen, parents)) {
            Some(next) if next != pid => root = next,
            _ => break,
        }
    }
    root
}

/// The process above this one in the same service.
fn above(
    (process, what): &(Description, Classification),
    seen: Seen<'_>,
    parents: &HashMap<u32, u32>,
) -> Option<u32> {
    if let Some(own) = &what.server {
        // Between the parts of a server there may be others: a shell, Ray's daemon.
        let mut at = process.pid;
        for _ in 0..MAX_STEPS {
            at = *parents.get(&at)?;
            let Some((_, above)) = seen(at) else { continue };
            if above
                .server
                .as_ref()
                .is_some_and(|s| s.server == own.server)
            {
                return Some(at);
            }
            // Its parts may come from a program of one's own that has the server as a library.
            let name = own.server.distribution();
            let mut loaded = above.packages.iter().filter(|p| p.loaded);
            let library = above.server.is_none() && loaded.any(|p| Some(p.name.as_str()) == name);
            if library && own.part != Part::Api {
                return Some(at);
            }
        }
        return None;
    }
    let parent = *parents.get(&process.pid)?;
    let (above, _) = seen(parent)?;
    if !above.python || !process.python {
        return None;
    }
    let helps = Program::of(&process.command).is_some_and(|p| p.is_multiprocessing());
    let forked = process.command == above.command && process.executable == above.executable;
    let worker = is_worker(process, above);
    (helps || forked || worker).then_some(parent)
}

/// `gunicorn: worker [x]` below `gunicorn: master [x]`.
fn is_worker(process: &Description, above: &Description) -> bool {
    fn title(of: &Description) -> Option<&str> {
        let (program, _) = of.command.first()?.split_once(": ")?;
        (!program.contains(['/', ' '])).then_some(program)
    }
    title(process).is_some_and(|own| title(above) == Some(own))
}

#[cfg(test)]
mod tests {
    use super::root;
    use crate::target::classify::{Classification, Description, classify};
    use std::collections::HashMap;

    fn process(pid: u32, parent: u32, line: &str) -> (Description, Classification) {
        let described = Description {
            pid,
            parent,
            python: !line.starts_with("raylet"),
            executable: "/usr/bin/python3.12".to_owned(),
            command: line
                .split(if line.contains('|') { '|' } else { ' ' })
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
            ..Description::default()
        };
        let what = classify(&described);
        (described, what)
    }

    fn check(lines: &[(u32, u32, &str)], want: &[(u32, u32)]) {
        let all: Vec<_> = lines
            .iter()
            .map(|(pid, parent, line)| process(*pid, *parent, line))
            .collect();
        let parents: HashMap<u32, u32> = lines
            .iter()
            .map(|(pid, parent, _)| (*pid, *parent))
            .collect();
        let seen = |pid: u32| all.iter().find(|(process, _)| process.pid == pid);
        for (pid, want) in want {
            assert_eq!(root(*pid, &seen, &parents), *want, "process {pid}");
        }
    }

    #[test]
    fn a_model_server_is_one_service() {
        check(
            &[
                (10, 1, "python /v/bin/vllm serve m -tp 2"),
                (11, 10, "VLLM::EngineCore"),
                (12, 11, "VLLM::Worker_TP0"),
                (13, 11, "VLLM::Worker_TP1"),
                (
                    14,
                    10,
                    "python|-c|from multiprocessing.resource_tracker import main;main(40)",
                ),
                (15, 10, "python -m vllm.model_executor.models.registry"),
                (20, 1, "python /v/bin/vllm serve other"),
                (21, 20, "VLLM::EngineCore"),
            ],
            &[
                (10, 10),
                (11, 10),
                (12, 10),
                (13, 10),
                (14, 10),
                (15, 10),
                (20, 20),
                (21, 20),
            ],
        );
    }

    #[test]
    fn rays_daemon_stands_between() {
        check(
            &[
                (10, 1, "python /v/bin/vllm serve m"),
                (11, 10, "raylet/raylet --x"),
                (12, 11, "ray::RayWorkerWrapper"),
                (13, 11, "ray::IDLE"),
            ],
            &[(12, 10), (13, 13)],
        );
    }

    #[test]
    fn workers_belong_to_their_master_and_others_do_not() {
        check(
            &[
                (10, 1, "python /v/bin/gunicorn a:app"),
                (11, 10, "python /v/bin/gunicorn a:app"),
                (20, 1, "gunicorn: master [a:app]|"),
                (21, 20, "gunicorn: worker [a:app]|"),
                (30, 1, "python /usr/bin/supervisord"),
                (31, 30, "python app.py"),
                (
                    32,
                    31,
                    "python|-c|from multiprocessing.spawn import spawn_main; spawn_main(1)|--multiprocessing-fork",
                ),
            ],
            &[(11, 10), (21, 20), (31, 31), (32, 31)],
        );
    }

    #[test]
    fn a_loop_of_parents_ends() {
        check(
            &[(10, 11, "python a.py"), (11, 10, "python a.py")],
            &[(10, 11), (11, 10)],
        );
    }
}
