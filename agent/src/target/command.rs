//! What a Python process's command line says of it: a name for its service, and nothing secret.

use super::classify::program::{How, Program};
use super::secrets::names_secret;

/// Programs whose argument names the application that they run.
const RUNNERS: [&str; 11] = [
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "daphne",
    "granian",
    "flask",
    "fastapi",
    "celery",
    "waitress-serve",
    "streamlit",
    "chainlit",
];

/// Options of the interpreter that take the next argument (`Python/getopt.c`).
pub(super) const OPTIONS_WITH_VALUE: [&str; 4] = ["-W", "-X", "-Q", "--check-hash-based-pycs"];

/// Ends of the names of what an interpreter runs: source, bytecode, archives (`zipapp`, PEX).
const SUFFIXES: [&str; 5] = [".py", ".pyc", ".pyz", ".pyzw", ".pex"];

/// Folder in which PEX unpacks an archive, under the hash of it, and runs that.
const UNPACKED: &str = "/unzipped_pexes/";

/// What stands for a secret.
const HIDDEN: &str = "***";

/// A name for the service that this command line runs: the application given to a server, else
/// the module, else the script; `python` when nothing tells.
#[must_use]
pub fn service_name(command: &[String]) -> String {
    if let Some(name) = command.first().and_then(|title| retitled(title)) {
        return name;
    }
    match Program::of(command) {
        Some(program) if program.how != How::Code => {
            let rest = program.arguments.iter().map(String::as_str);
            program_name(program.name, rest)
        }
        _ => python(),
    }
}

/// The same where the process says in its environment (`PEX`) which archive it is run from: PEX runs what
/// it unpacked, whose name says nothing.
#[must_use]
pub fn service_name_in(command: &[String], archive: Option<&str>) -> String {
    let unpacked = Program::of(command).is_some_and(|program| program.name.contains(UNPACKED));
    match archive
        .map(file_stem)
        .filter(|stem| unpacked && !stem.is_empty())
    {
        Some(stem) => stem.to_owned(),
        None => service_name(command),
    }
}

fn python() -> String {
    "python".to_owned()
}

pub(super) fn is_interpreter(stem: &str) -> bool {
    let rest = stem
        .strip_prefix("python")
        .or_else(|| stem.strip_prefix("pypy"));
    rest.is_some_and(|v| {
        v.chars()
            .all(|c| c.is_ascii_digit() || c == '.' || c == 't')
    })
}

/// Name of a program (a module's or a script's), or of the application that it serves.
fn program_name<'a>(program: &str, mut rest: impl Iterator<Item = &'a str>) -> String {
    let stem = file_stem(program);
    let runner = stem.split('.').next().unwrap_or(stem);
    if RUNNERS.contains(&runner) {
        // The application is the argument of the form `package.module:name`, or celery's -A.
        let mut named = None;
        while let Some(argument) = rest.next() {
            match argument.strip_prefix("--app=") {
                Some(app) => named = Some(app),
                None if matches!(argument, "-A" | "--app") => named = rest.next(),
                // `fastapi run shop.py`, `streamlit run shop.py`
                None if !argument.starts_with('-') && argument.ends_with(".py") => {
                    named = Some(file_stem(argument));
                }
                None if !argument.starts_with('-') && argument.contains(':') => {
                    // Not an address: `--bind 0.0.0.0:80`.
                    let module = argument.split(':').next().unwrap_or_default();
                    if module
                        .chars()
                        .all(|c| c.is_alphanumeric() || "._/-".contains(c))
                        && !module.starts_with(|c: char| c.is_ascii_digit())
                        && !argument.contains("//")
                        && module != "localhost"
                        && module != "unix"
                    {
                        named = Some(module);
                    }
                }
                None => {}
            }
            if let Some(app) = named {
                return app.split(':').next().unwrap_or(app).to_owned();
            }
        }
        return runner.to_owned();
    }
    if stem == "__main__" {
        // `python package/`: the folder names it.
        let folder = program
            .rsplit('/')
            .nth(1)
            .filter(|f| !f.is_empty() && *f != ".");
        return folder.map_or_else(python, str::to_owned);
    }
    if stem.is_empty() {
        python()
    } else {
        stem.to_owned()
    }
}

/// What `setproctitle` users write over their command line: `gunicorn: worker [app]`.
fn retitled(title: &str) -> Option<String> {
    let (program, rest) = title.split_once(": ")?;
    if program.contains('/') || program.contains(' ') {
        return None;
    }
    let inner = rest
        .split_once('[')
        .and_then(|(_, r)| r.split_once(']'))
        .map(|(name, _)| name);
    Some(
        inner
            .unwrap_or(program)
            .split(':')
            .next()
            .unwrap_or(program)
            .to_owned(),
    )
}

