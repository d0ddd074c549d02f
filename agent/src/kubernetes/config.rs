//! Where the API server is, who asks, and what of a pod is told.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::kubelet::KubeletFile;

/// Where a pod finds what it needs to ask the API server.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The node that an agent is on.
const NODE: &str = "NODE_NAME";
/// Where the API server is, of a pod.
const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";

/// `kubernetes` in the agent's configuration file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesFile {
    /// Whether the API is asked.
    pub api: Api,
    /// The node whose pods are asked for; else that of `NODE_NAME`.
    pub node: Option<String>,
    /// Where the API server is, and by what one may ask it; else as a pod is told.
    pub kubeconfig: Option<PathBuf>,
    /// Where the kubelet is, if that is asked.
    pub kubelet: KubeletFile,
    /// Which labels of a pod are told.
    pub labels: Vec<OneKey>,
    /// Which annotations.
    pub annotations: Vec<OneKey>,
    /// Whether the labels `app.kubernetes.io/*` name services and their versions.
    pub well_known_labels: bool,
}

/// Whether the API is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// Where it is known how: in a pod, or with a `kubeconfig`.
    #[default]
    Auto,
    /// It must be.
    On,
    /// The kubelet of the node in its place, which must be.
    Kubelet,
    /// Not at all.
    Off,
}

/// What of a pod is told.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Its labels.
    pub labels: Keys,
    /// Its annotations.
    pub annotations: Keys,
    /// See [`KubernetesFile::well_known_labels`].
    pub well_known_labels: bool,
}

/// Which keys: none, unless some are said.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<OneKey>);

impl Keys {
    /// Whether this one is among them.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|one| one.pattern.is_match(key))
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(vec![text.parse()?]))
    }
}

/// A key, or keys: `*` stands for anything.
#[derive(Clone, Debug)]
pub struct OneKey {
    text: String,
    pattern: Regex,
}

impl PartialEq for OneKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for OneKey {}

impl FromStr for OneKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("expected a key, as in `team` or `example.com/*`".to_owned());
        }
        let loose = regex::escape(text).replace(r"\*", ".*");
        let pattern = Regex::new(&format!("(?s)^{loose}$"));
        Ok(Self {
            text: text.to_owned(),
            pattern: pattern.map_err(|_| "the pattern is too long".to_owned())?,
        })
    }
}

impl<'de> Deserialize<'de> for OneKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Why Kubernetes cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum BadConfig {
    /// A file cannot be read.
    #[error("Kubernetes: cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// A kubeconfig is none.
    #[error("Kubernetes: cannot use {path}: {why}")]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody says which node this is.
    #[error(
        "Kubernetes: which node this is must be said, by NODE_NAME in the environment (from the field \
         spec.nodeName) or `kubernetes.node`"
    )]
    NoNode,
    /// It is to be asked, and is nowhere.
    #[error(
        "Kubernetes: `kubernetes.api` is `on`, and this is no pod (KUBERNETES_SERVICE_HOST is not set): name \
         a `kubeconfig`"
    )]
    Nowhere,
    /// Nobody says where the kubelet is.
    #[error(
        "Kubernetes: the address of the node must be said to ask its kubelet, by NODE_IP in the environment (from \
         the field status.hostIP) or `kubernetes.kubelet.address`"
    )]
    NoAddress,
    /// Nothing says whose certificate the kubelet has, or two things do.
    #[error(
        "Kubernetes: say either whose the kubelet's certificate is (`kubernetes.kubelet.certificate_authority`), \
         or that any will do (`insecure_skip_verify: true`)"
    )]
    Unchecked,
    /// Certificates are none.
    #[error("Kubernetes: {0}")]
    Tls(String),
    /// There is no thread.
    #[error("Kubernetes: cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Where to ask, and for what.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// `https` unless a kubeconfig says otherwise.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What stands before every path: empty, or `/…` without a slash at its end.
    pub path: String,
    /// Certificates of the authority, PEM.
    pub authority: Vec<u8>,
    /// Any certificate is taken for the server's.
    pub unchecked: bool,
    /// By what one may ask.
    pub token: Token,
    /// Certificate and key of ours, PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The node whose pods are asked for.
    pub node: String,
    /// Who is asked.
    pub asked: Asked,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The API server, which tells what changes.
    Api,
    /// The kubelet, each time after so long.
    Kubelet(Duration),
}

