//! Applications that are services of their own, though one process runs them all (Dify's, where
//! `PROFILER_GENAI_SPLITAPP_ENABLE` asks for it).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::span::Resource;
use crate::redact::Redactor;
use crate::vocabulary::resource as name;

/// Resources that are kept for the next span; of more, those of the processes with the lowest ids are made
/// again when they are wanted.
pub(super) const MAX_KEPT: usize = 1024;

/// A resource that was made, and that of the process, of which it was made.
#[derive(Debug)]
struct Made {
    of: Arc<Resource>,
    own: Arc<Resource>,
}

/// The resources of applications.
#[derive(Debug, Default)]
pub(super) struct Applications {
    /// By process and application.
    kept: BTreeMap<(u32, Arc<str>), Made>,
}

impl Applications {
    /// The resource of an application: its process's, but that the service is called as the application is.
    pub(super) fn resource(
        &mut self,
        (pid, application): (u32, &Arc<str>),
        of_process: &Arc<Resource>,
        redactor: &Redactor,
    ) -> Arc<Resource> {
        let key = (pid, Arc::clone(application));
        if let Some(made) = self.kept.get(&key)
            && Arc::ptr_eq(&made.of, of_process)
        {
            return Arc::clone(&made.own);
        }
        let mut own = Resource::clone(of_process);
        let called = (
            name::SERVICE_NAME.into(),
            redactor.text(application).into_owned().into(),
        );
        let mut all = own.attributes.iter_mut();
        match all.find(|(key, _)| key == name::SERVICE_NAME) {
            Some(slot) => *slot = called,
            None => own.attributes.insert(0, called),
        }
        let own = Arc::new(own);
        if self.kept.len() >= MAX_KEPT && !self.kept.contains_key(&key) {
            self.kept.pop_first();
        }
        let made = Made {
            of: Arc::clone(of_process),
            own: Arc::clone(&own),
        };
        self.kept.insert(key, made);
        own
    }

    /// A process is gone.
    pub(super) fn process_exit(&mut self, pid: u32) {
        if !self.kept.is_empty() {
            self.kept.retain(|(of, _), _| *of != pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Applications, MAX_KEPT};
    use crate::model::span::{Resource, Value};
    use crate::redact::Redactor;
    use crate::vocabulary::resource as name;
    use std::sync::Arc;

    fn resource(service: Option<&str>) -> Arc<Resource> {
        let text = |text: &str| Value::from(text.to_owned());
        let mut attributes = vec![(name::PROCESS_PID.into(), 7i64.into())];
        if let Some(service) = service {
            attributes.insert(0, (name::SERVICE_NAME.into(), text(service)));
        }
        Arc::new(Resource { attributes })
    }

    #[test]
    fn the_service_alone_is_another() {
        let mut all = Applications::default();
        let redactor = Redactor::default();
        for of in [resource(Some("dify")), resource(None)] {
            let own = all.resource((7, &"flow".into()), &of, &redactor);
            assert_eq!(own, resource(Some("flow")));
            // The same for all of its spans, until more is known of the process.
            let again = all.resource((7, &"flow".into()), &of, &redactor);
            assert!(Arc::ptr_eq(&own, &again));
        }
        assert_eq!(all.kept.len(), 1);
        all.process_exit(8);
        assert_eq!(all.kept.len(), 1);
        all.process_exit(7);
        assert!(all.kept.is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut all = Applications::default();
        let of = resource(Some("dify"));
        for n in 0..2 * MAX_KEPT {
            let name: Arc<str> = format!("flow {n}").into();
            let own = all.resource((7, &name), &of, &Redactor::default());
            assert_eq!(own, resource(Some(&name)));
        }
        assert_eq!(all.kept.len(), MAX_KEPT);
    }
}
