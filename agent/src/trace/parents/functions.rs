//! Calls of watched functions among what spans may belong to, as children and as parents.
//!
//! A call begins on a thread and in a Python context, as a request does that is made, so the same rules say
//! to whom it belongs. A coroutine or generator goes on elsewhere, but to what it belongs is known from its
//! first step: of later ones nothing is asked.

use super::lineage::Found;
use super::{Asked, Enclosing, MAX_CHAIN, MAX_FOLLOWED, Parents, Source};
use crate::model::exchange::ExchangeId;
use crate::model::function::CallName;
use crate::model::request::Begun;

impl Parents {
    /// The generator or coroutine in which a request is made that is about to begin.
    pub fn within(&mut self, request: ExchangeId, call: CallName) {
        self.calls.writes(request, call);
    }

    /// A function begins. It is named as an exchange is, so that either may be within the other.
    ///
    /// `generator` is the name of one that is a generator or coroutine. `around` is that of the
    /// generator or coroutine that it began in, nearer than any plain function of its thread, and
    /// the context that it began in, where contexts are told.
    pub fn called(
        &mut self,
        begun: Begun,
        generator: Option<CallName>,
        (around, context): (Option<CallName>, Option<u64>),
    ) {
        if self.nodes.len() >= MAX_FOLLOWED {
            self.refused += 1;
            return;
        }
        let id = begun.exchange;
        let pid = begun.connection.pid;
        self.lineage.ran(id, (pid, begun.tid), context, false);
        if let Some(around) = around {
            self.calls.writes(id, around);
        }
        let within = match self.enclosing(&begun, Asked::Other) {
            Enclosing::Request(id, source) => Some((id, source)),
            Enclosing::Later => {
                self.waiting.insert((pid, id));
                self.inside(&begun, Asked::Other)
            }
            Enclosing::Nobody => None,
        };
        self.calls.placed(id);
        match generator {
            Some(name) => self.calls.generator(name, id),
            None => self.calls.began(&begun),
        }
        self.insert(begun, within);
        if let Some((parent, source)) = within {
            self.depend(id, parent);
            if source == Source::Function
                && let Found::Request(served) = self.lineage.of_call(id)
            {
                self.adopt(parent, served);
            }
        }
    }

    /// A function is over: nothing begins in it any more, though its span may have to wait.
    pub fn returned(&mut self, begun: &Begun) {
        self.calls.over(begun);
    }

