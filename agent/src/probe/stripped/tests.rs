//! What symbols say and what code says is the same, and where it is not sure nothing is said.

#[cfg(feature = "kernel")]
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use super::layout::all_of;
use super::{NotFound, find};
use crate::probe::elf::Image;
use crate::probe::place::{self, Form, Placement, TlsPlacements};

/// Looks through a file that may be.
fn search<'d>(image: &Image<'d, &'d [u8]>) -> Result<TlsPlacements, NotFound> {
    find(image, image.read_only().unwrap_or_default()).map(|found| found.places)
}

/// The places by the names that a file has.
fn by_names<'d>(image: &Image<'d, &'d [u8]>) -> TlsPlacements {
    let names = [
        "SSL_read",
        "SSL_read_ex",
        "SSL_write",
        "SSL_write_ex",
        "SSL_free",
    ];
    let (found, _) = image.functions(&names);
    let get = |name| found.get(name).copied();
    TlsPlacements {
        reads: place::pair(image, get("SSL_read"), get("SSL_read_ex")),
        writes: place::pair(image, get("SSL_write"), get("SSL_write_ex")),
        free: get("SSL_free")
            .and_then(|f| place::own(image, f, Form::Plain))
            .map(|p| p.offset),
    }
}

/// A directory that goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("genspan-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool. `false` when it is not there or fails.
#[cfg(feature = "kernel")]
fn run(tool: &str, arguments: &[&str], files: &[&Path]) -> bool {
    let mut command = Command::new(tool);
    let said = command.args(arguments).args(files).output();
    said.is_ok_and(|s| s.status.success())
}

/// The imitation as a shared library, compiled like this. `None` where no C compiler is.
fn imitation(folder: &Folder, options: &[&str]) -> Option<Vec<u8>> {
    let library = ["-shared", "-fPIC", "-Wl,-Bsymbolic"];
    compiled(folder, &[&library, options].concat())
}

/// The imitation, compiled like this, whatever it becomes.
fn compiled(folder: &Folder, options: &[&str]) -> Option<Vec<u8>> {
    let (source, object) = (folder.0.join("imitation.c"), folder.0.join("imitation.o"));
    std::fs::write(&source, include_str!("imitation.c")).unwrap();
    let mut command = Command::new("cc");
    command.args(options).arg("-o").arg(&object).arg(&source);
    let said = command.output().ok()?;
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{options:?}: {errors}");
    Some(std::fs::read(&object).unwrap())
}

/// Whether the places of one direction are those that the symbols of its functions give: the same
/// ones, or one of the internal function that both forms lead to, where a cheaper one was not to be
/// had.
fn agree<'d>(
    image: &Image<'d, &'d [u8]>,
    (found, named): (&[Placement], &[Placement]),
    (ex, internal): (&'static str, &'static str),
) -> bool {
    if found == named {
        return true;
    }
    let [one] = found else {
        return false;
    };
    let (functions, _) = image.functions(&[ex, internal]);
    let at = |f| place::own(image, f, one.form) == Some(*one);
    if let Some(internal) = functions.get(internal) {
        return at(*internal);
    }
    let starts = (0..16).filter_map(|before| one.offset.checked_sub(before));
    let mut functions_there = starts.filter_map(|offset| {
        let function = crate::probe::elf::Function {
            address: image.address(offset)?,
            size: 0,
        };
        at(function).then_some(function)
    });
    functions_there.any(|f| place::hands_over(image, functions[ex], f))
}

fn all_agree<'d>(image: &Image<'d, &'d [u8]>, found: &TlsPlacements) {
    let named = by_names(image);
    let reads = (&*found.reads, &*named.reads);
    assert!(
        agree(image, reads, ("SSL_read_ex", "ssl_read_internal")),
        "{reads:x?}"
    );
    let writes = (&*found.writes, &*named.writes);
    assert!(
        agree(image, writes, ("SSL_write_ex", "ssl_write_internal")),
        "{writes:x?}"
    );
    assert_eq!(found.free, named.free);
}

fn places_in(bytes: &[u8]) -> (Result<TlsPlacements, NotFound>, TlsPlacements) {
    let image = Image::parse(bytes).unwrap();
    (search(&image), by_names(&image))
}