/// Last part of a path, without the endings of scripts.
pub(super) fn file_stem(path: &str) -> &str {
    let name = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path);
    SUFFIXES
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

/// The command line with everything that looks like a secret hidden.
#[must_use]
pub fn without_secrets(command: &[String]) -> Vec<String> {
    let mut hide_next = false;
    command
        .iter()
        .map(|argument| {
            let hide = std::mem::take(&mut hide_next) && !argument.starts_with('-');
            if hide || looks_like_key(argument) {
                return HIDDEN.to_owned();
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument.as_str(), None),
            };
            let option = name.starts_with('-') || (value.is_some() && !name.contains('/'));
            if option && names_secret(name) {
                if value.is_some() {
                    return format!("{name}={HIDDEN}");
                }
                hide_next = true;
            }
            hide_userinfo(argument)
        })
        .collect()
}

fn looks_like_key(argument: &str) -> bool {
    ["sk-", "Bearer ", "xoxb-", "ghp_", "AKIA", "eyJ"]
        .iter()
        .any(|p| argument.starts_with(p))
        && argument.len() >= 16
}

/// `scheme://user:password@host` without the password.
fn hide_userinfo(argument: &str) -> String {
    if let Some((scheme, rest)) = argument.split_once("://") {
        let authority = rest.split('/').next().unwrap_or(rest);
        if let Some((user, _)) = authority.rsplit_once('@') {
            return format!("{scheme}://{HIDDEN}{}", &rest[user.len()..]);
        }
    }
    argument.to_owned()
}

#[cfg(test)]
mod tests {
    use super::{service_name, service_name_in, without_secrets};

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn services_are_named_after_what_runs() {
        for (line, name) in [
            ("python app.py", "app"),
            (
                "/usr/bin/python3.11 -u -X dev /srv/shop/bot.py --port 80",
                "bot",
            ),
            ("python -m uvicorn shop.api:app --port 8000", "shop.api"),
            ("python -um http.server", "http.server"),
            (
                "/v/bin/python /v/bin/uvicorn main:app --host 0.0.0.0",
                "main",
            ),
            (
                "/v/bin/python /v/bin/gunicorn -b 0.0.0.0:80 -w 4 site.wsgi:application",
                "site.wsgi",
            ),
            ("python -m celery -A tasks worker", "tasks"),
            (
                "/v/bin/python /v/bin/fastapi run src/shop.py --port 80",
                "shop",
            ),
            (
                "/v/bin/python /v/bin/streamlit run --server.port 80 ui.py",
                "ui",
            ),
            ("/v/bin/python /v/bin/streamlit hello", "streamlit"),
            ("python -c print(1)", "python"),
            ("python", "python"),
            ("python ./pkg/__main__.py", "pkg"),
            ("python -W ignore -O job.py", "job"),
            ("/opt/bundle/agent serve", "agent"),
            ("/usr/bin/python3 ./bot.pyz --port 1", "bot"),
            ("/usr/bin/python3 /srv/shop.pex", "shop"),
            ("", "python"),
        ] {
            assert_eq!(service_name(&words(line)), name, "{line}");
        }
        let unpacked = "python3 /home/a/.pex/unzipped_pexes/4/622aa629b533a762";
        for (line, archive, name) in [
            (unpacked, Some("/srv/shop.pex"), "shop"),
            (unpacked, Some(""), "622aa629b533a762"),
            (unpacked, None, "622aa629b533a762"),
            // What it starts inherits the variable.
            ("python3 /srv/job.py", Some("/srv/shop.pex"), "job"),
        ] {
            assert_eq!(service_name_in(&words(line), archive), name, "{line}");
        }
        for (title, name) in [
            ("gunicorn: worker [api]", "api"),
            ("gunicorn: master [shop.wsgi:app]", "shop.wsgi"),
        ] {
            assert_eq!(service_name(&[title.to_owned()]), name, "{title}");
        }
    }

    #[test]
    fn secrets_are_hidden() {
        let line = "python app.py --api-key abc --token=def OPENAI_API_KEY=x --keys \
                    sk-0123456789abcdef --url https://me:pw@host/p --port 80 --cookie a=b --author me \
                    --Keywords=a,b --AccessKeyId=c";
        assert_eq!(
            without_secrets(&words(line)).join(" "),
            "python app.py --api-key *** --token=*** OPENAI_API_KEY=*** --keys *** --url \
             https://***@host/p --port 80 --cookie *** --author me --Keywords=a,b --AccessKeyId=***"
        );
    }
}
