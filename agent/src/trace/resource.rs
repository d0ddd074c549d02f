//! What the spans of a process say of it.

use crate::model::process::{Detected, ProcessFacts};
use crate::model::span::{Attributes, Resource, Value};
use crate::vocabulary::resource as name;
use std::borrow::Cow;

/// The resource of a process. What the process's environment says of itself wins over what was
/// found out, but for its id. What was found out of where it runs adds to the rest and changes none of it.
#[must_use]
pub fn of(facts: &ProcessFacts) -> Resource {
    let mut all = Attributes::new();
    let mut add = |key: &'static str, value: Value| all.push((Cow::Borrowed(key), value));
    if !facts.service_name.is_empty() {
        add(name::SERVICE_NAME, facts.service_name.clone().into());
    }
    add(name::PROCESS_PID, i64::from(facts.pid).into());
    if !facts.executable.is_empty() {
        let file = facts.executable.rsplit('/').next().unwrap_or_default();
        add(name::PROCESS_EXECUTABLE_NAME, file.to_owned().into());
        add(
            name::PROCESS_EXECUTABLE_PATH,
            facts.executable.clone().into(),
        );
    }
    if !facts.command.is_empty() {
        add(name::PROCESS_COMMAND_ARGS, facts.command.clone().into());
    }
    if let Some(runtime) = &facts.runtime_name {
        add(name::PROCESS_RUNTIME_NAME, runtime.clone().into());
        if runtime.to_ascii_lowercase().ends_with("python") {
            add(name::TELEMETRY_SDK_LANGUAGE, "python".into());
        }
    }
    if let Some(version) = &facts.runtime_version {
        add(name::PROCESS_RUNTIME_VERSION, version.clone().into());
    }
    if !facts.host_name.is_empty() {
        add(name::HOST_NAME, facts.host_name.clone().into());
    }
    add(name::TELEMETRY_SDK_NAME, "genspan".into());
    add(
        name::TELEMETRY_SDK_VERSION,
        env!("CARGO_PKG_VERSION").into(),
    );
    for (key, value) in &facts.detected {
        if all.iter().any(|(k, _)| k == key) {
            continue;
        }
        let value = match value {
            Detected::Number(number) => Value::from(*number),
            Detected::Text(text) => Value::from(text.clone()),
            Detected::List(all) => Value::from(all.clone()),
        };
        all.push((Cow::Owned(key.clone()), value));
    }
    for (key, value) in &facts.resource {
        if matches!(key.as_str(), name::SERVICE_NAME | name::PROCESS_PID) {
            continue;
        }
        let value = Value::from(value.clone());
        match all.iter_mut().find(|(k, _)| k == key) {
            Some((_, slot)) => *slot = value,
            None => all.push((Cow::Owned(key.clone()), value)),
        }
    }
    Resource { attributes: all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins() {
        let text = |text: &str| Detected::Text(text.to_owned());
        let facts = ProcessFacts {
            pid: 7,
            service_name: "shop".to_owned(),
            executable: "/usr/bin/python3.12".to_owned(),
            runtime_name: Some("cpython".to_owned()),
            host_name: "found".to_owned(),
            detected: vec![
                (name::K8S_POD_NAME.to_owned(), text("pod-1")),
                (name::PROCESS_PID.to_owned(), Detected::Number(1)),
                ("team".to_owned(), text("found")),
                (
                    name::K8S_CONTAINER_RESTART_COUNT.to_owned(),
                    Detected::Number(2),
                ),
            ],
            resource: vec![
                ("host.name".to_owned(), "told".to_owned()),
                ("service.name".to_owned(), "no".to_owned()),
                ("team".to_owned(), "x".to_owned()),
            ],
            ..ProcessFacts::default()
        };
        let resource = of(&facts);
        let get = |key: &str| {
            let found = resource.attributes.iter().find(|(k, _)| k == key);
            found.map(|(_, v)| v.clone())
        };
        assert_eq!(get(name::HOST_NAME), Some("told".to_owned().into()));
        assert_eq!(get(name::SERVICE_NAME), Some("shop".to_owned().into()));
        assert_eq!(get(name::PROCESS_PID), Some(7i64.into()));
        assert_eq!(
            get(name::PROCESS_EXECUTABLE_NAME),
            Some("python3.12".to_owned().into())
        );
        assert_eq!(get("team"), Some("x".to_owned().into()));
        assert_eq!(get(name::K8S_POD_NAME), Some("pod-1".to_owned().into()));
        assert_eq!(get(name::K8S_CONTAINER_RESTART_COUNT), Some(2i64.into()));
        assert_eq!(get(name::TELEMETRY_SDK_LANGUAGE), Some("python".into()));
    }
}
