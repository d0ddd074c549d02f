//! The scout on processes of this host.

use super::{Agenda, Arc, Discovery, EfdFlags, EventFd, HashMap, HashSet, LOOKS, channel};
use super::{Report, Scout, Search};
use crate::target::rules::{NotTraced, Rules};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn search(reports: std::sync::mpsc::Sender<Report>) -> Search {
    Search {
        rules: Rules::default(),
        embedding: HashSet::new(),
        lost: Arc::default(),
        discovery: Discovery::default(),
        cluster: None,
        known: HashMap::new(),
        agenda: Agenda::default(),
        parents: HashMap::new(),
        users: HashMap::new(),
        tell: reports,
        bell: Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap()),
        busy: Arc::default(),
        sightings: Arc::default(),
        looked: Arc::default(),
    }
}

/// Copies a program that is to be run at once. A process of its own writes the copy: what this one
/// has open for writing, whatever another thread starts meanwhile has too until it is a program of
/// its own, and what anybody may write cannot be run (`ETXTBSY`).
fn copy_to_run(program: &Path, copy: &Path) {
    let made = Command::new("cp").arg(program).arg(copy).status();
    assert!(made.unwrap().success());
}

/// A Python under another name, that has begun.
fn bundle(executable: &Path, home: &str) -> Child {
    let code = "import _ssl, sys, time; print(flush=True); time.sleep(60)";
    let mut child = Command::new(executable)
        .args(["-c", code])
        .env("PYTHONHOME", home)
        .env("APSARA_APM_APP_TYPE", "app")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let said = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
    assert_eq!((said.unwrap(), line.as_str()), (1, "\n"));
    child
}

