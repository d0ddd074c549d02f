//! The agent's configuration file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::driver::budget::Budget;
#[cfg(feature = "otlp")]
use crate::export::otlp::ExportFile;
use crate::export::size::Size;
#[cfg(feature = "kubernetes")]
use crate::kubernetes::config::KubernetesFile;
use crate::target::rules::{BadFile, RulesFile};
use crate::target::settings::RuleSettings;

/// What a file says.
#[derive(Clone, Debug)]
pub(super) struct ConfigFile {
    /// Which processes.
    pub(super) rules: RulesFile,
    /// What is set for which.
    pub(super) settings: Vec<RuleSettings>,
    /// What processes say in their environment of how they are to be traced counts.
    pub(super) trust_process_env: bool,
    /// Where to.
    #[cfg(feature = "otlp")]
    pub(super) export: ExportFile,
    /// What may be used.
    pub(super) budget: Budget,
    /// What model servers are asked for.
    pub(super) scrape: ScrapeFile,
    /// What is asked of Kubernetes.
    #[cfg(feature = "kubernetes")]
    pub(super) kubernetes: KubernetesFile,
}

impl Default for ConfigFile {
    /// What an empty file says.
    fn default() -> Self {
        Self {
            rules: RulesFile::default(),
            settings: Vec::new(),
            trust_process_env: true,
            #[cfg(feature = "otlp")]
            export: ExportFile::default(),
            budget: Budget::default(),
            scrape: ScrapeFile::default(),
            #[cfg(feature = "kubernetes")]
            kubernetes: KubernetesFile::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    include: Vec<String>,
    exclude: Vec<String>,
    include_other: Vec<String>,
    settings: Vec<RuleSettings>,
    trust_process_env: Option<bool>,
    #[cfg(feature = "otlp")]
    export: ExportFile,
    limits: LimitsFile,
    scrape: ScrapeFile,
    #[cfg(feature = "kubernetes")]
    kubernetes: KubernetesFile,
}

/// Whether model servers are asked for their own metrics, and how often.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ScrapeFile {
    /// vLLM and SGLang.
    pub(super) engines: bool,
    /// Unless it is as often as usual.
    #[serde(deserialize_with = "interval")]
    pub(super) interval: Option<Duration>,
}

/// A second at least: asking takes a server's time.
fn interval<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    let parsed = super::args::duration(&text).ok();
    let fits = parsed.filter(|time| *time >= Duration::from_secs(1));
    let expected = "expected a second or more, as in 15s";
    fits.map(Some).ok_or_else(|| D::Error::custom(expected))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsFile {
    #[serde(deserialize_with = "cores")]
    cpu: Option<f64>,
    #[serde(deserialize_with = "resident")]
    memory: Option<Size>,
    #[serde(deserialize_with = "recover")]
    recover_seconds: Option<u64>,
}

/// What no agent keeps to. A number without its unit is bytes, and is hardly meant so.
const LEAST_MEMORY: u64 = 1 << 20;

fn resident<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Size>, D::Error> {
    let size = Option::<Size>::deserialize(from)?;
    if size.as_ref().is_none_or(|size| size.0 >= LEAST_MEMORY) {
        return Ok(size);
    }
    Err(D::Error::custom("expected 1M or more, as in 512M"))
}

/// As long as what stays away for longest.
const LONGEST_RECOVERY: u64 = 3600;

fn recover<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let seconds = Option::<u64>::deserialize(from)?;
    if seconds.is_none_or(|n| (1..=LONGEST_RECOVERY).contains(&n)) {
        return Ok(seconds);
    }
    Err(D::Error::custom("expected 1 to 3600 seconds"))
}

fn cores<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let cores = Option::<f64>::deserialize(from)?;
    if cores.is_none_or(|n| n.is_finite() && n > 0.0) {
        return Ok(cores);
    }
    let expected = "expected a number of cores above zero, as in 0.5";
    Err(D::Error::custom(expected))
}

