//! Asking the kubelet of the node for its pods, in place of the API server.
//!
//! It tells them all on one page (`/pods`), without an end and without changes, so it is asked again and again. What
//! controls a pod's controller it does not know: that is told by its name.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::config::{Asked, BadConfig, Place, Token, read};

/// The node's address.
const ADDRESS: &str = "NODE_IP";
/// Where a kubelet listens.
const PORT: u16 = 10250;
/// How often it is asked, in seconds.
const INTERVAL: u64 = 10;
const LONGEST_INTERVAL: u64 = 3600;

/// `kubernetes.kubelet` in the agent's configuration file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct KubeletFile {
    /// The node's address; else that of `NODE_IP`.
    pub address: Option<IpAddr>,
    /// The kubelet's port; else its usual one.
    pub port: Option<u16>,
    /// Certificates (PEM) of the authority that signed the kubelet's.
    pub certificate_authority: Option<PathBuf>,
    /// Takes any certificate for the kubelet's.
    pub insecure_skip_verify: bool,
    /// A file with the token; else that of the pod's account.
    pub token: Option<PathBuf>,
    /// How often it is asked, in seconds.
    #[serde(deserialize_with = "interval")]
    pub interval_seconds: Option<u64>,
}

fn interval<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let seconds = Option::<u64>::deserialize(from)?;
    if seconds.is_none_or(|n| (1..=LONGEST_INTERVAL).contains(&n)) {
        return Ok(seconds);
    }
    Err(D::Error::custom("expected 1 to 3600 seconds"))
}

impl KubeletFile {
    /// Where the kubelet is asked. `node`: what the node is called, as far as that is known.
    pub(super) fn place(
        &self,
        set: &dyn Fn(&str) -> Option<String>,
        node: Option<String>,
        account: &Path,
    ) -> Result<Place, BadConfig> {
        let told = || set(ADDRESS).and_then(|text| text.parse().ok());
        let address = self.address.or_else(told);
        let host = address.ok_or(BadConfig::NoAddress)?.to_string();
        let authority = match (&self.certificate_authority, self.insecure_skip_verify) {
            (Some(path), false) => read(path)?,
            (None, true) => Vec::new(),
            _ => return Err(BadConfig::Unchecked),
        };
        let token = self.token.clone();
        let token = token.unwrap_or_else(|| account.join("token"));
        // Whoever it is has a token, and says so at once if it cannot be read.
        read(&token)?;
        let seconds = self.interval_seconds.unwrap_or(INTERVAL);
        Ok(Place {
            tls: true,
            node: node.unwrap_or_else(|| host.clone()),
            host,
            port: self.port.unwrap_or(PORT),
            path: String::new(),
            authority,
            unchecked: self.insecure_skip_verify,
            token: Token::File(token),
            identity: None,
            asked: Asked::Kubelet(Duration::from_secs(seconds)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{Api, Asked, BadConfig, KubernetesFile, Token};
    use std::time::Duration;

    #[test]
    fn a_kubelet_is_asked_whose_certificate_somebody_vouches_for() {
        let dir = std::env::temp_dir().join(format!("genspan-kubelet-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("token"), "t").unwrap();
        std::fs::write(dir.join("ca.pem"), "pem").unwrap();
        let at = dir.display();
        let place = |settings: &str, env: &[(&str, &str)]| {
            let text = format!("api: kubelet\nkubelet: {{token: {at}/token, {settings}}}\n");
            let file: KubernetesFile = serde_yaml_ng::from_str(&text).unwrap();
            assert_eq!(file.api, Api::Kubelet);
            file.place(&|name| {
                let found = env.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let authority = format!("certificate_authority: {at}/ca.pem");
        let env = [("NODE_IP", "10.0.0.7"), ("NODE_NAME", "n1")];
        let found = place(&authority, &env).unwrap().unwrap();
        assert_eq!((found.host.as_str(), found.port), ("10.0.0.7", 10250));
        assert!(found.tls && !found.unchecked && found.authority == b"pem");
        assert!(found.token == Token::File(dir.join("token")) && found.node == "n1");
        assert!(found.asked == Asked::Kubelet(Duration::from_secs(10)));
        let more = "insecure_skip_verify: true, address: '::1', port: 7, interval_seconds: 2";
        let found = place(more, &env[1..]).unwrap().unwrap();
        assert_eq!((found.host.as_str(), found.port), ("::1", 7));
        assert!(found.unchecked && found.asked == Asked::Kubelet(Duration::from_secs(2)));
        let nameless = place(more, &[]).unwrap().unwrap();
        assert_eq!(nameless.node, "::1");
        for (settings, env, said) in [
            ("port: 7".to_owned(), &env[..], "insecure_skip_verify"),
            (
                format!("{authority}, insecure_skip_verify: true"),
                &env[..],
                "insecure_skip_verify",
            ),
            (authority.clone(), &env[1..], "NODE_IP"),
            (authority.clone(), &[("NODE_IP", "worker-3")][..], "NODE_IP"),
            (authority.replace("ca.pem", "none"), &env[..], "cannot read"),
        ] {
            let error = place(&settings, env).unwrap_err();
            assert!(error.to_string().contains(said), "{settings}: {error}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
        let gone = place(&authority, &env);
        assert!(matches!(gone, Err(BadConfig::File { .. })));
        for bad in [
            "interval_seconds: 0",
            "interval_seconds: 4000",
            "adress: '::1'",
        ] {
            let text = format!("kubelet: {{{bad}}}");
            assert!(
                serde_yaml_ng::from_str::<KubernetesFile>(&text).is_err(),
                "{bad}"
            );
        }
    }
}