#[test]
fn every_shape_at_every_level() {
    let folder = Folder::new("shapes");
    for level in ["-O1", "-O2", "-Os", "-O3"] {
        for errors in [&[][..], &["-DNUMBERED"]] {
            for (flags, form) in [(&[][..], Form::Ex), (&["-DFLAGS"], Form::Ex5)] {
                let options = [&[level], errors, flags].concat();
                let Some(bytes) = imitation(&folder, &options) else {
                    println!("skipped: no C compiler (cc)");
                    return;
                };
                let image = Image::parse(bytes.as_slice()).unwrap();
                let names = ["read_internal", "write_internal", "SSL_free"];
                let (named, _) = image.functions(&names);
                let place = |name, form| place::own(&image, named[name], form).unwrap();
                let found = search(&image).unwrap_or_else(|e| panic!("{options:?}: {e}"));
                assert_eq!(
                    found.reads,
                    [place("read_internal", Form::Ex)],
                    "{options:?}"
                );
                assert_eq!(found.writes, [place("write_internal", form)], "{options:?}");
                assert_eq!(found.free, Some(place("SSL_free", Form::Plain).offset));
            }
        }
    }
}

/// The plain form and the other one each have a place then, as their symbols have.
#[test]
fn internal_functions_that_are_built_in() {
    let folder = Folder::new("built-in");
    for level in ["-O2", "-O3"] {
        for errors in [&[][..], &["-DNUMBERED"]] {
            let options = [&[level, "-DBUILT_IN"], errors].concat();
            let Some(bytes) = imitation(&folder, &options) else {
                println!("skipped: no C compiler (cc)");
                return;
            };
            let (found, named) = places_in(&bytes);
            let found = found.unwrap_or_else(|e| panic!("{options:?}: {e}"));
            assert_eq!(found.free, named.free);
            for (found, named) in [(found.reads, named.reads), (found.writes, named.writes)] {
                assert_eq!(found[0], named[0], "{options:?}");
                assert_eq!(named.len(), 2);
                assert!(
                    found.contains(&named[1]),
                    "{options:?}: {found:?} {named:?}"
                );
            }
        }
    }
}

/// An executable that is not moved has its addresses as numbers.
#[test]
fn a_program_at_a_fixed_address() {
    let folder = Folder::new("fixed");
    for errors in [&[][..], &["-DNUMBERED"]] {
        let options = [&["-O2", "-no-pie", "-fno-pie", "-DPROGRAM"], errors].concat();
        let Some(bytes) = compiled(&folder, &options) else {
            println!("skipped: no C compiler (cc)");
            return;
        };
        let image = Image::parse(bytes.as_slice()).unwrap();
        assert!(image.is_fixed());
        let (named, _) = image.functions(&["read_internal", "write_internal", "SSL_free"]);
        let place = |name| place::own(&image, named[name], Form::Ex).unwrap();
        let found = search(&image).unwrap();
        assert_eq!(found.reads, [place("read_internal")]);
        assert_eq!(found.writes, [place("write_internal")]);
        assert_eq!(found.free, Some(place("SSL_free").offset));
    }
}

/// What both forms of a call, or all functions, call first is not where the data goes through.
#[test]
fn something_that_is_called_before() {
    let folder = Folder::new("before");
    let Some(bytes) = imitation(&folder, &["-O2", "-DASKS_FIRST"]) else {
        println!("skipped: no C compiler (cc)");
        return;
    };
    let image = Image::parse(bytes.as_slice()).unwrap();
    let names = [
        "SSL_read",
        "SSL_read_ex",
        "SSL_write",
        "SSL_write_ex",
        "asked",
        "read_internal",
        "write_internal",
    ];
    let (functions, _) = image.functions(&names);
    let asked = place::own(&image, functions["asked"], Form::Ex).unwrap();
    // It would be the cheaper one.
    assert!(asked.emulated);
    for name in &names[..4] {
        assert!(
            place::hands_over(&image, functions[name], functions["asked"]),
            "{name}"
        );
    }
    let own = |name, form| place::own(&image, functions[name], form).unwrap();
    let named = by_names(&image);
    assert_eq!(
        named.reads,
        [
            own("SSL_read", Form::Plain),
            own("SSL_read_ex", Form::PublicEx)
        ]
    );
    assert_eq!(
        named.writes,
        [
            own("SSL_write", Form::Plain),
            own("SSL_write_ex", Form::PublicEx)
        ]
    );
    assert!(named.are_distinct());
    let found = search(&image).unwrap();
    assert_eq!(found.reads, [own("read_internal", Form::Ex)]);
    assert_eq!(found.writes, [own("write_internal", Form::Ex)]);
}

#[test]
fn more_than_is_looked_through() {
    assert_eq!(all_of(0..3, 3, "strings"), Ok(vec![0, 1, 2]));
    assert_eq!(
        all_of(0..4, 3, "strings"),
        Err(NotFound::TooMany("strings"))
    );
    let folder = Folder::new("many");
    let Some(bytes) = imitation(&folder, &["-O2", "-DMANY_NAMES"]) else {
        println!("skipped: no C compiler (cc)");
        return;
    };
    let (found, _) = places_in(&bytes);
    assert_eq!(found, Err(NotFound::TooMany("strings")));
}

