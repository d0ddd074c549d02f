//! Which processes are one service: those of one model server, and what a program forks and starts
//! to share its work.

use std::collections::HashMap;

use super::program::Program;
use super::server::Part;
use super::{Classification, Description};

/// Most steps from a process up to its ancestors; a loop is none.
const MAX_STEPS: usize = 64;

/// The root of each process's service: its own id for one that stands for itself.
///
/// `parents` has the parent of every process of the host, those that are not described too.
#[must_use]
pub fn roots(
    all: &[(Description, Classification)],
    parents: &HashMap<u32, u32>,
) -> HashMap<u32, u32> {
    let known: HashMap<u32, &(Description, Classification)> =
        all.iter().map(|one| (one.0.pid, one)).collect();
    let mut roots = HashMap::new();
    for (process, _) in all {
        let mut root = process.pid;
        for _ in 0..MAX_STEPS {
            match known.get(&root).and_then(|one| above(one, &known, parents)) {
                Some(next) if next != process.pid => root = next,
                _ => break,
            }
        }
        roots.insert(process.pid, root);
    }
    roots
}

/// The process above this one in the same service.
fn above(
    (process, what): &(Description, Classification),
    known: &HashMap<u32, &(Description, Classification)>,
    parents: &HashMap<u32, u32>,
) -> Option<u32> {
    if let Some(own) = &what.server {
        // Between the parts of a server there may be others: a shell, Ray's daemon.
        let mut at = process.pid;
        for _ in 0..MAX_STEPS {
            at = *parents.get(&at)?;
            let same = known.get(&at).and_then(|(_, w)| w.server.as_ref());
            if same.is_some_and(|above| above.server == own.server) {
                return Some(at);
            }
            // Its parts may come from a program of one's own that has the server as a library.
            let library = known.get(&at).is_some_and(|(_, w)| {
                w.server.is_none()
                    && own
                        .server
                        .distribution()
                        .is_some_and(|name| w.packages.iter().any(|p| p.loaded && p.name == name))
            });
            if library && own.part != Part::Api {
                return Some(at);
            }
        }
        return None;
    }
    let parent = *parents.get(&process.pid)?;
    let (above, _) = known.get(&parent)?;
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
    use super::roots;
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
        let got = roots(&all, &parents);
        for (pid, root) in want {
            assert_eq!(got.get(pid), Some(root), "process {pid}");
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
                (20, 1, "python /v/bin/vllm serve other"),
                (21, 20, "VLLM::EngineCore"),
            ],
            &[
                (10, 10),
                (11, 10),
                (12, 10),
                (13, 10),
                (14, 10),
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
        check(&[(10, 11, "python a.py"), (11, 10, "python a.py")], &[]);
    }
}
