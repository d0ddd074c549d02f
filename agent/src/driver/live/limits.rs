//! Keeping to the limits of the configuration.

use std::time::Duration;

use super::Live;
use crate::driver::budget;
use crate::state::status::Shed;

impl Live {
    /// Looks at what we use, and leaves out more or less of what we tell.
    pub(super) fn keep_limits(&mut self, since_start: Duration) {
        let Some(host) = &mut self.host else {
            return;
        };
        if host.governor.is_idle() {
            return;
        }
        let Some(used) = budget::used(since_start) else {
            return;
        };
        let Some(change) = host.governor.measure(used) else {
            return;
        };
        let why = change.why;
        match change.shed {
            Shed::Nothing => tracing::warn!("all is told again: {why}"),
            Shed::Content => tracing::warn!("the content of messages is left out: {why}"),
            Shed::Detail => {
                tracing::warn!("content, HTTP requests and call paths are left out: {why}");
            }
        }
        self.core
            .pipeline
            .shed(change.shed >= Shed::Content, change.shed >= Shed::Detail);
    }

    /// Whether call paths are left out.
    pub(super) fn sheds_detail(&self) -> bool {
        let host = self.host.as_ref();
        host.is_some_and(|host| host.governor.shed() >= Shed::Detail)
    }
}
