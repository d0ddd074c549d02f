//! Where OpenSSL may be: in the executable, in private copies, in other roots.

use anyhow::{Context as _, Result};
use genspan_tests::{Agent, Call, Client, Scene, need, wait_for};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

fn chat(model: &str) -> Value {
    json!({"do": "chat", "body": {
        "model": model, "messages": [{"role": "user", "content": "one two"}]}})
}

/// A program with OpenSSL linked into it, named as a Python is.
fn static_program(scene: &Scene) -> Result<Option<PathBuf>> {
    let Some(cc) = need::command("cc")? else {
        return Ok(None);
    };
    let program = scene.temp.file("python3.99");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/tls_client.c");
    let built = Command::new(cc)
        .args(["-O2", "-o"])
        .arg(&program)
        .arg(&source)
        .args(["-l:libssl.a", "-l:libcrypto.a", "-ldl", "-lpthread"])
        .output()?;
    if built.status.success() {
        return Ok(Some(program));
    }
    need::missing("OpenSSL's headers and static libraries (on Debian: apt-get install libssl-dev)")
}

fn start_static(scene: &Scene, program: &Path) -> Result<Client> {
    let mut command = scene.command(program);
    Client::start(
        command.arg(scene.provider.port.to_string()),
        &scene.next_log(),
    )
}

fn call_static(client: &mut Client) -> Result<()> {
    client.0.tell("")?;
    assert_eq!(client.0.line()?, "HTTP/1.1 200 OK");
    Ok(())
}

#[test]
fn openssl_in_the_executable() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let Some(program) = static_program(&scene)? else {
        return Ok(());
    };
    let mut client = start_static(&scene, &program)?;
    let agent = scene.attach(&client)?;
    call_static(&mut client)?;
    call_static(&mut client)?;
    let finished = agent.stop()?;
    let calls = Call::of_spans(&finished.spans);
    assert_eq!(calls.len(), 2, "{}", finished.log);
    for call in &calls {
        assert_eq!(
            (call.request_model.as_str(), call.model.as_str()),
            ("static", "static-2026")
        );
        assert_eq!((call.input, call.output), (Some(2), Some(12)));
        assert!(call.defects.is_empty());
    }
    Ok(())
}

/// Takes the names from a file. `None` when there is no tool for it.
fn strip(file: &Path) -> Result<Option<()>> {
    let Some(strip) = need::command("strip")? else {
        return Ok(None);
    };
    let stripped = Command::new(strip).arg(file).status()?;
    assert!(stripped.success());
    Ok(Some(()))
}

/// Two calls of a client that carries an OpenSSL without names: seen.
fn seen_without_names(scene: &Scene, client: &mut Client, model: &str) -> Result<()> {
    // How functions were found is told with `--debug`.
    let agent = Agent::attach(&scene.temp, &[client.pid()], &["--debug"])?;
    call_static(client)?;
    call_static(client)?;
    let finished = agent.stop()?;
    let calls = Call::of_spans(&finished.spans);
    assert_eq!(calls.len(), 2, "{}", finished.log);
    for call in &calls {
        assert_eq!(call.request_model, model);
        assert_eq!((call.input, call.output), (Some(2), Some(12)));
        assert!(call.defects.is_empty());
    }
    assert!(finished.log.contains("found by code"), "{}", finished.log);
    Ok(())
}

#[test]
fn openssl_in_the_executable_without_symbols() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let Some(program) = static_program(&scene)? else {
        return Ok(());
    };
    let Some(()) = strip(&program)? else {
        return Ok(());
    };
    let mut client = start_static(&scene, &program)?;
    seen_without_names(&scene, &mut client, "static")
}

/// The OpenSSL inside the wheel of `cryptography`, stripped, in a process that uses it for TLS.
#[test]
fn openssl_in_an_extension_module_without_symbols() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::environment("packages")?) else {
        return Ok(());
    };
    let package = "import cryptography as c, os; print(os.path.dirname(c.__file__))";
    let found = Command::new(&python).args(["-c", package]).output()?;
    let package = PathBuf::from(String::from_utf8(found.stdout)?.trim());
    let site = scene.temp.file("site");
    std::fs::create_dir(&site)?;
    let copied = Command::new("cp")
        .arg("-r")
        .args([&package, &site])
        .status()?;
    assert!(copied.success());
    let module = site.join("cryptography/hazmat/bindings/_rust.abi3.so");
    let Some(()) = strip(&module)? else {
        return Ok(());
    };
    let mut command = scene.live(&python, "wheel_tls.py");
    command
        .arg(scene.provider.port.to_string())
        .env("PYTHONPATH", &site);
    let mut client = Client::start(&mut command, &scene.next_log())?;
    seen_without_names(&scene, &mut client, "wheel")
}

/// What is not surely OpenSSL's functions is not probed, and named.
#[test]
fn openssl_that_is_not_recognised() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let Some(program) = static_program(&scene)? else {
        return Ok(());
    };
    let Some(()) = strip(&program)? else {
        return Ok(());
    };
    // As in a build that leaves the names of source files out.
    let mut bytes = std::fs::read(&program)?;
    let name = b"ssl/ssl_lib.c\0";
    let places = bytes.windows(name.len()).enumerate();
    let places: Vec<_> = places
        .filter(|(_, w)| w == name)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + 3].copy_from_slice(b"xyz");
    }
    let changed = scene.temp.file("changed");
    std::fs::write(&changed, bytes)?;
    let program = scene.temp.copy_to_run(&changed, "python3.99")?;
    let mut client = start_static(&scene, &program)?;
    let agent = scene.attach(&client)?;
    call_static(&mut client)?;
    let finished = agent.stop()?;
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(finished.spans.is_empty());
    for part in [
        "found but unreachable",
        "python3.99: OpenSSL 3",
        "ssl_lib.c",
    ] {
        assert!(finished.log.contains(part), "{}", finished.log);
    }
    Ok(())
}

