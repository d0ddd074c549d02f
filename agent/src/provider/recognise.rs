//! Which exchanges are on the path of a model call: by method and the end of the path, whatever
//! the base URL, never by the host alone. The payload confirms it ([`Route::settle`]).

use super::hosts;
use super::json::Object;
use super::openai::OpenAi;
use super::providers::SHAPES;
use super::shape::{Found, Payload, Shape};
use super::target::Target;
use crate::model::call::{Api, Operation};
use crate::model::exchange::RequestHead;

/// What the head of a request tells.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) shape: &'static dyn Shape,
    pub(super) found: Found,
    /// Who the client believes it speaks to.
    pub(super) provider: &'static str,
    pub(super) address: Option<String>,
    pub(super) port: Option<u16>,
    /// What else the head may mean.
    others: Vec<(&'static dyn Shape, Found)>,
}

/// The route of a request, if it may be a model call. `default_port` is the one of a host that
/// is named without.
pub(super) fn route(head: &RequestHead, default_port: u16) -> Option<Route> {
    let host = head.host.as_deref().filter(|h| !h.is_empty());
    let named = host.map(|h| hosts::split(h, default_port));
    let target = Target::new(head);
    let mut fitting = SHAPES
        .iter()
        .filter_map(|shape| Some((*shape, shape.route(&target)?)));
    let (shape, found) = fitting.next()?;
    let others = fitting.collect();
    let (address, port) = named.unzip();
    Some(Route {
        shape,
        provider: provider(address.as_deref(), &found),
        found,
        address,
        port,
        others,
    })
}

/// The route of an exchange of which only the answer is seen.
pub(super) fn by_answer(answer: &Payload<'_>) -> Option<Route> {
    SHAPES
        .iter()
        .find_map(|shape| Some(Route::without_request(*shape, shape.by_answer(answer)?)))
}

impl Route {
    /// Of a request that was not seen; its response must tell what it is.
    pub(super) const fn unseen() -> Self {
        let found = Found::new(Operation::Chat, Api::ChatCompletions, hosts::OPENAI);
        Self::without_request(&OpenAi, found)
    }

    /// At which address its server is only the request would have told.
    const fn without_request(shape: &'static dyn Shape, found: Found) -> Self {
        Self {
            shape,
            provider: found.provider,
            found,
            address: None,
            port: None,
            others: Vec::new(),
        }
    }

    /// Whether the body confirms one of the things that the head may mean; then that is it.
    pub(super) fn settle(&mut self, body: &Object) -> bool {
        if self.shape.confirms(&self.found, body) {
            self.shape.refine(&mut self.found, body);
            return true;
        }
        let other = self
            .others
            .iter()
            .position(|(shape, found)| shape.confirms(found, body));
        let Some(at) = other else { return false };
        (self.shape, self.found) = self.others.swap_remove(at);
        self.provider = provider(self.address.as_deref(), &self.found);
        self.shape.refine(&mut self.found, body);
        true
    }
}

/// The provider's name: that of a known host, else the shape's word.
fn provider(host: Option<&str>, found: &Found) -> &'static str {
    let known = host.filter(|_| !found.fixed).and_then(hosts::provider);
    known.unwrap_or(found.provider)
}
