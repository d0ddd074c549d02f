//! The host's operating system, as resources tell it (OpenTelemetry's conventions for `os.*` and `host.*`).

use std::fs::File;
use std::io::Read as _;
use std::sync::OnceLock;

use crate::model::process::Detected;
use crate::vocabulary::resource as name;

/// Where the host's files are seen, in this order: by its first process, whose root is the host's where genspan runs
/// in a container that shares the host's process ids (the DaemonSet does), else as genspan sees them itself.
const ROOTS: [&str; 2] = ["/proc/1/root", ""];

/// Where a root may have it (`os-release(5)`).
const RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Most bytes that are read of such a file.
const MAX_FILE: u64 = 64 << 10;

/// Most characters of a value.
const MAX_VALUE: usize = 256;

/// What goes into resources. It is looked up once: an upgrade under a running host shows at the next start.
#[must_use]
pub fn attributes() -> Vec<(String, Detected)> {
    static FOUND: OnceLock<Vec<(String, Detected)>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let release = RELEASE.iter().find_map(|file| first(file));
            let id = first("/etc/machine-id");
            of(release.as_deref(), id.as_deref(), std::env::consts::ARCH)
        })
        .clone()
}

/// A file of the host that is there and not empty.
fn first(file: &str) -> Option<String> {
    ROOTS.iter().find_map(|root| {
        let mut bytes = Vec::new();
        let file = File::open(format!("{root}{file}")).ok()?;
        file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (!text.trim().is_empty()).then_some(text)
    })
}

/// Of the text of `os-release`, of `machine-id`, and the processor as Rust calls it.
fn of(release: Option<&str>, machine_id: Option<&str>, arch: &str) -> Vec<(String, Detected)> {
    let release = release.unwrap_or_default();
    let known = [
        (name::HOST_ID, machine_id.and_then(id)),
        (name::HOST_ARCH, Some(architecture(arch).to_owned())),
        (name::OS_TYPE, Some("linux".to_owned())),
        (name::OS_NAME, variable(release, "NAME")),
        (name::OS_VERSION, variable(release, "VERSION_ID")),
        (name::OS_DESCRIPTION, variable(release, "PRETTY_NAME")),
    ];
    let told = known.into_iter().filter_map(|(key, value)| {
        let value = Detected::Text(value?);
        Some((key.to_owned(), value))
    });
    told.collect()
}

/// 32 hexadecimal digits (`machine-id(5)`): not `uninitialized`, as it is at a first start.
fn id(text: &str) -> Option<String> {
    let text = text.trim();
    let is_one = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| text.to_owned())
}

/// As the conventions have it: their list is not Rust's.
fn architecture(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc" => "ppc32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// The value of a variable of `os-release`: as a shell would read it, but that nothing is replaced in it.
fn variable(text: &str, name: &str) -> Option<String> {
    let mut assigned = text.lines().filter_map(|line| {
        let line = line.trim().strip_prefix(name)?;
        line.strip_prefix('=')
    });
    // The last one holds, as in a shell.
    let value = assigned.next_back()?.trim();
    let inner = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let mut plain = String::new();
    let mut characters = inner.unwrap_or(value).chars();
    while let Some(c) = characters.next() {
        let c = match c {
            '\\' if !value.starts_with('\'') => characters.next().unwrap_or(c),
            c => c,
        };
        plain.push(c);
    }
    let plain: String = plain.trim().chars().take(MAX_VALUE).collect();
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::{MAX_VALUE, architecture, attributes, of, variable};
    use crate::model::process::Detected;

    fn told(release: Option<&str>, id: Option<&str>) -> Vec<(String, String)> {
        let all = of(release, id, "x86_64").into_iter();
        let told = all.map(|(key, value)| match value {
            Detected::Text(text) => (key, text),
            other => (key, format!("{other:?}")),
        });
        told.collect()
    }

    #[test]
    fn a_host_is_told_with_all_that_it_says() {
        let release = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n\
                       VERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nID=debian\n";
        let id = "0123456789abcdef0123456789abcdef";
        let all = told(Some(release), Some(&format!("{id}\n")));
        let wanted = [
            ("host.id", id),
            ("host.arch", "amd64"),
            ("os.type", "linux"),
            ("os.name", "Debian GNU/Linux"),
            ("os.version", "12"),
            ("os.description", "Debian GNU/Linux 12 (bookworm)"),
        ];
        let wanted = wanted.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(all, wanted);
    }

    #[test]
    fn what_a_host_does_not_say_is_absent() {
        let least = [("host.arch", "amd64"), ("os.type", "linux")];
        let least = least.map(|(key, value)| (key.to_owned(), value.to_owned()));
        for id in [None, Some(""), Some("uninitialized\n"), Some("abc")] {
            assert_eq!(told(None, id), least, "{id:?}");
        }
        // A rolling release has no version.
        let rolling = told(Some("NAME='Arch Linux'\nBUILD_ID=rolling\n"), None);
        let keys: Vec<_> = rolling.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["host.arch", "os.type", "os.name"]);
    }

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        for (text, value) in [
            ("NAME=Fedora", Some("Fedora")),
            ("NAME=\"a \\\"b\\\" \\$c\"", Some("a \"b\" $c")),
            ("NAME='a \\b'", Some("a \\b")),
            ("  NAME=x  ", Some("x")),
            ("NAME=a\nNAME=b", Some("b")),
            ("#NAME=a\nVERSION_NAME=b", None),
            ("NAME=", None),
            ("NAME=\"\"", None),
            ("NAME=\"", Some("\"")),
            ("NAME", None),
            ("NAME=a\\", Some("a\\")),
        ] {
            assert_eq!(variable(text, "NAME").as_deref(), value, "{text}");
        }
        let long = variable(&format!("NAME={}", "é".repeat(1000)), "NAME");
        assert_eq!(long, Some("é".repeat(MAX_VALUE)));
    }

    #[test]
    fn processors_have_the_names_of_the_conventions() {
        let names = ["x86_64", "aarch64", "s390x", "powerpc64"].map(architecture);
        assert_eq!(names, ["amd64", "arm64", "s390x", "ppc64"]);
    }

    #[test]
    fn this_host_has_a_type_and_a_processor() {
        let all = attributes();
        for (key, value) in [
            ("os.type", "linux"),
            ("host.arch", architecture(std::env::consts::ARCH)),
        ] {
            let wanted = (key.to_owned(), Detected::Text(value.to_owned()));
            assert!(all.contains(&wanted), "{all:?}");
        }
    }
}
