//! Which model server a process is, by its command line: that is who answers what it serves.

use super::command::file_stem;

/// Modules and programs of model servers, with all that is in them, and the provider that they
/// are.
const SERVERS: [(&str, &str); 4] = [
    ("vllm.entrypoints", "vllm"),
    ("sglang.launch_server", "sglang"),
    ("sglang.srt", "sglang"),
    ("llama_cpp.server", "llama_cpp"),
];

/// Programs that do other things too: what they are when they are told to `serve`.
const SERVE: [&str; 3] = ["vllm", "sglang", "ollama"];

/// Beginnings of the names that these servers' processes give themselves.
const TITLES: [(&str, &str); 2] = [("VLLM::", "vllm"), ("sglang::", "sglang")];

/// The model server that this command line starts.
#[must_use]
pub fn of(command: &[String]) -> Option<&'static str> {
    let first = command.first()?;
    let titled = TITLES.iter().find(|(title, _)| first.starts_with(title));
    if let Some((_, provider)) = titled {
        return Some(provider);
    }
    // The interpreter and its options, up to the module or the script.
    let mut rest = command.iter().map(String::as_str).skip_while(|argument| {
        let options = argument.starts_with('-') && *argument != "-m";
        options || file_stem(argument).starts_with("python")
    });
    let named = rest.next()?;
    let name = match named {
        "-m" => rest.next()?,
        script => file_stem(script),
    };
    let serves = SERVE.iter().find(|server| **server == name);
    if let Some(server) = serves {
        return (rest.next() == Some("serve")).then_some(*server);
    }
    let within = |known: &str| {
        let inner = name.strip_prefix(known);
        inner.is_some_and(|inner| inner.is_empty() || inner.starts_with('.'))
    };
    let found = SERVERS.iter().find(|(known, _)| within(known));
    found.map(|(_, provider)| *provider)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn command_lines() {
        for (line, want) in [
            (
                "/usr/bin/python3 /opt/bin/vllm serve m --port 1",
                Some("vllm"),
            ),
            ("vllm serve m", Some("vllm")),
            ("vllm bench serve", None),
            (
                "python -m vllm.entrypoints.openai.api_server --model m",
                Some("vllm"),
            ),
            (
                "python3.12 -O -m vllm.entrypoints.cli.main serve m",
                Some("vllm"),
            ),
            ("python -m vllm.benchmarks.serve", None),
            ("VLLM::EngineCore", Some("vllm")),
            (
                "python -m sglang.launch_server --model-path m",
                Some("sglang"),
            ),
            ("sglang::scheduler", Some("sglang")),
            ("python -m sglang.bench_serving", None),
            ("sglang serve m", Some("sglang")),
            (
                "python -m llama_cpp.server --model m.gguf",
                Some("llama_cpp"),
            ),
            ("/usr/local/bin/ollama serve", Some("ollama")),
            ("ollama run m", None),
            ("python app.py vllm serve", None),
            ("python -m vllm.entrypointsish", None),
            ("python", None),
            ("", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(of(&words), want, "{line}");
        }
        assert_eq!(of(&[]), None);
    }
}
