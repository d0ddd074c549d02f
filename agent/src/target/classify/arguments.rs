//! What the arguments and the environment of a model server say: which model, at which port, over
//! how many devices.

use super::description::Description;
use super::server::{Found, Server};

/// What a server was told. A thing that was not said is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The model that it loads: a name, a folder or a file.
    pub model: Option<String>,
    /// Names under which it serves it, when they are others.
    pub served_as: Vec<String>,
    /// Port for HTTP.
    pub port: Option<u16>,
    /// Over how many devices each layer is split.
    pub tensor_parallel: Option<u32>,
}

/// How a server's options are called.
struct Options {
    model: &'static [&'static str],
    /// The model may stand without an option before it.
    positional: bool,
    served_as: &'static [&'static str],
    port: &'static [&'static str],
    tensor_parallel: &'static [&'static str],
    /// Variables that say the model, the port and the devices instead.
    variables: [Option<&'static str>; 3],
    /// The port when nothing says one.
    usual_port: u16,
}

const NONE: Options = Options {
    model: &[],
    positional: false,
    served_as: &[],
    port: &["--port"],
    tensor_parallel: &[],
    variables: [None, None, None],
    usual_port: 0,
};

/// By the servers' own `--help` and documentation.
fn options_of(server: Server) -> Options {
    match server {
        Server::Vllm => Options {
            model: &["--model"],
            positional: true,
            served_as: &["--served-model-name"],
            tensor_parallel: &["--tensor-parallel-size", "-tp"],
            usual_port: 8000,
            ..NONE
        },
        Server::Sglang => Options {
            model: &["--model-path", "--model"],
            positional: true,
            served_as: &["--served-model-name"],
            tensor_parallel: &["--tp-size", "--tp", "--tensor-parallel-size"],
            usual_port: 30000,
            ..NONE
        },
        Server::Tgi => Options {
            model: &["--model-id"],
            positional: false,
            port: &["--port", "-p"],
            tensor_parallel: &["--num-shard"],
            variables: [Some("MODEL_ID"), Some("PORT"), Some("NUM_SHARD")],
            usual_port: 3000,
            ..NONE
        },
        Server::Triton => Options {
            port: &["--http-port"],
            usual_port: 8000,
            ..NONE
        },
        Server::Ollama => Options {
            model: &["--model"],
            usual_port: 11434,
            ..NONE
        },
        Server::LlamaCpp => Options {
            model: &[
                "--model",
                "-m",
                "--hf-repo",
                "-hf",
                "-hfr",
                "--hf_model_repo_id",
            ],
            served_as: &["--alias", "-a", "--model-alias"],
            variables: [Some("LLAMA_ARG_MODEL"), Some("LLAMA_ARG_PORT"), None],
            usual_port: 8080,
            ..NONE
        },
        Server::Litellm => Options {
            model: &["--model", "-m"],
            served_as: &["--alias"],
            variables: [None, Some("PORT"), None],
            usual_port: 4000,
            ..NONE
        },
        Server::Lmdeploy => Options {
            positional: true,
            served_as: &["--model-name"],
            port: &["--server-port"],
            tensor_parallel: &["--tp"],
            usual_port: 23333,
            ..NONE
        },
        Server::Xinference => Options {
            port: &["--port", "-p"],
            usual_port: 9997,
            ..NONE
        },
    }
}

/// What stands for a hidden value.
const HIDDEN: &str = "***";

/// Reads what a server was told.
#[must_use]
pub fn of(found: &Found<'_>, process: &Description) -> Told {
    let options = options_of(found.server);
    let mut told = Told::default();
    let arguments = Arguments(found.arguments);
    let [model, port, parallel] = options.variables;
    let variable = |name: Option<&str>| name.and_then(|n| process.variable(n));
    told.model = arguments
        .last(options.model)
        .or_else(|| arguments.positional().filter(|_| options.positional))
        .or_else(|| variable(model))
        .map(str::to_owned);
    if found.server == Server::LlamaCpp && told.model.is_none() {
        let repository = process.variable("LLAMA_ARG_HF_REPO");
        told.model = repository
            .or_else(|| process.variable("MODEL"))
            .map(str::to_owned);
    }
    told.served_as = arguments.all(options.served_as);
    told.tensor_parallel = arguments
        .last(options.tensor_parallel)
        .or_else(|| variable(parallel))
        .and_then(|n| n.parse().ok());
    if !found.part.speaks_http() {
        return told;
    }
    let said = arguments.last(options.port).or_else(|| variable(port));
    told.port = match said {
        Some(port) => port.parse().ok(),
        None if found.server == Server::Ollama => {
            process.variable("OLLAMA_HOST").and_then(port_of_host)
        }
        None => None,
    };
    told.port = told.port.filter(|p| *p != 0).or_else(|| {
        // The usual one only if it is really there.
        let ports = &process.ports;
        let usual = ports.contains(&options.usual_port);
        match ports.as_slice() {
            _ if usual => Some(options.usual_port),
            [only] => Some(*only),
            _ => None,
        }
    });
    told
}