    /// What was made in a function belongs to a request: so does the function, and what is around
    /// it, as far as it began within that request and was not told yet.
    pub(super) fn adopt(&mut self, function: ExchangeId, served: ExchangeId) {
        let Some(start) = self.start(served) else {
            return;
        };
        let mut at = function;
        for _ in 0..MAX_CHAIN {
            let Some(node) = self.nodes.get(&at) else {
                return;
            };
            if node.place.is_some() || node.begun.start < start {
                return;
            }
            match node.within {
                Some((outer, Source::Function)) if self.start(outer) >= Some(start) => at = outer,
                None | Some((_, Source::Function)) => {
                    self.put(at, served, Source::Context);
                    return;
                }
                Some(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Loop, READS, begun, coroutine, end, name_of, source};
    use super::{Begun, CallName, Parents, Source};
    use crate::model::exchange::{ExchangeId, Role};

    impl Loop {
        /// A plain function is called in this context, or in none.
        fn calls(&mut self, n: u64, tid: u32, context: u64) -> Begun {
            self.begins(begun(n, Role::Client, 7, tid, n), None, None, context)
        }

        /// A coroutine has its first step.
        fn steps(&mut self, n: u64, around: Option<&Begun>, context: u64) -> Begun {
            let one = coroutine(n, 71);
            let name = name_of(&one);
            self.begins(one, Some(name), around, context)
        }

        fn begins(
            &mut self,
            begun: Begun,
            name: Option<CallName>,
            around: Option<&Begun>,
            context: u64,
        ) -> Begun {
            let context = Some(8 * context).filter(|c| *c != 0);
            let within = (around.map(name_of), context);
            self.parents.called(begun.clone(), name, within);
            begun
        }

        /// A request whose task is made, and answered in it later.
        fn serves(&mut self, n: u64, task: u64) -> Begun {
            let request = self.reads(n);
            self.copies(READS, task);
            request
        }

        /// Its contexts are confirmed, so that those of later requests are known at once.
        fn confirms(&mut self, n: u64) {
            let first = self.serves(n, 0x20);
            self.answers(&first, 0x20);
            end(&mut self.parents, &first);
        }
    }

    /// Those of a loop with several requests at a time, whatever they make, and though they are over before
    /// anything is answered.
    #[test]
    fn functions_of_a_loop_belong_to_the_requests_of_their_contexts() {
        let mut l = Loop::new();
        l.confirms(1);
        let one = l.serves(2, 0x30);
        let two = l.serves(3, 0x40);
        let slow = l.steps(4, None, 0x30);
        let silent = l.calls(5, 71, 0x40);
        assert!(!l.parents.awaits(silent.exchange));
        let silent = l.parents.take(&silent);
        // In the loop's own context, in none, and in a task of nobody's.
        l.copies(0x99, 0x98);
        let loops = [(6, 0), (7, READS), (8, 0x98)].map(|(n, context)| {
            let function = l.calls(n, 71, context);
            l.parents.returned(&function);
            function
        });
        // Whether a request that is not answered is theirs is not known.
        assert!(loops[2..].iter().all(|f| l.parents.awaits(f.exchange)));
        let loops = loops.map(|f| l.parents.take(&f));
        // A thread that works in a copy, and a task that is started there.
        l.copies(0x30, 0x31);
        let threads = l.calls(9, 72, 0x31);
        let nested = l.calls(10, 72, 0x31);
        let [nested, threads] = [&nested, &threads].map(|f| l.parents.take(f));
        let inner = l.steps(11, Some(&slow), 0x30);
        let asked = begun(12, Role::Client, 7, 71, 12);
        l.parents.within(asked.exchange, name_of(&inner));
        let asked = l.asks(12, 71, 0x30);
        let asked = end(&mut l.parents, &asked);
        let [inner, slow] = [&inner, &slow].map(|f| l.parents.take(f));
        let [one, two] = [&one, &two].map(|r| end(&mut l.parents, r));
        assert_eq!(silent.parent, Some((two.span, Source::Context)));
        assert_eq!(loops.map(|p| p.parent), [None, None, None]);
        assert_eq!(threads.parent, Some((one.span, Source::Context)));
        assert_eq!(nested.parent, Some((threads.span, Source::Function)));
        assert_eq!(slow.parent, Some((one.span, Source::Context)));
        assert_eq!(inner.parent, Some((slow.span, Source::Function)));
        assert_eq!(asked.parent, Some((inner.span, Source::Function)));
        assert!(l.parents.calls.is_empty() && l.parents.waiting.is_empty());
    }

    /// Where only the answer can tell, they wait for it; nothing begins in them meanwhile.
    #[test]
    fn a_function_waits_for_the_answer_that_tells() {
        let mut l = Loop::new();
        let request = l.serves(1, 0x20);
        let outer = l.calls(2, 71, 0x20);
        let inner = l.calls(3, 71, 0x20);
        for function in [&inner, &outer] {
            l.parents.returned(function);
            assert!(l.parents.awaits(function.exchange));
        }
        let after = l.calls(4, 71, 0);
        assert!(l.answers(&request, 0x20));
        for function in [&inner, &outer] {
            assert!(!l.parents.awaits(function.exchange));
        }
        let [inner, outer, after] = [&inner, &outer, &after].map(|f| l.parents.take(f));
        let request = end(&mut l.parents, &request);
        assert_eq!(inner.parent, Some((outer.span, Source::Function)));
        assert_eq!(outer.parent, Some((request.span, Source::Context)));
        assert_eq!(after.parent, None);
    }

    /// What runs the loop, and what serves a connection, began before the requests that came to them.
    #[test]
    fn a_request_that_began_within_is_nearer() {
        let mut l = Loop::new();
        let main = l.calls(1, 71, 0);
        l.confirms(2);
        let connection = l.steps(3, None, 0x50);
        let request = l.reads(4);
        l.copies(READS, 0x40);
        let [plain, step] = [l.calls(5, 71, 0x40), l.steps(6, Some(&connection), 0x40)];
        let [plain, step] = [&plain, &step].map(|f| l.parents.take(f));
        let main_place = l.parents.take(&main);
        let connection = l.parents.take(&connection);
        let request = end(&mut l.parents, &request);
        assert_eq!(plain.parent, Some((request.span, Source::Context)));
        assert_eq!(step.parent, Some((request.span, Source::Context)));
        assert_eq!(connection.parent, Some((main_place.span, Source::Function)));
        assert_eq!((main_place.parent, request.parent), (None, None));
    }

    #[test]
    fn work_of_a_pool_belongs_to_the_request_it_was_given_for() {
        let mut parents = Parents::new(1);
        let request = begun(1, Role::Server, 7, 71, 1);
        parents.lineage().moved(7, 71);
        parents.began(request.clone());
        parents.copied((7, 71), None, 0x101, None);
        parents.copied((7, 90), None, 0x201, None);
        let [given, nobodys] = [(2, 81, 0x101), (3, 82, 0x201)].map(|(n, tid, work)| {
            let function = begun(n, Role::Client, 7, tid, n);
            parents.called(function.clone(), None, (None, Some(work)));
            function
        });
        let [given, nobodys] = [&given, &nobodys].map(|f| parents.take(f));
        let request = end(&mut parents, &request);
        assert_eq!(given.parent, Some((request.span, Source::Submitted)));
        assert_eq!(source(&nobodys), None);
        assert_ne!(nobodys.trace, request.trace);
    }

    #[test]
    fn what_is_around_is_forgotten_when_it_was_asked() {
        let mut parents = Parents::new(1);
        let one = coroutine(1, 71);
        parents.called(one.clone(), Some(name_of(&one)), (None, None));
        // One that is not known is nobody's parent.
        let unknown = name_of(&coroutine(9, 71));
        for (n, around) in [(2, name_of(&one)), (3, unknown)] {
            let plain = begun(n, Role::Client, 7, 72, n);
            parents.called(plain.clone(), None, (Some(around), None));
            let known = around == name_of(&one);
            assert_eq!(source(&parents.take(&plain)).is_some(), known);
        }
        parents.take(&one);
        assert!(parents.calls.is_empty());
        assert!(!parents.nodes.contains_key(&ExchangeId(1)));
    }
}