/// The shared OpenSSL that a Python uses.
fn library(scene: &Scene, python: &Path) -> Result<PathBuf> {
    let client = scene.client(python, &["stdlib"])?;
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", client.pid()))?;
    let line = maps
        .lines()
        .find(|l| l.contains("/libssl.so"))
        .context("no libssl there")?;
    Ok(PathBuf::from(
        line.get(line.find('/').unwrap_or_default()..)
            .unwrap_or_default(),
    ))
}

/// A copy of it, in a directory of its own.
fn private_copy(scene: &Scene, library: &Path) -> Result<PathBuf> {
    let dir = scene.temp.file("private");
    std::fs::create_dir(&dir)?;
    std::fs::copy(library, dir.join(library.file_name().context("a file")?))?;
    Ok(dir)
}

/// Two calls of a client that is traced as process `pid`: seen, through the library at `path`.
fn seen(scene: &Scene, client: &mut Client, pid: u32, path: &Path) -> Result<()> {
    let agent = Agent::attach(&scene.temp, &[pid], &[])?;
    let seen = [client.call(&chat("first"))?, client.call(&chat("second"))?];
    let finished = agent.stop()?;
    assert_eq!(Call::of_spans(&finished.spans), seen, "{}", finished.log);
    let path = path.to_string_lossy().into_owned();
    assert!(
        finished.log.contains(&path),
        "not through {path}: {}",
        finished.log
    );
    Ok(())
}

#[test]
fn a_private_copy() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let library = library(&scene, &python)?;
    let private = private_copy(&scene, &library)?;
    let mut command = scene.live(&python, "client.py");
    command.arg("stdlib").env("LD_LIBRARY_PATH", &private);
    let mut client = Client::start(&mut command, &scene.next_log())?;
    let pid = client.pid();
    seen(&scene, &mut client, pid, &private)
}

/// As an upgrade under a running process does it.
#[test]
fn a_library_that_was_deleted() -> Result<()> {
    let (Some(scene), Some(python)) = (Scene::new()?, need::any_python()?) else {
        return Ok(());
    };
    let library = library(&scene, &python)?;
    let private = private_copy(&scene, &library)?;
    let mut command = scene.live(&python, "client.py");
    command.arg("stdlib").env("LD_LIBRARY_PATH", &private);
    let mut client = Client::start(&mut command, &scene.next_log())?;
    std::fs::remove_dir_all(&private)?;
    let pid = client.pid();
    seen(&scene, &mut client, pid, &private)
}

/// A shell script in a mount namespace of its own that ends by executing the client.
fn in_namespace(scene: &Scene, python: &Path, script: &str, files: &[&Path]) -> Result<Client> {
    let inner = scene.live(python, "client.py");
    let mut command = scene.command("unshare");
    command
        .args(["--mount", "sh", "-euc", script, "sh"])
        .args(files);
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .arg("stdlib");
    let client = Client::start(&mut command, &scene.next_log())?;
    // Shell and all have executed the next program in their own place.
    let name = format!("/proc/{}/comm", client.pid());
    wait_for("the client in place of the shell", || {
        std::fs::read_to_string(&name)
            .ok()
            .filter(|comm| comm.starts_with("python"))
    })?;
    Ok(client)
}

#[test]
fn another_file_under_the_same_name() -> Result<()> {
    let (Some(scene), Some(python), Some(_)) = (
        Scene::new()?,
        need::any_python()?,
        need::command("unshare")?,
    ) else {
        return Ok(());
    };
    let library = library(&scene, &python)?;
    let private = private_copy(&scene, &library)?;
    let copy = private.join(library.file_name().context("a file")?);
    let script = r#"mount --bind "$1" "$2"; shift 2; exec "$@""#;
    let mut client = in_namespace(&scene, &python, script, &[&copy, &library])?;
    let pid = client.pid();
    seen(&scene, &mut client, pid, &library)
}

#[test]
fn another_root() -> Result<()> {
    let (Some(scene), Some(python), Some(_)) =
        (Scene::new()?, need::any_python()?, need::command("chroot")?)
    else {
        return Ok(());
    };
    let library = library(&scene, &python)?;
    let private = private_copy(&scene, &library)?;
    let root = scene.temp.file("root");
    std::fs::create_dir(&root)?;
    // The library is where outside of this root there is none.
    let script = r#"mount --rbind / "$1"; mount --bind "$2" "$1/mnt"; root=$1; shift 2
        exec chroot "$root" env LD_LIBRARY_PATH=/mnt "$@""#;
    let mut client = in_namespace(&scene, &python, script, &[&root, &private])?;
    let pid = client.pid();
    let inside = Path::new("/mnt").join(library.file_name().context("a file")?);
    assert!(!inside.exists());
    seen(&scene, &mut client, pid, &inside)
}
