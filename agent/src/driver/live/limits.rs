//! Keeping to the limits of the configuration.

use std::time::Duration;

use super::{Core, Live};
use crate::driver::budget;
use crate::probe::attach::Traced;
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
        // What is not told is not copied either: that is most of what it costs.
        self.set_contents();
    }

    /// Whether the content of messages is left out.
    pub(super) fn sheds_content(&self) -> bool {
        let host = self.host.as_ref();
        host.is_some_and(|host| host.governor.shed() >= Shed::Content)
    }

    /// Whether the objects of a process are copied: where what they contain is told, and nowhere else.
    pub(super) fn copies_of(&self, traced: &Traced) -> bool {
        self.core.copies(traced, self.sheds_content())
    }

    /// What of processes is told has changed: so has whether their objects are copied.
    pub(super) fn set_contents(&mut self) {
        let sheds = self.sheds_content();
        let wanted = |pid| Some(self.core.copies(self.attachments.get(pid)?, sheds));
        self.functions.set_contents(&mut self.kernel, wanted);
    }

    /// Whether call paths are left out.
    pub(super) fn sheds_detail(&self) -> bool {
        let host = self.host.as_ref();
        host.is_some_and(|host| host.governor.shed() >= Shed::Detail)
    }
}

impl Core {
    /// Whether the objects of a process are copied, while content is left out or not.
    const fn copies(&self, traced: &Traced, sheds: bool) -> bool {
        let policy = &traced.target.facts.content;
        !self.forbid_content && !sheds && (policy.on_spans || policy.on_events)
    }
}
