use super::super::heap::Heap;
use super::super::layout::{DictLayout, Layout};
use super::super::memory::{Image, Memory as _};
use super::super::reader::{QUESTION_BUDGET, Reader, Types};
use super::super::render;
use super::super::value::Limits;
use super::super::version::Version;
use super::{Copied, values};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// Pieces of memory as the kernel writes them.
fn record(pieces: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (address, bytes) in pieces {
        all.extend(address.to_ne_bytes());
        all.extend((bytes.len() as u64).to_ne_bytes());
        all.extend(bytes);
        // What was there before.
        all.resize(all.len().next_multiple_of(8), 0xee);
    }
    all
}

/// A process with an object of many kinds, which is gone: what was copied of it, and where it was.
struct Gone {
    layout: &'static Layout,
    process: Image,
    copied: Vec<(u64, Vec<u8>)>,
    root: u64,
    whole: Json,
}

fn gone(version: Version) -> Gone {
    let mut heap = Heap::new(version);
    let names = ["text", "none", "list", "unset"];
    let class = heap.class("Thing", &names, false);
    let keys = heap.cached_keys(class, &names);
    let slotted = heap.class("Slotted", &["left", "right"], true);
    // To 3.10 the keys that instances share are the dict's, and copied with it.
    let of_types: BTreeSet<u64> = match heap.layout.dict {
        DictLayout::Sized => BTreeSet::new(),
        _ => heap.image.pieces().map(|(start, _)| start).collect(),
    };
    let lasting: BTreeSet<u64> = heap.image.pieces().map(|(start, _)| start).collect();
    let (none, one) = (heap.none(), heap.int(1));
    let (text, wide) = (heap.text("grüße"), heap.text("你好 🦀"));
    let large = heap.int(1 << 100);
    let half = heap.float(0.5);
    let legacy = heap.legacy_text("elsewhere");
    let empty = heap.list(&[]);
    let yes = heap.boolean(true);
    let list = heap.list(&[one, wide, large, half, legacy, empty, yes]);
    let instance = heap.instance(class, keys, &[text, none, list, 0]);
    let inner = heap.names(&[("a", one), ("b", list)]);
    let with_dict = heap.with_dict(class, inner);
    let slots = heap.slotted(slotted, &[text, inner]);
    let bytes = heap.bytes(b"12345");
    let set = heap.set(&[one]);
    let tuple = heap.tuple(&[text, one]);
    let exception = heap.exception(tuple);
    let key = heap.int(7);
    let general = heap.dict(&[(key, instance), (text, with_dict)], true);
    let root = heap.list(&[general, slots, bytes, set, tuple, exception, class]);
    let reader = Reader::new(&heap.image, heap.layout, QUESTION_BUDGET);
    let whole = render::classed(&reader.value(root, Limits::default()), "<class>");
    let pieces: Vec<(u64, usize)> = heap.image.pieces().collect();
    let read = |(start, len): &(u64, usize)| {
        let mut bytes = vec![0; *len];
        heap.image.read(*start, &mut bytes).ok()?;
        Some((*start, bytes))
    };
    let copied = pieces.iter().filter(|(start, _)| !of_types.contains(start));
    // Of a type that is a value the kernel copies that it is one.
    let is_type = (!of_types.is_empty()).then_some((class, 16));
    let copied = copied
        .filter_map(read)
        .chain(is_type.as_ref().and_then(read));
    let copied = copied.collect();
    let mut process = heap.image.clone();
    for (start, len) in pieces {
        if !lasting.contains(&start) {
            process.change(start, &vec![0xff; len]);
        }
    }
    Gone {
        layout: heap.layout,
        process,
        copied,
        root,
        whole,
    }
}

impl Gone {
    fn read(&self, pieces: &[(u64, Vec<u8>)], types: &Types) -> Json {
        let roots = [0, self.root];
        let found = values(&record(pieces), &roots, &self.process, (self.layout, types));
        assert_eq!((found.len(), &found[0]), (2, &None));
        found[1]
            .as_ref()
            .map_or(Json::Null, |value| render::classed(value, "<class>"))
    }
}

#[test]
fn what_was_copied_is_read_when_the_objects_are_gone() {
    for version in Version::ALL {
        let gone = gone(version);
        let types = Types::default();
        for _ in 0..2 {
            assert_eq!(gone.read(&gone.copied, &types), gone.whole, "{version}");
        }
        let text = gone.whole.to_string();
        for part in ["grüße", "你好 🦀", "elsewhere", "Outer.Thing", "ValueError"] {
            assert!(text.contains(part), "{version}: no {part} in {text}");
        }
        assert!(!text.contains("<unreadable>"), "{version}: {text}");
    }
}

#[test]
fn what_was_not_copied_is_missing_and_nothing_else() {
    for version in Version::ALL {
        let gone = gone(version);
        let types = Types::default();
        let mut marked = 0;
        for left_out in 0..gone.copied.len() {
            let mut pieces = gone.copied.clone();
            let (start, bytes) = pieces.remove(left_out);
            let told = gone.read(&pieces, &types).to_string();
            marked += usize::from(told.contains("<omitted>") || told.contains(" more>"));
            // Bytes of what is gone are never taken for those of an object.
            assert!(!told.contains('ÿ'), "{version}: {told}");
            // The first half of it is as good as that of a text that was cut.
            pieces.push((start, bytes[..bytes.len() / 2].to_vec()));
            let _ = gone.read(&pieces, &types);
        }
        assert!(marked > 10, "{version}: {marked}");
        assert_eq!(gone.read(&[], &types), Json::from("<omitted>"), "{version}");
    }
}

#[test]
fn segments_end_where_they_make_no_sense() {
    let pieces = [(0x1000, vec![1; 20]), (0x2000, vec![2; 8])];
    let whole = record(&pieces);
    assert_eq!(Copied::new(&whole).len(), 2);
    for n in 0..whole.len() {
        let expected = usize::from(n >= 36);
        assert_eq!(Copied::new(&whole[..n]).len(), expected, "{n}");
    }
    let mut broken = whole.clone();
    broken[8..16].copy_from_slice(&u64::MAX.to_ne_bytes());
    assert!(Copied::new(&broken).is_empty());
    // A piece of nothing takes its head, so that there is an end.
    assert_eq!(Copied::new(&vec![0; 16 << 10]).len(), 1 << 10);
}

#[test]
fn a_read_is_whole_or_an_error() {
    // One that reaches into the next, as what was copied of a small object may.
    let bytes = record(&[(0x1000, vec![1; 40]), (0x1020, vec![2; 16])]);
    let copied = Copied::new(&bytes);
    let mut word = [0; 8];
    assert!(copied.read(0x1018, &mut word).is_ok() && word == [1; 8]);
    assert!(copied.read(0x1020, &mut word).is_ok() && word == [2; 8]);
    assert!(copied.read(0x1028, &mut word).is_ok());
    for address in [0xff8, 0x1029, 0x1030, u64::MAX, 0] {
        assert!(copied.read(address, &mut word).is_err(), "{address:#x}");
    }
    assert!(copied.holds(0x1000) && copied.holds(0x1020));
    assert!(!copied.holds(0x1028) && !copied.holds(0x1030));
    assert_eq!(copied.available(0x1010, 100), 24);
    assert_eq!(copied.available(0x1010, 5), 5);
    assert_eq!(copied.available(0x3000, 5), 0);
}
