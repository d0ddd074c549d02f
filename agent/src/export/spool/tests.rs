//! Batches on a real disk: in order, bounded, over restarts, and when the files are not what they were.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::AtomicUsize;

/// A directory that goes with the test.
pub(crate) struct Temporary(pub(crate) PathBuf);

impl Temporary {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("genspan-spool-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

const ROOM: u64 = 8 << 20;

fn open(at: &Temporary) -> Spool {
    Spool::open(&at.0, ROOM).unwrap()
}

/// The bodies that wait, in order; they are removed.
fn all(queue: &Queue) -> Vec<Vec<u8>> {
    let batches = std::iter::from_fn(|| {
        let batch = queue.oldest()?;
        queue.remove(batch.sequence);
        Some(batch.body)
    });
    batches.collect()
}

/// Bytes that cannot be compressed, of which the first is this.
pub(crate) fn noise(first: u8, length: usize) -> Vec<u8> {
    // Marsaglia's xorshift of 64 bits (2003).
    let mut state = u64::from(first) + 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let rest = std::iter::repeat_with(&mut next);
    std::iter::once(first).chain(rest).take(length).collect()
}

/// The files of a queue, in order.
fn batch_files(at: &Temporary, queue: &str) -> Vec<PathBuf> {
    let found = fs::read_dir(at.0.join(queue)).unwrap();
    let mut found: Vec<_> = found.map(|f| f.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn what_waits_survives_a_restart_in_order() {
    let at = Temporary::new();
    let spool = open(&at);
    let (spans, events) = (
        spool.queue("Traces http://c:1/ä", 1).unwrap(),
        spool.queue("logs", 2).unwrap(),
    );
    assert!(spans.is_empty() && spans.oldest().is_none());
    for (items, body) in [(3, "a"), (1, ""), (2, "c")] {
        spans.push(items, body.as_bytes()).unwrap();
        events.push(1, format!("{body}!").as_bytes()).unwrap();
    }
    // Taken and neither delivered nor released: as if the process died meanwhile.
    assert_eq!(spans.oldest().unwrap().items, 3);
    drop((spool, spans, events));

    // One that was being written then.
    fs::write(at.0.join("logs/new.tmp"), "gens").unwrap();
    // And a file of somebody else's, which stays.
    fs::write(at.0.join("logs/README"), "").unwrap();
    let spool = open(&at);
    assert_eq!(spool.unclaimed().len(), 2);
    let events = spool.queue("logs", 2).unwrap();
    assert_eq!(spool.unclaimed(), [("traces_http___c_1__".to_owned(), 6)]);
    let spans = spool.queue("Traces http://c:1/ä", 1).unwrap();
    let standing = spans.counts().standing();
    assert_eq!(
        (standing.batches, standing.items, standing.bytes),
        (3, 6, 3 * 4096)
    );
    spans.push(1, b"d").unwrap();
    assert_eq!(all(&spans), [&b"a"[..], b"", b"c", b"d"]);
    assert_eq!(all(&events), [&b"a!"[..], b"!", b"c!"]);
    assert_eq!(
        spans.counts().standing(),
        Standing {
            written: 1,
            ..Standing::default()
        }
    );
    let left = batch_files(&at, "logs");
    assert_eq!(left, [at.0.join("logs/README")]);
    assert!(matches!(spool.queue("logs", 2), Err(SpoolError::Twice(_))));
}

#[test]
fn the_oldest_of_all_go_when_it_is_full() {
    let at = Temporary::new();
    let spool = open(&at);
    let (a, b) = (spool.queue("a", 1).unwrap(), spool.queue("b", 1).unwrap());
    // With its header each takes a block more than a MiB.
    let body = noise(7, 1 << 20);
    for n in 0..7 {
        let queue = if n < 4 { &a } else { &b };
        queue.push(10 + n, &body).unwrap();
    }
    let full = |queue: &Queue| queue.counts().standing().dropped_full;
    assert_eq!((full(&a), full(&b)), (0, 0));
    // The oldest is being delivered: the next one goes.
    let taken = a.oldest().unwrap();
    b.push(17, &body).unwrap();
    assert_eq!((full(&a), full(&b)), (11, 0));
    a.release();
    b.push(18, &body).unwrap();
    assert_eq!((full(&a), full(&b)), (11 + 10, 0));
    // It is gone, and that it was delivered meanwhile is no trouble.
    assert!(!a.remove(taken.sequence));
    let used = |queue: &Queue| queue.counts().standing().bytes;
    assert!(used(&a) + used(&b) <= ROOM);
    // What never fits takes nobody's place.
    assert_eq!(a.push(5, &noise(0, 9 << 20)), Err(Lost::NoRoom));
    assert_eq!((full(&a), full(&b)), (11 + 10 + 5, 0));
    assert_eq!((all(&a).len(), all(&b).len()), (2, 5));
    let mut files = batch_files(&at, "a");
    files.extend(batch_files(&at, "b"));
    assert_eq!(files, Vec::<PathBuf>::new());
}

#[test]
fn a_smaller_bound_takes_effect_with_the_next_batch() {
    let at = Temporary::new();
    let queue = open(&at).queue("a", 1).unwrap();
    for n in 0..6 {
        queue.push(1, &noise(n, 1 << 20)).unwrap();
    }
    drop(queue);
    let queue = Spool::open(&at.0, 3 << 20).unwrap().queue("a", 1).unwrap();
    assert_eq!(queue.counts().standing().batches, 6);
    queue.push(1, b"x").unwrap();
    let kept: Vec<u8> = all(&queue).iter().map(|body| body[0]).collect();
    assert_eq!(kept, [4, 5, b'x']);
    assert_eq!(queue.counts().standing().dropped_full, 4);
}

#[test]
fn what_is_torn_or_changed_is_counted_and_passed_over() {
    let at = Temporary::new();
    let body = b"a body of some length";
    // Every way to cut it, and every byte of it changed.
    let whole = record::file(1, 5, body).unwrap().len();
    let damage = (0..whole)
        .map(|length| (length, None))
        .chain((0..whole).map(|byte| (whole, Some(byte))));
    let mut count = 0;
    let queue = open(&at).queue("a", 1).unwrap();
    for (length, changed) in damage {
        queue.push(5, body).unwrap();
        let file = batch_files(&at, "a").pop().unwrap();
        let mut bytes = fs::read(&file).unwrap();
        assert_eq!(bytes.len(), whole);
        bytes.truncate(length);
        if let Some(byte) = changed {
            bytes[byte] ^= 0x10;
        }
        fs::write(&file, bytes).unwrap();
        count += 5;
    }
    queue.push(1, b"good").unwrap();
    // Longer than it says, and gone.
    queue.push(1, b"long").unwrap();
    queue.push(1, b"gone").unwrap();
    queue.push(2, b"last").unwrap();
    let files = batch_files(&at, "a");
    let [.., long, gone, _] = &files[..] else {
        panic!("{files:?}")
    };
    let mut bytes = fs::read(long).unwrap();
    bytes.push(0);
    fs::write(long, bytes).unwrap();
    fs::remove_file(gone).unwrap();
    assert_eq!(all(&queue), [b"good", b"last"]);
    let standing = queue.counts().standing();
    assert_eq!(standing.dropped_corrupt, count + 2);
    assert_eq!(
        (standing.batches, standing.items, standing.bytes),
        (0, 0, 0)
    );
    assert_eq!(batch_files(&at, "a"), Vec::<PathBuf>::new());
}

/// As it was written before bodies were compressed.
#[test]
fn a_batch_of_an_earlier_version_is_read() {
    let at = Temporary::new();
    drop(open(&at).queue("a", 1).unwrap());
    let mut file = b"genspool\x01\x01\0\0".to_vec();
    file.extend(3_u64.to_le_bytes());
    file.extend(4_u64.to_le_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&file);
    crc.update(b"body");
    file.extend(crc.sum().to_le_bytes());
    file.extend(b"body");
    fs::write(at.0.join("a/0000000000000001-3.otlp"), file).unwrap();
    let queue = open(&at).queue("a", 1).unwrap();
    assert_eq!(all(&queue), [b"body"]);
    assert_eq!(queue.counts().standing().dropped_corrupt, 0);
}

#[test]
fn much_of_the_same_takes_little() {
    let at = Temporary::new();
    let queue = open(&at).queue("a", 1).unwrap();
    let body = b"gen_ai.request.model".repeat(50_000);
    queue.push(1, &body).unwrap();
    assert_eq!(queue.counts().standing().bytes, 4096);
    assert_eq!(all(&queue), [body]);
}

#[test]
fn one_that_is_on_its_way_stays_until_it_is_over() {
    let at = Temporary::new();
    let spool = open(&at);
    let queue = spool.queue("a", 1).unwrap();
    let body = noise(1, 2 << 20);
    let first = queue.push_taken(1, &body).unwrap();
    for _ in 0..4 {
        queue.push(10, &body).unwrap();
    }
    // There was no room for all of them, and the one that is on its way is the oldest.
    let standing = queue.counts().standing();
    assert_eq!((standing.items, standing.dropped_full), (21, 20));
    let second = queue.behind(first).unwrap();
    assert_eq!(second.items, 10);
    assert_eq!(queue.behind(second.sequence).map(|b| b.items), Some(10));
    queue.release();
    assert_eq!(queue.oldest().map(|b| b.sequence), Some(first));
    assert!(queue.remove(first) && !queue.remove(first));
    assert_eq!(queue.oldest().unwrap(), second);
    // Nothing is counted of one that cannot be put there: it is not lost yet.
    let dropped = queue.counts().standing().dropped();
    assert_eq!(queue.push_taken(7, &noise(1, 9 << 20)), None);
    assert_eq!(queue.counts().standing().dropped(), dropped);
}

#[test]
fn a_batch_of_another_queue_or_count_is_none() {
    let at = Temporary::new();
    let spool = open(&at);
    let queue = spool.queue("a", 1).unwrap();
    for items in [4, 5] {
        queue.push(items, b"x").unwrap();
    }
    drop((spool, queue));
    let second = batch_files(&at, "a").pop().unwrap();
    fs::rename(second, at.0.join("a/0000000000000001-6.otlp")).unwrap();
    // Read as another kind.
    let queue = open(&at).queue("a", 2).unwrap();
    assert_eq!(queue.oldest(), None);
    assert_eq!(queue.counts().standing().dropped_corrupt, 4 + 6);
}

#[test]
fn names_that_are_none_are_left_alone() {
    for name in [
        "1-1.otlp",
        "0000000000000001-.otlp",
        "0000000000000001-1",
        "0000000000000001-+1.otlp",
        "000000000000000A-1.otlp",
        "0000000000000001-01.otlp",
        "ffffffffffffffff-1.otlp",
        "0000000000000001-99999999999999999999.otlp",
    ] {
        let at = Temporary::new();
        drop(open(&at).queue("a", 1).unwrap());
        fs::write(at.0.join("a").join(name), "x").unwrap();
        let queue = open(&at).queue("a", 1).unwrap();
        assert!(queue.is_empty(), "{name}");
        queue.push(1, b"x").unwrap();
        assert_eq!(all(&queue).len(), 1, "{name}");
    }
}

#[test]
fn files_are_for_us_alone() {
    let at = Temporary::new();
    let spool = open(&at);
    let queue = spool.queue("a", 1).unwrap();
    queue.push(1, b"x").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&at.0), 0o700);
    assert_eq!(mode(&at.0.join("a")), 0o700);
    assert_eq!(mode(&batch_files(&at, "a")[0]), 0o600);
    assert_eq!(mode(&at.0.join(LOCK)), 0o600);
}

#[test]
fn a_directory_that_others_use_is_refused() {
    let at = Temporary::new();
    let spool = open(&at);
    let error = |at: &Path| Spool::open(at, ROOM).unwrap_err().to_string();
    assert!(error(&at.0).ends_with("another genspan uses it"));
    drop(spool);
    drop(open(&at));
    let permit = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for mode in [0o777, 0o720, 0o702, 0o1777] {
        permit(&at.0, mode).unwrap();
        let said = error(&at.0);
        assert!(
            said.contains("others can write to it") && said.ends_with("chmod go-w it"),
            "{said}"
        );
    }
    permit(&at.0, 0o755).unwrap();
    drop(open(&at).queue("a", 1).unwrap());
    permit(&at.0.join("a"), 0o777).unwrap();
    assert!(error(&at.0).contains("/a: others can write"));
    assert!(error(Path::new("/proc/version")).ends_with("not a directory"));
    assert!(error(Path::new("/proc/no/such")).contains("/proc/no/such: "));
}

#[test]
fn a_disk_that_takes_nothing_is_counted() {
    let at = Temporary::new();
    let spool = open(&at);
    let queue = spool.queue("a", 1).unwrap();
    queue.push(1, b"x").unwrap();
    // Its directory is gone, which stops root as well.
    fs::rename(at.0.join("a"), at.0.join("b")).unwrap();
    assert_eq!(queue.push(3, b"y"), Err(Lost::Disk));
    assert_eq!(queue.counts().standing().dropped_failed, 3);
    fs::rename(at.0.join("b"), at.0.join("a")).unwrap();
    queue.push(1, b"z").unwrap();
    assert_eq!(all(&queue), [b"x", b"z"]);
}
