//! What is remembered of pods, and whose turn it is.

use super::*;

fn all(of: &[(&str, &str)]) -> Vec<(String, Detected)> {
    let one =
        |(key, value): &(&str, &str)| ((*key).to_owned(), Detected::Text((*value).to_owned()));
    of.iter().map(one).collect()
}

#[test]
fn what_is_no_more_said_of_a_pod_is_no_more_told() {
    let pid = std::process::id();
    let mut target = process::look(pid, &ContentPolicy::default(), true).unwrap();
    target.facts.detected = all(&[("container.id", "c"), ("k8s.pod.uid", "u")]);
    let traced = Traced {
        target,
        libraries: Vec::new(),
        parent: None,
        sockets: Sockets::default(),
        since: SystemTime::now(),
        interpreter: Interpreter::default(),
        pod: None,
        own: None,
        settings: Settings::default(),
        linker: None,
    };
    let mut attachments = Attachments::default();
    attachments.traced.insert(pid, traced);
    let address = Some("10.0.0.7".parse().unwrap());
    for (told, at, changes, want) in [
        (
            &[][..],
            None,
            false,
            &[("container.id", "c"), ("k8s.pod.uid", "u")][..],
        ),
        (
            &[
                ("k8s.pod.uid", "u"),
                ("k8s.pod.label.a", "1"),
                ("container.id", "d"),
            ],
            address,
            true,
            &[
                ("container.id", "d"),
                ("k8s.pod.uid", "u"),
                ("k8s.pod.label.a", "1"),
            ],
        ),
        // Its label is gone, and so is what was told of its container.
        (
            &[("k8s.pod.uid", "u"), ("k8s.pod.label.b", "2")],
            address,
            true,
            &[
                ("container.id", "c"),
                ("k8s.pod.uid", "u"),
                ("k8s.pod.label.b", "2"),
            ],
        ),
        // Nobody tells of it: it is as it was.
        (
            &[],
            None,
            false,
            &[
                ("container.id", "c"),
                ("k8s.pod.uid", "u"),
                ("k8s.pod.label.b", "2"),
            ],
        ),
    ] {
        let place = (all(told), at);
        let changed = attachments.place(pid, None, Settings::default(), place);
        let traced = attachments.get(pid).unwrap();
        assert_eq!(
            (changed, &traced.target.facts.detected),
            (changes, &all(want))
        );
        assert_eq!(traced.pod.is_some(), traced.own.is_some());
    }
    assert!(!attachments.place(pid + 1, None, Settings::default(), Default::default()));
}

#[test]
fn everybody_has_a_turn_and_few_interpreters_are_looked_for_at_once() {
    let start = Instant::now();
    let at = |pid: u32| start + Duration::from_millis(u64::from(pid));
    let some = |is_open: bool| (0..200).rev().map(move |pid| (at(pid), pid, is_open));
    let known: Vec<u32> = (0..MOST_AT_A_TIME as u32).collect();
    assert_eq!(turns(some(true).collect()), known);
    let unknown: Vec<u32> = (0..MOST_OPENED as u32).collect();
    assert_eq!(turns(some(false).collect()), unknown);
    // Those that are not known do not stand in the way of the others.
    let mixed = turns((0..200).map(|pid| (at(pid), pid, pid >= 100)).collect());
    let expected = unknown.into_iter().chain(100..);
    assert_eq!(mixed, expected.take(MOST_AT_A_TIME).collect::<Vec<_>>());
}