#[test]
fn nothing_that_is_not_sure() {
    let folder = Folder::new("refused");
    let cases = [
        (&["-DSWAPPED"][..], "SSL_read does not hand"),
        (&["-DTWICE"], "2 functions look like SSL_read"),
        (
            &["-DOTHER_REASON"],
            "0 functions look like ssl_read_internal",
        ),
        (&["-DOTHER_CLASS"], "0 functions look like SSL_free"),
        (
            &["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
            "no unwind table",
        ),
        (&["-Wl,--no-eh-frame-hdr"], "no unwind table"),
        // What is unlikely lies apart, and looks like a function of its own.
        (&["-DUNLIKELY"], "SSL_read does not hand"),
        // Debuggers' code, which keeps everything on the stack.
        (&["-O0"], "SSL_read does not hand"),
    ];
    for (options, says) in cases {
        let Some(bytes) = imitation(&folder, &[&["-O2"], options].concat()) else {
            println!("skipped: no C compiler (cc)");
            return;
        };
        let image = Image::parse(bytes.as_slice()).unwrap();
        let why = search(&image).expect_err(says).to_string();
        assert!(why.contains(says), "{options:?}: {why}");
    }
}

/// A function begins where something is on the stack already, as the parts do that the compiler lays apart: a probe of
/// its return would take that for the address to return to.
#[test]
fn no_probe_where_no_function_is_entered() {
    let folder = Folder::new("entries");
    // As every common entry of the table begins (DWARF 5, 6.4.2.2): `DW_CFA_def_cfa` of the stack pointer, 8 above it.
    let (entered, apart) = ([0x0c, 7, 8], [0x0c, 7, 16]);
    for options in [&["-O2"][..], &["-O2", "-DBUILT_IN"]] {
        let Some(mut bytes) = imitation(&folder, options) else {
            println!("skipped: no C compiler (cc)");
            return;
        };
        assert!(search(&Image::parse(bytes.as_slice()).unwrap()).is_ok());
        let places: Vec<usize> = (0..bytes.len() - 3)
            .filter(|at| bytes[*at..].starts_with(&entered))
            .collect();
        assert!(!places.is_empty());
        for at in places {
            bytes[at..at + 3].copy_from_slice(&apart);
        }
        let refused = search(&Image::parse(bytes.as_slice()).unwrap());
        assert!(
            matches!(refused, Err(NotFound::NoEntry(_))),
            "{options:?}: {refused:?}"
        );
    }
}

/// What was found is in the file where it is said to be.
#[test]
fn the_evidence_is_what_was_gone_by() {
    let folder = Folder::new("evidence");
    let Some(bytes) = imitation(&folder, &["-O2"]) else {
        println!("skipped: no C compiler (cc)");
        return;
    };
    let image = Image::parse(bytes.as_slice()).unwrap();
    let found = find(&image, image.read_only().unwrap()).unwrap();
    let all: Vec<&[u8]> = found
        .evidence
        .iter()
        .map(|range| &bytes[range.start as usize..range.end as usize])
        .collect();
    for text in [
        &b"../ssl/ssl_lib.c\0"[..],
        b"SSL_read\0",
        b"ssl_read_internal\0",
        b"SSL_write\0",
        b"ssl_write_internal\0",
    ] {
        assert!(all.contains(&text), "{text:?}");
    }
    let places = found.places.reads.iter().chain(&found.places.writes);
    for offset in places.map(|p| p.offset).chain(found.places.free) {
        assert!(
            found.evidence.iter().any(|r| r.contains(&offset)),
            "{offset:#x}"
        );
    }
    // The texts, the four that raise errors, and the one that frees. (Names for the dynamic linker are texts, too.)
    let different: std::collections::BTreeSet<_> = all.into_iter().collect();
    assert_eq!(different.len(), 5 + 5);
}

/// OpenSSL's own archives, linked into a file that hides their names, as a Python has them.
#[cfg(feature = "kernel")]
fn static_library(folder: &Folder) -> Option<PathBuf> {
    let (hide, object) = (folder.0.join("hide"), folder.0.join("static.so"));
    std::fs::write(&hide, "{ local: *; };").unwrap();
    let script = format!("-Wl,--version-script={}", hide.display());
    let linked = run(
        "cc",
        &[
            "-shared",
            "-Wl,--build-id",
            &script,
            "-Wl,-u,OpenSSL_version",
            "-Wl,--whole-archive",
            "-l:libssl.a",
            "-Wl,--no-whole-archive",
            "-l:libcrypto.a",
            "-o",
        ],
        &[&object],
    );
    linked.then_some(object)
}

#[cfg(feature = "kernel")]
#[test]
fn a_static_openssl_that_is_stripped() {
    use crate::target::tls::{TlsFile, TlsFinder};

    let folder = Folder::new("static");
    let Some(object) = static_library(&folder) else {
        println!(
            "skipped: OpenSSL's archives are missing (on Debian: apt-get install gcc libssl-dev)"
        );
        return;
    };
    let named = TlsFinder::default().examine(&object);
    let TlsFile::Reachable(named) = named else {
        panic!("{named:?}")
    };
    assert_eq!(named.found_by, "symtab");
    let stripped = folder.0.join("stripped.so");
    if !run("strip", &["-o"], &[&stripped, &object]) {
        println!("skipped: no strip (on Debian: apt-get install binutils)");
        return;
    }
    let mut finder = TlsFinder::default();
    let TlsFile::Reachable(found) = finder.examine(&stripped) else {
        panic!("{stripped:?}")
    };
    assert_eq!(found.found_by, "code");
    known_by_its_build(&folder, &mut finder, &stripped, &found);
    let bytes = std::fs::read(&object).unwrap();
    all_agree(&Image::parse(bytes.as_slice()).unwrap(), &found.places);
    assert!(found.banner.is_some_and(|b| b.starts_with("OpenSSL ")));
}

/// A copy is not searched again: here one in which nothing would be found, since its unwind table is broken. One with
/// something else in a function, or of another name, is searched.
#[cfg(feature = "kernel")]
fn known_by_its_build(
    folder: &Folder,
    finder: &mut crate::target::tls::TlsFinder,
    first: &Path,
    found: &crate::target::tls::Reachable,
) {
    use crate::target::tls::{TlsFile, TlsFinder};

    let bytes = std::fs::read(first).unwrap();
    let image = Image::parse(bytes.as_slice()).unwrap();
    assert!(image.build_id().is_some());
    let table = image.any_offset(image.unwind_table().unwrap()).unwrap() as usize;
    let name = b"ssl_write_internal\0";
    let name = (0..bytes.len()).find(|at| bytes[*at..].starts_with(name));
    let changed = |file: &str, places: &[usize]| {
        let mut bytes = bytes.clone();
        for at in places {
            bytes[*at] ^= 1;
        }
        let path = folder.0.join(file);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let copy = changed("copy.so", &[table]);
    assert_eq!(finder.examine(&copy), TlsFile::Reachable(found.clone()));
    let nothing = TlsFinder::default().examine(&copy);
    assert!(
        matches!(nothing, TlsFile::Unreachable { .. }),
        "{nothing:?}"
    );
    let write = found.places.writes[0].offset as usize;
    for (file, at) in [("function.so", write), ("name.so", name.unwrap())] {
        let other = finder.examine(&changed(file, &[table, at]));
        assert!(
            matches!(other, TlsFile::Unreachable { .. }),
            "{file}: {other:?}"
        );
    }
}

fn systems_library() -> Option<Vec<u8>> {
    let paths = [
        "/usr/lib/x86_64-linux-gnu/libssl.so.3",
        "/usr/lib64/libssl.so.3",
    ];
    let found = paths.iter().find_map(|p| std::fs::read(p).ok());
    if found.is_none() {
        println!("skipped: no libssl.so.3 in the usual places");
    }
    found
}

#[test]
fn the_systems_library_by_its_code() {
    let Some(bytes) = systems_library() else {
        return;
    };
    let image = Image::parse(bytes.as_slice()).unwrap();
    all_agree(&image, &search(&image).unwrap());
}

/// Whatever is changed or missing: no panic, and either the right places or none.
#[test]
fn broken_files() {
    let Some(bytes) = systems_library() else {
        return;
    };
    let whole = search(&Image::parse(bytes.as_slice()).unwrap()).unwrap();
    for part in 1..24 {
        let cut = &bytes[..bytes.len() * part / 24];
        if let Ok(image) = Image::parse(cut)
            && let Ok(found) = search(&image)
        {
            assert_eq!(found, whole);
        }
    }
    // Behind the headers, which say what is where: a change there makes another file of it.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..60 {
        let mut broken = bytes.clone();
        for _ in 0..256 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = 0x1000 + (seed >> 20) as usize % (bytes.len() - 0x1000);
            broken[at] ^= (seed >> 50) as u8 | 1;
        }
        let image = Image::parse(broken.as_slice()).unwrap();
        if let Ok(found) = search(&image) {
            assert_eq!(found.reads[0].form, whole.reads[0].form);
            assert_eq!(found.writes[0].form, whole.writes[0].form);
        }
    }
}

#[test]
fn a_program_without_tls() {
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let image = Image::parse(own.as_slice()).unwrap();
    // This one has the texts that are looked for, and no code that raises errors with them.
    let refused = search(&image).unwrap_err();
    assert!(
        matches!(refused, NotFound::NoErrors | NotFound::NotOne { .. }),
        "{refused}"
    );
}