#[test]
fn a_bundle_is_known_the_second_time() {
    let about = "import sys; print(sys.executable); print(sys.base_prefix)";
    let Ok(told) = Command::new("/usr/bin/python3")
        .args(["-c", about])
        .output()
    else {
        println!("skipped: no /usr/bin/python3");
        return;
    };
    let told = String::from_utf8(told.stdout).unwrap();
    let (python, home) = told.trim().split_once('\n').unwrap();
    let dir = std::env::temp_dir().join(format!("genspan-bundle-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (reports, told) = channel();
    let mut search = search(reports);
    let mut children = Vec::new();
    // One that its file tells is known at once; one that shows by what it has loaded, the second time.
    let (open, closed) = (dir.join("open"), dir.join("closed"));
    copy_to_run(Path::new(python), &open);
    let mut renamed = Command::new("objcopy");
    renamed.args(["--rename-section", ".PyRuntime=.other"]);
    let made = renamed.arg(python).arg(&closed).status();
    assert!(made.unwrap().success());
    for (executable, looks) in [(&open, 0), (&closed, 2), (&closed, 0)] {
        let child = bundle(executable, home);
        let pid = child.id();
        children.push(child);
        search.executed(pid);
        let known = search.known.get(&pid).unwrap();
        assert_eq!(known.looks, looks);
        assert_eq!(search.agenda.next(), Some(known.since + LOOKS[looks]));
        assert_eq!(search.agenda.take(known.since + LOOKS[looks]), Some(pid));
        search.look(pid).unwrap();
        let report = told.try_recv().unwrap();
        assert!(matches!(report, Report::Trace { pid: p, .. } if p == pid));
        search.agenda.remove(pid);
    }
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_changes_about_a_pod_puts_no_look_off() {
    let code = "print(flush=True); import time; time.sleep(60)";
    let Ok(mut python) = Command::new("python3")
        .args(["-c", code])
        .stdout(Stdio::piped())
        .spawn()
    else {
        println!("skipped: no python3 on PATH");
        return;
    };
    let mut line = String::new();
    let mut said = BufReader::new(python.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let pid = python.id();
    let (reports, told) = channel();
    let mut search = search(reports);
    search.executed(pid);
    let since = search.known.get(&pid).unwrap().since;
    assert_eq!(search.agenda.take(since + LOOKS[2]), Some(pid));
    search.look(pid).unwrap();
    let next = search.agenda.next();
    // As where its pod is told of (`pods_changed`).
    let concluded = search.conclude(pid, None);
    let then = search.agenda.next();
    python.kill().unwrap();
    python.wait().unwrap();
    assert!(concluded.is_ok());
    assert!(matches!(told.try_recv(), Ok(Report::Leave { pid: p, .. }) if p == pid));
    let soon = since + LOOKS[3];
    assert!(next.is_some_and(|at| at <= soon), "{next:?} {soon:?}");
    assert_eq!(then, next);
}

#[test]
fn what_cannot_be_told_is_counted() {
    let (words, heard) = std::sync::mpsc::sync_channel(1);
    let (_, reports) = channel();
    let scout = Scout {
        words: Arc::new(words),
        cluster: None,
        reports,
        bell: Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap()),
        busy: Arc::default(),
        sightings: Arc::default(),
        looked: Arc::default(),
        lost: Arc::default(),
    };
    for pid in 1..=3 {
        scout.executed(pid);
    }
    let counts: Vec<_> = scout.losses().iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [2, 0]);
    drop(heard);
}

fn wait(scout: &Scout, mut wanted: impl FnMut(&Report) -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        match scout.take() {
            Some(report) if wanted(&report) => return true,
            Some(_) => {}
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    false
}

#[test]
fn a_program_that_listens_is_found_and_left_when_rules_say_so() {
    let Ok(mut python) = Command::new("python3")
        .args(["-m", "http.server", "0", "--bind", "127.0.0.1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        println!("skipped: no python3 on PATH");
        return;
    };
    let pid = python.id();
    let scout = Scout::start(Rules::default(), None).unwrap();
    let traced = wait(
        &scout,
        |r| matches!(r, Report::Trace { pid: p, .. } if *p == pid),
    );
    scout.set_rules(Rules {
        exclude: vec!["name=http.server".parse().unwrap()],
        ..Rules::default()
    });
    let left = wait(
        &scout,
        |r| matches!(r, Report::Leave { pid: p, .. } if *p == pid),
    );
    python.kill().unwrap();
    python.wait().unwrap();
    let gone = wait(&scout, |r| *r == Report::Gone(pid));
    assert_eq!((traced, left, gone), (true, true, true));
}

#[test]
fn what_a_process_says_that_it_is_counts_where_it_is_trusted() {
    for ignores_environment in [false, true] {
        let Ok(mut python) = Command::new("python3")
            .args(["-c", "import time; time.sleep(60)"])
            .env("APSARA_APM_APP_TYPE", "app")
            .env("OTEL_SERVICE_NAME", "shop")
            .spawn()
        else {
            println!("skipped: no python3 on PATH");
            return;
        };
        let pid = python.id();
        let rules = Rules {
            ignores_environment,
            ..Rules::default()
        };
        let scout = Scout::start(rules, None).unwrap();
        let told = wait(&scout, |r| match r {
            Report::Trace { pid: p, .. } => *p == pid && !ignores_environment,
            Report::Leave { pid: p, why } => {
                *p == pid && ignores_environment && *why == NotTraced::Nothing
            }
            _ => false,
        });
        let names = scout.sightings();
        let name = names.get(&pid).map(|sighting| sighting.service.clone());
        python.kill().unwrap();
        python.wait().unwrap();
        assert!(told, "{ignores_environment}");
        assert_eq!(
            name.as_deref() == Some("shop"),
            !ignores_environment,
            "{name:?}"
        );
    }
}

/// No event tells of this one: it comes after all processes were looked through, and is found when they are
/// looked through again.
#[test]
fn what_nobody_told_of_is_found_by_the_sweep() {
    let scout = Scout::start(Rules::default(), None).unwrap();
    let begun = Instant::now();
    while !scout.has_looked() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    let Ok(mut python) = Command::new("python3")
        .args(["-m", "http.server", "0", "--bind", "127.0.0.1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        println!("skipped: no python3 on PATH");
        return;
    };
    let pid = python.id();
    let traced = wait(
        &scout,
        |r| matches!(r, Report::Trace { pid: p, .. } if *p == pid),
    );
    let seen = scout.sightings().remove(&pid);
    python.kill().unwrap();
    python.wait().unwrap();
    // So is that it is gone.
    let begun = Instant::now();
    while scout.sightings().contains_key(&pid) && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(traced);
    assert_eq!(seen.unwrap().service, "http.server");
    assert!(!scout.sightings().contains_key(&pid));
    // None of it was heard and dropped.
    assert!(scout.losses().iter().all(|(_, count)| *count == 0));
}