/// `0.0.0.0:11434`, `http://host:80/`.
fn port_of_host(host: &str) -> Option<u16> {
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split('/').next()?;
    host.rsplit_once(':')?.1.parse().ok()
}

/// Arguments in the manner of `argparse`: `--name value`, `--name=value`, `_` for `-`.
struct Arguments<'a>(&'a [String]);

impl<'a> Arguments<'a> {
    /// The value of an option with one of these names; the last one counts.
    fn last(&self, names: &[&str]) -> Option<&'a str> {
        let mut found = None;
        for (at, argument) in self.0.iter().enumerate() {
            let (name, joined) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument.as_str(), None),
            };
            if !is_option(name, names) {
                continue;
            }
            let value = joined.or_else(|| self.0.get(at + 1).map(String::as_str));
            found = value.filter(|v| is_value(v) || joined.is_some());
        }
        found.filter(|v| !v.is_empty() && *v != HIDDEN)
    }

    /// All values of an option that takes several.
    fn all(&self, names: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for (at, argument) in self.0.iter().enumerate() {
            match argument.split_once('=') {
                Some((name, value)) if is_option(name, names) => {
                    found = vec![value.to_owned()];
                }
                None if is_option(argument, names) => {
                    let rest = self.0.get(at + 1..).unwrap_or_default();
                    let values = rest.iter().take_while(|v| is_value(v));
                    found = values.cloned().collect();
                }
                _ => {}
            }
        }
        found.retain(|v| !v.is_empty() && v != HIDDEN);
        found
    }

    /// The first argument that is no option and no option's value. What takes a value is not known
    /// of every option: one that is no plain switch is taken to have one.
    fn positional(&self) -> Option<&'a str> {
        let mut arguments = self.0.iter();
        while let Some(argument) = arguments.next() {
            if is_value(argument) {
                return Some(argument.as_str()).filter(|a| *a != HIDDEN);
            }
            if !argument.contains('=') && !is_switch(argument) {
                arguments.next();
            }
        }
        None
    }
}

fn is_option(argument: &str, names: &[&str]) -> bool {
    argument.starts_with('-')
        && names.iter().any(|name| {
            *name == argument
                || (argument.starts_with("--")
                    && argument.replace('_', "-") == name.replace('_', "-"))
        })
}

/// Whether this is a value and no option; a number below zero is one.
fn is_value(argument: &str) -> bool {
    match argument.strip_prefix('-') {
        Some(rest) => rest.starts_with(|c: char| c.is_ascii_digit()),
        None => true,
    }
}

/// Options that take no value, by how they are called.
fn is_switch(argument: &str) -> bool {
    const SWITCHES: [&str; 9] = [
        "--enforce-eager",
        "--trust-remote-code",
        "--headless",
        "--enable-",
        "--disable-",
        "--no-",
        "--skip-",
        "--log-requests",
        "--is-embedding",
    ];
    let argument = argument.replace('_', "-");
    SWITCHES.iter().any(|s| argument.starts_with(s))
}

#[cfg(test)]
mod tests {
    use super::{Arguments, port_of_host};

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_have_values() {
        let line = words("--port 1 --port=2 --served-model-name a b --tensor_parallel_size 4 -x");
        let arguments = Arguments(&line);
        assert_eq!(arguments.last(&["--port"]), Some("2"));
        assert_eq!(
            arguments.last(&["--tensor-parallel-size", "-tp"]),
            Some("4")
        );
        assert_eq!(arguments.all(&["--served-model-name"]), ["a", "b"]);
        assert_eq!(arguments.last(&["-x"]), None);
        assert_eq!(Arguments(&words("--model ***")).last(&["--model"]), None);
        assert_eq!(
            Arguments(&words("--model --port 1")).last(&["--model"]),
            None
        );
    }

    #[test]
    fn positional_arguments() {
        for (line, want) in [
            ("m --port 1", Some("m")),
            ("--port 1 m", Some("m")),
            ("--enforce-eager m", Some("m")),
            (
                "--enable-prefix-caching --dtype float16 org/m",
                Some("org/m"),
            ),
            ("--dtype=float16 m", Some("m")),
            ("--port 1", None),
            ("", None),
        ] {
            assert_eq!(Arguments(&words(line)).positional(), want, "{line}");
        }
    }

    #[test]
    fn hosts_have_ports() {
        assert_eq!(port_of_host("0.0.0.0:11500"), Some(11500));
        assert_eq!(port_of_host("http://[::1]:80/x"), Some(80));
        assert_eq!(port_of_host("0.0.0.0"), None);
    }
}