impl ConfigFile {
    /// Reads YAML. An empty file says nothing.
    ///
    /// # Errors
    ///
    /// What is wrong, with its line and what is expected.
    fn parse(text: &str) -> Result<Self, BadFile> {
        let written: Option<Written> = serde_yaml_ng::from_str(text)?;
        let written = written.unwrap_or_default();
        Ok(Self {
            rules: RulesFile::read(
                [written.include, written.exclude, written.include_other],
                text,
            )?,
            settings: written.settings,
            trust_process_env: written.trust_process_env.unwrap_or(true),
            #[cfg(feature = "otlp")]
            export: written.export,
            budget: Budget {
                cores: written.limits.cpu,
                memory: written.limits.memory.map(|size| size.0),
                recover: written.limits.recover_seconds.map(Duration::from_secs),
            },
            scrape: written.scrape,
            #[cfg(feature = "kubernetes")]
            kubernetes: written.kubernetes,
        })
    }

    /// Reads a file, if one is named.
    ///
    /// # Errors
    ///
    /// When it cannot be read or used, or everybody can write it.
    pub(super) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let name = path.display();
        let cannot = || format!("cannot read the configuration {name}");
        let mode = std::fs::metadata(path)
            .with_context(cannot)?
            .permissions()
            .mode();
        // Who is in the file's group was let in by its owner. What its directory's mode says counts for nothing:
        // Kubernetes mounts a ConfigMap read-only, in a directory of the mode 0777.
        anyhow::ensure!(
            mode & 0o002 == 0,
            "the configuration {name} can be written by everybody: chmod o-w it"
        );
        let text = std::fs::read_to_string(path).with_context(cannot)?;
        let file = Self::parse(&text);
        let file = file.with_context(|| format!("cannot use the configuration {name}"))?;
        #[cfg(feature = "otlp")]
        if mode & 0o004 != 0 && file.export.has_secrets() {
            tracing::warn!(
                "headers stand in the configuration {name}, which everybody can read: chmod o-r it, or write \
                 ${{NAME}} for a variable"
            );
        }
        Ok(file)
    }

    /// Says what of a file that was read again takes no effect before the next start. `spools`: what cannot be
    /// delivered waits on the disk.
    pub(super) fn tell_what_waits(&self, new: &Self, spools: bool) {
        let mut waits = Vec::new();
        #[cfg(not(feature = "otlp"))]
        let _ = spools;
        // What waits on the disk is for those who took it up.
        #[cfg(feature = "otlp")]
        if self.export != new.export && (spools || new.export.spool.is_some()) {
            waits.push("export");
        }
        #[cfg(feature = "kubernetes")]
        if self.kubernetes != new.kubernetes {
            waits.push("kubernetes");
        }
        if self.trust_process_env != new.trust_process_env {
            waits.push("trust_process_env");
        }
        if self.scrape != new.scrape {
            waits.push("scrape");
        }
        for part in waits {
            tracing::warn!("`{part}` in the configuration has changed: restart for it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, ConfigFile};
    use std::time::Duration;

    #[test]
    fn files_have_rules_and_mistakes_have_lines() {
        let file = ConfigFile::parse("include:\n  - type=app\nexclude: [user=root, 'name=x*']\n");
        let rules = file.unwrap().rules;
        assert_eq!((rules.include.len(), rules.exclude.len()), (1, 2));
        let first = ConfigFile::parse("includes: []\n").unwrap_err().to_string();
        assert!(first.ends_with("at line 1 column 1"), "{first}");
        for (text, trusts) in [("false", false), ("true", true), ("", true)] {
            let file = ConfigFile::parse(&format!("trust_process_env: {text}\n")).unwrap();
            assert_eq!(file.trust_process_env, trusts, "{text}");
        }
        assert!(ConfigFile::default().trust_process_env);
        let nothing = ConfigFile::parse("").unwrap();
        assert!(nothing.trust_process_env);
        assert!(nothing.rules.include.is_empty() && nothing.budget == Budget::default());
        let limits = "limits: {cpu: 0.5, memory: 256M, recover_seconds: 10}";
        let budget = ConfigFile::parse(limits).unwrap().budget;
        assert_eq!(budget.recover, Some(Duration::from_secs(10)));
        assert_eq!((budget.cores, budget.memory), (Some(0.5), Some(256 << 20)));
        for (text, line, expected) in [
            (
                "include: []\nexlude: []\n",
                "line 2",
                "`include`, `exclude`",
            ),
            (
                "include:\n  - type=app\n  - type=robot\n",
                "line 3",
                "app, model or microservice",
            ),
            ("exclude:\n  - nme=x\n", "line 2", "expected name, command"),
            (
                "include: [type=x]\nexclude: ['']\n",
                "line 1: `type=x`",
                "; ``: expected a pattern",
            ),
            ("include: app\n", "line 1", "a sequence"),
            ("limits:\n  cpu: -1\n", "line 2", "as in 0.5"),
            ("limits:\n  recover_seconds: 0\n", "line 2", "1 to 3600"),
            ("limits: {memory: all}\n", "line 1", "as in 512M"),
            ("limits:\n  memory: 512\n", "line 2", "1M or more"),
            (
                "settings:\n  - rule: nme=x\n",
                "line 2",
                "expected name, command",
            ),
            (
                "settings:\n  - rule: a\n    content: some\n",
                "line 3",
                "`spans`, `events`, `both`, `none`, `forbid`",
            ),
            ("settings:\n  - content: none\n", "line 2", "`rule`"),
            ("\ntrust_process_env: ask\n", "line 2", "boolean"),
            (
                "settings:\n  - {rule: a, servce: b}\n",
                "line 2",
                "`service`",
            ),
            (
                "settings:\n  - rule: a\n    sample: 2\n",
                "line 2",
                "from 0 to 1",
            ),
            (
                "settings:\n  - rule: a\n    stacks: often\n",
                "line 3",
                "boolean",
            ),
            (
                "settings:\n  - {rule: a, service: ''}\n",
                "line 2",
                "name of a service",
            ),
            #[cfg(feature = "kubernetes")]
            (
                "kubernetes:\n  api: maybe\n",
                "line 2",
                "`auto`, `on`, `kubelet`, `off`",
            ),
            #[cfg(feature = "kubernetes")]
            ("kubernetes:\n  labels: ['']\n", "line 2", "expected a key"),
            (
                "limits: {disk: 1}\n",
                "line 1",
                "`cpu`, `memory`, `recover_seconds`",
            ),
        ] {
            let said = ConfigFile::parse(text).unwrap_err().to_string();
            assert!(
                said.contains(line) && said.contains(expected),
                "{text}: {said}"
            );
            // As it is shown, with all that is behind it: nothing is said twice.
            let whole = crate::cli::whole(&ConfigFile::parse(text).unwrap_err().into());
            assert_eq!(whole, said);
        }
    }

    #[test]
    fn what_everybody_can_write_is_refused() {
        use std::fs::{Permissions, create_dir, remove_dir_all, set_permissions, write};
        use std::os::unix::fs::PermissionsExt as _;

        let dir = std::env::temp_dir().join(format!("genspan-config-{}", std::process::id()));
        create_dir(&dir).unwrap();
        // As a ConfigMap is mounted.
        set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
        let path = dir.join("rules.yaml");
        write(&path, "include: [type=app]\n").unwrap();
        let link = dir.join("link.yaml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut came = Vec::new();
        let modes = [
            0o600, 0o640, 0o644, 0o660, 0o664, 0o602, 0o646, 0o666, 0o777,
        ];
        for mode in modes {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            // A link has no mode of its own that counts.
            for path in [&path, &link] {
                let read = ConfigFile::read(Some(path));
                let read = read.map(|file| file.rules.include.len());
                came.push((mode, path, read.map_err(|e| e.to_string())));
            }
        }
        remove_dir_all(&dir).unwrap();
        assert_eq!(came.len(), 2 * modes.len());
        for (mode, path, read) in came {
            let refused = format!(
                "the configuration {} can be written by everybody: chmod o-w it",
                path.display()
            );
            let wanted = if mode & 0o002 == 0 {
                Ok(1)
            } else {
                Err(refused)
            };
            assert_eq!(read, wanted, "{mode:o}");
        }
        let gone = ConfigFile::read(Some(&path)).unwrap_err().to_string();
        assert!(gone.contains("cannot read the configuration"), "{gone}");
        assert!(ConfigFile::read(None).unwrap().rules.include.is_empty());
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn mistakes_about_the_export_have_lines() {
        let text = "export:\n  endpoints:\n    - url: http://a\n      protocol: thrift\n";
        let said = ConfigFile::parse(text).unwrap_err().to_string();
        let wanted = "export.endpoints[0].protocol: unknown variant `thrift`";
        assert!(said.contains(wanted) && said.contains("line 4"), "{said}");
    }
}
