//! In which watched function a Python context was copied: what is done in the copy, by another task or
//! in another thread, is done for that function as long as it is under way.

use super::{Parents, Source};
use crate::model::exchange::ExchangeId;
use crate::model::function::CallName;

impl Parents {
    /// A context was copied by this thread of a process: in the generator or coroutine `within`, nearer
    /// than any plain function.
    pub fn copied(
        &mut self,
        (pid, tid): (u32, u32),
        parent: Option<u64>,
        child: u64,
        within: Option<CallName>,
    ) {
        let maker = match within {
            // One that is not known is none, and nobody else is it.
            Some(name) => self.calls.named(name),
            None => self.calls.innermost(pid, tid).filter(|id| {
                let node = self.nodes.get(id);
                node.is_some_and(|node| node.run.is_none())
            }),
        };
        self.lineage.copied_in((pid, tid), parent, child, maker);
    }

    /// The function under way for which something is made: the nearest one in which a context was copied
    /// that leads to its own.
    pub(super) fn maker(&self, id: ExchangeId) -> Option<ExchangeId> {
        self.lineage.maker_of(id, |maker| {
            let node = self.nodes.get(&maker);
            node.is_some_and(|node| self.calls.is_under_way(&node.begun))
        })
    }

    /// How a request was found that the lineage told of.
    pub(super) fn by_context(&self, id: ExchangeId) -> Source {
        if self.lineage.is_pooled(id) {
            Source::Submitted
        } else {
            Source::Context
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{begun, coroutine, end, name_of, source};
    use super::{Parents, Source};
    use crate::model::event::Direction;
    use crate::model::exchange::Role;
    use crate::model::request::Begun;

    /// A request that a thread makes in this context.
    fn asks(parents: &mut Parents, n: u64, tid: u32, context: u64) -> Begun {
        let asked = begun(n, Role::Client, 7, tid, n);
        let lineage = parents.lineage();
        lineage.flows(asked.connection, Direction::Write, Some(context));
        lineage.moved(7, tid);
        parents.began(asked.clone());
        asked
    }

    #[test]
    fn what_other_tasks_do_belongs_to_the_coroutine_that_started_them() {
        let mut parents = Parents::new(1);
        let [one, other] = [1, 2].map(|n| coroutine(n, 71));
        for (one, context) in [(&one, 0x10), (&other, 0x20)] {
            parents.called(one.clone(), Some(name_of(one)), (None, Some(context)));
        }
        // A task of each; the second one's starts another, and a third is nobody's.
        parents.copied((7, 71), Some(0x10), 0x30, Some(name_of(&one)));
        parents.copied((7, 71), Some(0x20), 0x40, Some(name_of(&other)));
        parents.copied((7, 71), Some(0x40), 0x50, None);
        parents.copied((7, 71), Some(0x10), 0x60, None);
        let ones = asks(&mut parents, 3, 71, 0x30);
        let others = asks(&mut parents, 4, 72, 0x50);
        let nobodys = asks(&mut parents, 5, 71, 0x60);
        // What is watched in such a task is in between.
        let inner = coroutine(6, 71);
        parents.called(inner.clone(), Some(name_of(&inner)), (None, Some(0x30)));
        parents.within(crate::model::exchange::ExchangeId(7), name_of(&inner));
        let inners = asks(&mut parents, 7, 71, 0x30);
        let [ones, others, nobodys, inners] =
            [ones, others, nobodys, inners].map(|asked| end(&mut parents, &asked));
        // Those that are over are nobody's parents.
        let two = parents.take(&other);
        let late = asks(&mut parents, 8, 72, 0x50);
        assert_eq!(source(&end(&mut parents, &late)), None);
        let inner = parents.take(&inner);
        let one = parents.take(&one);
        assert_eq!(ones.parent, Some((one.span, Source::Function)));
        assert_eq!(others.parent, Some((two.span, Source::Function)));
        assert_eq!(nobodys.parent, None);
        assert_eq!(inners.parent, Some((inner.span, Source::Function)));
        assert_eq!(inner.parent, Some((one.span, Source::Function)));
        assert!(parents.calls.is_empty());
    }

    /// A plain function that is under way on the thread is what copies there are made in.
    #[test]
    fn what_a_pool_does_belongs_to_the_function_that_gave_it() {
        let mut parents = Parents::new(1);
        let function = begun(1, Role::Client, 7, 71, 1);
        parents.called(function.clone(), None, (None, None));
        parents.copied((7, 71), None, 0x101, None);
        parents.copied((7, 73), None, 0x201, None);
        let given = asks(&mut parents, 2, 72, 0x101);
        let elsewhere = asks(&mut parents, 3, 72, 0x201);
        let given = end(&mut parents, &given);
        assert_eq!(source(&end(&mut parents, &elsewhere)), None);
        let function = parents.take(&function);
        assert_eq!(given.parent, Some((function.span, Source::Function)));
    }

    /// Work of a pool belongs to the request that its giver was handling, be that in a context or by
    /// itself, and else to nobody.
    #[test]
    fn work_of_a_pool_belongs_to_the_request_it_was_given_for() {
        let mut parents = Parents::new(1);
        let served = |parents: &mut Parents, n: u64, tid: u32| {
            let request = begun(n, Role::Server, 7, tid, n);
            parents.lineage().moved(7, tid);
            parents.began(request.clone());
            request
        };
        // Two threads, each with a request; one gives work that gives work.
        let [one, two] = [(1, 71), (2, 72)].map(|(n, tid)| served(&mut parents, n, tid));
        parents.copied((7, 71), None, 0x101, None);
        parents.copied((7, 72), None, 0x201, None);
        parents.copied((7, 80), Some(0x201), 0x301, None);
        parents.copied((7, 90), None, 0x401, None);
        let ones = asks(&mut parents, 3, 81, 0x101);
        let twos = asks(&mut parents, 4, 82, 0x301);
        let nobodys = asks(&mut parents, 5, 83, 0x401);
        // One that reads a request before it answered another hands them on: whose work it gives is
        // not known.
        let more = served(&mut parents, 6, 71);
        parents.copied((7, 71), None, 0x501, None);
        let any = asks(&mut parents, 7, 84, 0x501);
        let [ones, twos, nobodys, any] =
            [ones, twos, nobodys, any].map(|asked| end(&mut parents, &asked));
        let [one, two, _] = [one, two, more].map(|request| end(&mut parents, &request));
        assert_eq!(ones.parent, Some((one.span, Source::Submitted)));
        assert_eq!(twos.parent, Some((two.span, Source::Submitted)));
        assert_eq!((nobodys.parent, any.parent), (None, None));
    }
}