/// A bearer token.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// None.
    None,
    /// It.
    Fixed(String),
    /// In this file, which is read again each time: it is renewed.
    File(PathBuf),
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl KubernetesFile {
    /// What of a pod is told.
    #[must_use]
    pub fn chosen(&self) -> Chosen {
        Chosen {
            labels: Keys(self.labels.clone()),
            annotations: Keys(self.annotations.clone()),
            well_known_labels: self.well_known_labels,
        }
    }

    /// Where the API is asked; nowhere where it is not to be, or where nothing says that there is one.
    ///
    /// # Errors
    ///
    /// When it is to be asked and cannot be.
    pub fn place(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Place>, BadConfig> {
        if self.api == Api::Off {
            return Ok(None);
        }
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let node = self.node.clone().or_else(|| set(NODE));
        if self.api == Api::Kubelet {
            let place = self.kubelet.place(&set, node, Path::new(ACCOUNT));
            return place.map(Some);
        }
        let place = match (&self.kubeconfig, set(HOST)) {
            (Some(path), _) => of_kubeconfig(path)?,
            (None, Some(host)) => of_pod(host, set(PORT), Path::new(ACCOUNT))?,
            (None, None) if self.api == Api::On => return Err(BadConfig::Nowhere),
            (None, None) => return Ok(None),
        };
        // A pod that has no account is not to ask.
        let Some(mut place) = place else {
            return match self.api {
                Api::On => Err(BadConfig::Nowhere),
                _ => Ok(None),
            };
        };
        place.node = node.ok_or(BadConfig::NoNode)?;
        Ok(Some(place))
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, BadConfig> {
    std::fs::read(path).map_err(|source| BadConfig::File {
        path: path.to_owned(),
        source,
    })
}

fn of_pod(host: String, port: Option<String>, account: &Path) -> Result<Option<Place>, BadConfig> {
    let token = account.join("token");
    if !token.exists() {
        return Ok(None);
    }
    Ok(Some(Place {
        tls: true,
        host,
        port: port.and_then(|port| port.parse().ok()).unwrap_or(443),
        path: String::new(),
        authority: read(&account.join("ca.crt"))?,
        unchecked: false,
        token: Token::File(token),
        identity: None,
        node: String::new(),
        asked: Asked::Api,
    }))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: String,
    contexts: Vec<Named<Context>>,
    clusters: Vec<Named<Server>>,
    users: Vec<Named<User>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    of: T,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Server {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<serde_yaml_ng::Value>,
    auth_provider: Option<serde_yaml_ng::Value>,
}

fn of_kubeconfig(path: &Path) -> Result<Option<Place>, BadConfig> {
    let bad = |why: String| BadConfig::Kubeconfig {
        path: path.to_owned(),
        why,
    };
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let file: Kubeconfig = serde_yaml_ng::from_str(&text).map_err(|e| bad(senseless(&e)))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let context = of_name(file.contexts, &file.current_context)
        .ok_or_else(|| bad(format!("no context `{}`", file.current_context)))?;
    let server = of_name(file.clusters, &context.cluster)
        .ok_or_else(|| bad(format!("no cluster `{}`", context.cluster)))?;
    let user = of_name(file.users, &context.user).unwrap_or_default();
    if server.insecure_skip_tls_verify {
        let why = "insecure-skip-tls-verify is not done: name the certificate-authority";
        return Err(bad(why.to_owned()));
    }
    if user.exec.is_some() || user.auth_provider.is_some() {
        let why =
            "an agent runs no programs (`exec`, `auth-provider`): use a token or a certificate";
        return Err(bad(why.to_owned()));
    }
    // It would be in the log with the address.
    if server.server.contains('@') {
        let why = "the address of the server has `@` in it: give no user and password there, but the user a \
                   token or a client certificate";
        return Err(bad(why.to_owned()));
    }
    let data =
        |file: Option<PathBuf>, data: Option<String>| -> Result<Option<Vec<u8>>, BadConfig> {
            if let Some(data) = data {
                let decoded = base64(&data);
                return decoded
                    .map(Some)
                    .ok_or_else(|| bad("a `*-data` is not base64".to_owned()));
            }
            file.map(|file| read(&folder.join(file))).transpose()
        };
    let authority = data(
        server.certificate_authority,
        server.certificate_authority_data,
    )?;
    let certificate = data(user.client_certificate, user.client_certificate_data)?;
    let key = data(user.client_key, user.client_key_data)?;
    if certificate.is_some() != key.is_some() {
        let why = "the user has a client-certificate without its client-key, or the reverse: name both or none";
        return Err(bad(why.to_owned()));
    }
    let (tls, rest) = match server.server.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        _ => {
            return Err(bad(format!(
                "`{}` is no address of a server",
                server.server
            )));
        }
    };
    let token = match (user.token_file, user.token) {
        (Some(file), _) => Token::File(folder.join(file)),
        (None, Some(token)) => Token::Fixed(token),
        (None, None) => Token::None,
    };
    if !tls && token != Token::None {
        let why = "the user's token would go over http:// in clear: use https:// and a certificate-authority, \
                   or a user without a token";
        return Err(bad(why.to_owned()));
    }
    if tls && authority.is_none() {
        return Err(bad("the cluster has no certificate-authority".to_owned()));
    }
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    // An address of IPv6 stands in brackets.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => {
            let number = port
                .parse()
                .map_err(|_| bad(format!("`{port}` is no port")))?;
            (name, number)
        }
        _ => (host, if tls { 443 } else { 80 }),
    };
    Ok(Some(Place {
        tls,
        host: name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        port,
        path: path.trim_end_matches('/').to_owned(),
        authority: authority.unwrap_or_default(),
        unchecked: false,
        token,
        identity: certificate.zip(key),
        node: String::new(),
        asked: Asked::Api,
    }))
}

/// Where a kubeconfig makes no sense, and nothing of what stands there: the error itself names the value, which may be
/// a token.
fn senseless(error: &serde_yaml_ng::Error) -> String {
    let place = error.location();
    let place = place.map_or_else(String::new, |at| {
        format!(" at line {}, column {}", at.line(), at.column())
    });
    format!("it is no YAML, or has something else than it should{place}")
}

fn of_name<T>(all: Vec<Named<T>>, name: &str) -> Option<T> {
    all.into_iter().find(|one| one.name == name).map(|n| n.of)
}

/// Standard base64 (RFC 4648, section 4), with or without padding and line ends.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in text.bytes().filter(|b| !b.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xff) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{Api, BadConfig, Keys, KubernetesFile, Place, Token, base64, of_pod};
    use std::path::PathBuf;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("genspan-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            std::fs::write(self.0.join(name), text).unwrap();
            self.0.join(name)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn kubeconfig(cluster: &str, user: &str) -> String {
        format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
        )
    }

    fn place(file: &KubernetesFile, env: &[(&str, &str)]) -> Result<Option<Place>, BadConfig> {
        file.place(&|name| {
            let found = env.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nobody_is_asked_where_there_is_nobody() {
        let file = KubernetesFile::default();
        assert!(place(&file, &[("NODE_NAME", "n")]).unwrap().is_none());
        let on = KubernetesFile {
            api: Api::On,
            ..KubernetesFile::default()
        };
        assert!(matches!(place(&on, &[]), Err(BadConfig::Nowhere)));
        let off = KubernetesFile {
            api: Api::Off,
            kubeconfig: Some("/nowhere".into()),
            ..KubernetesFile::default()
        };
        assert!(place(&off, &[]).unwrap().is_none());
    }

    #[test]
    fn a_pod_knows_where_to_ask() {
        let dir = Dir::new("account");
        let of =
            |port: Option<&str>| of_pod("10.0.0.1".to_owned(), port.map(str::to_owned), &dir.0);
        assert!(of(None).unwrap().is_none(), "without an account");
        dir.write("token", "t");
        assert!(matches!(of(None), Err(BadConfig::File { .. })));
        dir.write("ca.crt", "pem");
        let place = of(Some("6443")).unwrap().unwrap();
        assert_eq!((place.host.as_str(), place.port), ("10.0.0.1", 6443));
        assert_eq!(of(None).unwrap().unwrap().port, 443);
    }

    #[test]
    fn kubeconfigs_are_read() {
        let dir = Dir::new("kubeconfig");
        dir.write("ca.pem", "pem");
        let file = |text: &str| KubernetesFile {
            kubeconfig: Some(dir.write("config", text)),
            ..KubernetesFile::default()
        };
        let good = "{server: 'https://[::1]:6443/k/', certificate-authority: ca.pem}";
        let env = [("NODE_NAME", "n")];
        let found = place(&file(&kubeconfig(good, "{tokenFile: t}")), &env);
        let found = found.unwrap().unwrap();
        assert_eq!((found.host.as_str(), found.port), ("::1", 6443));
        assert_eq!((found.path.as_str(), found.node.as_str()), ("/k", "n"));
        assert!(found.token == Token::File(dir.0.join("t")) && found.authority == b"pem");
        let data = "{server: 'https://a', certificate-authority-data: cGVt}";
        let found = place(&file(&kubeconfig(data, "{token: t}")), &env)
            .unwrap()
            .unwrap();
        assert!(found.authority == b"pem" && found.token == Token::Fixed("t".to_owned()));
        assert_eq!((found.host.as_str(), found.port), ("a", 443));
        assert!(!format!("{found:?}").contains("Fixed"));
        for (text, said) in [
            (
                kubeconfig("{server: 'https://a'}", "{}"),
                "no certificate-authority",
            ),
            (kubeconfig("{server: nothing}", "{}"), "no address"),
            (
                kubeconfig(
                    "{server: 'https://a:x', certificate-authority: ca.pem}",
                    "{}",
                ),
                "`x` is no port",
            ),
            (
                kubeconfig(
                    "{server: 'https://a', insecure-skip-tls-verify: true}",
                    "{}",
                ),
                "insecure-skip-tls-verify",
            ),
            (
                kubeconfig(good, "{exec: {command: aws}}"),
                "runs no programs",
            ),
            (
                kubeconfig(
                    "{server: 'https://a', certificate-authority-data: '%'}",
                    "{}",
                ),
                "not base64",
            ),
            (
                kubeconfig(good, "{}").replace("context: a", "context: b"),
                "no context `b`",
            ),
            ("contexts: 7\n".to_owned(), "line 1"),
            (
                kubeconfig("{server: 'http://a'}", "{token: t}"),
                "use https://",
            ),
            (
                kubeconfig("{server: 'http://a'}", "{tokenFile: t}"),
                "use https://",
            ),
            (
                kubeconfig(good, "{client-certificate: ca.pem}"),
                "name both or none",
            ),
            (
                kubeconfig(good, "{client-key-data: cGVt}"),
                "name both or none",
            ),
        ] {
            let error = place(&file(&text), &env).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        // What is in an address is not in what is said of it.
        for server in ["https://me:hush@a", "http://me:hush@a", "me:hush@a"] {
            let server = format!("{{server: '{server}', certificate-authority: ca.pem}}");
            let error = place(&file(&kubeconfig(&server, "{}")), &env).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("a token or a client certificate"), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
        // Nor is what stands where something else should.
        let told = |text: &str| place(&file(text), &env).unwrap_err().to_string();
        for (cluster, user) in [
            (good, "hush"),
            (good, "12345678"),
            (good, "[hush]"),
            (good, "{token: [hush]}"),
            (good, "{token: {hush: 1}}"),
            (good, "{token: 'hush}"),
            (good, "{token: *hush}"),
            (good, "{token: a, token: hush}"),
            ("hush", "{}"),
            ("{insecure-skip-tls-verify: hush}", "{}"),
        ] {
            let error = told(&kubeconfig(cluster, user));
            assert!(error.contains("should"), "{user}: {error}");
            let is_told = error.contains("hush") || error.contains("12345678");
            assert!(!is_told, "{error}");
        }
        assert!(told(&kubeconfig(good, "hush")).contains("line 4"));
        // A token may look like a number.
        let found = place(&file(&kubeconfig(good, "{token: 12345678}")), &env);
        assert!(found.unwrap().unwrap().token == Token::Fixed("12345678".to_owned()));
        let open = place(&file(&kubeconfig("{server: 'http://a'}", "{}")), &env);
        let open = open.unwrap().unwrap();
        assert!(!open.tls && open.port == 80 && open.token == Token::None);
        let both = "{client-certificate: ca.pem, client-key-data: a2V5}";
        let both = place(&file(&kubeconfig(good, both)), &env);
        let identity = both.unwrap().unwrap().identity;
        assert!(identity == Some((b"pem".to_vec(), b"key".to_vec())));
        let nameless = place(&file(&kubeconfig(good, "{}")), &[]);
        assert!(matches!(nameless, Err(BadConfig::NoNode)));
    }

    #[test]
    fn keys_have_patterns() {
        let keys: Keys = "example.com/*".parse().unwrap();
        assert!(keys.has("example.com/a") && !keys.has("example_com/a") && !keys.has("a"));
        assert!(!Keys::default().has("a") && " ".parse::<Keys>().is_err());
    }

    #[test]
    fn base64_is_decoded() {
        for (text, want) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v\nYg", Some("foob")),
            ("Z!", None),
        ] {
            let got = base64(text).map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }
}
