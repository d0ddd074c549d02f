//! The functions of Dify's engines that are watched, by version. [`super`] says what there was when.
//!
//! What stands for the same in two versions has the same number, and what it is given stands in the same
//! places.

use genspan_common::framework::hook;

use super::super::{Before, CallerArgument, Hook};

/// Number of the hook where a workflow begins to be run.
pub const RUN_BEGINS: u32 = 4;
/// Number of the hook where it is over.
pub const RUN_ENDS: u32 = 5;
/// Number of the hook where a node begins to be run.
pub const NODE_BEGINS: u32 = 6;
/// Number of the hook where it is over.
pub const NODE_ENDS: u32 = 7;

/// Whether a number is that of one of these hooks.
#[must_use]
pub const fn is_one(number: u32) -> bool {
    matches!(number, RUN_BEGINS | RUN_ENDS | NODE_BEGINS | NODE_ENDS)
}

/// How many callers of the function where a run begins are looked at.
pub(super) const CALLERS: usize = 3;

/// The first argument of whoever calls, so many functions above: of a node that runs a workflow of its own
/// this is the node.
const fn own(above: u32) -> CallerArgument {
    CallerArgument {
        index: 0,
        of: 1,
        above,
    }
}

/// Where `Worker._run_node_events` of graphon 0.8 has the execution of the node that a node is run within, if
/// the engine has layers. What others have there is no execution of a node that is under way.
const WITHIN: CallerArgument = CallerArgument {
    index: 8,
    of: 0,
    above: 0,
};

/// Of Dify 1.9 and 1.10 the worker that runs a node: it calls `Node.run`, which asks for the node's title once
/// the execution has its id, and before anything is done. Who else asks for a title is no worker.
const WORKER: CallerArgument = CallerArgument {
    index: 0,
    of: 2,
    above: 1,
};

/// What a handler of these engines is told: what it does first with the result of a node is to look the node up.
const EVENT: CallerArgument = CallerArgument {
    index: 1,
    of: 2,
    above: 0,
};

/// The functions that are watched, the most important first.
pub const HOOKS: [Hook; 4] = [
    Hook {
        function: "graphon.engine.engine:Engine._start_execution",
        before: &[
            Before::named("graphon.graph_engine.graph_engine:GraphEngine._start_execution"),
            Before::named("dify_graph.graph_engine.graph_engine:GraphEngine._start_execution"),
            Before::named("core.workflow.graph_engine.graph_engine:GraphEngine._start_execution"),
            Before::with(
                "core.workflow.graph_engine.graph_engine:GraphEngine.run",
                &["self", ""],
                &[],
            ),
        ],
        arguments: &["self", "resume"],
        callers: &[own(0), own(1), own(2)],
        contents: 2 + CALLERS,
        depths: &[2, 1, 1, 1, 1],
        what: hook::SNAPSHOT,
        number: RUN_BEGINS,
        without: "no run of a workflow is seen",
    },
    Hook {
        function: "graphon.engine.worker.worker:Worker._invoke_node_run_start_hooks",
        before: &[
            Before::named("graphon.graph_engine.worker:Worker._invoke_node_run_start_hooks"),
            Before::named("dify_graph.graph_engine.worker:Worker._invoke_node_run_start_hooks"),
            Before::named("core.workflow.graph_engine.worker:Worker._invoke_node_run_start_hooks"),
            Before::with("core.workflow.nodes.base.node:Node.title", &["", "self"], &[])
                .called(&[(0, WORKER)]),
            Before::with(
                "core.workflow.graph_engine.graph_engine:GraphEngine._run_node",
                &["self", "node_instance"],
                &[],
            ),
        ],
        arguments: &["self", "node"],
        callers: &[WITHIN],
        contents: 3,
        depths: &[1, 2, 1],
        what: hook::SNAPSHOT,
        number: NODE_BEGINS,
        without: "the nodes of workflows are not seen",
    },
    Hook {
        function: "graphon.engine.worker.worker:Worker._invoke_node_run_end_hooks",
        before: &[
            Before::named("graphon.graph_engine.worker:Worker._invoke_node_run_end_hooks"),
            Before::named("dify_graph.graph_engine.worker:Worker._invoke_node_run_end_hooks"),
            Before::named("core.workflow.graph_engine.worker:Worker._invoke_node_run_end_hooks"),
            // The event has the id of the execution and the result. It is not in the place of the node as well: an
            // object is copied once, as far as who comes first wants it.
            Before::with(
                "core.workflow.graph_engine.domain.graph_execution:GraphExecution.get_or_create_node_execution",
                &["self", "", "", "", ""],
                &[],
            )
            .called(&[(3, EVENT), (4, EVENT)]),
            // The state has the id of the execution, and there is the result itself.
            Before::with(
                "core.workflow.graph_engine.entities.runtime_route_state:RouteNodeState.set_finished",
                &["self", "self", "", "run_result", "run_result"],
                &[1, 1, 1, 2],
            ),
        ],
        // The last says by being there that contents are wanted.
        arguments: &["self", "node", "error", "result_event", "error"],
        callers: &[],
        contents: 3,
        depths: &[1, 1, 1, 2],
        what: hook::SNAPSHOT,
        number: NODE_ENDS,
        without: "nodes are told as unfinished, with the end of their run",
    },
    Hook {
        function: "graphon.engine.engine:Engine._notify_graph_end",
        before: &[
            Before::named("graphon.graph_engine.graph_engine:GraphEngine._stop_execution"),
            Before::named("dify_graph.graph_engine.graph_engine:GraphEngine._stop_execution"),
            Before::named("core.workflow.graph_engine.graph_engine:GraphEngine._stop_execution"),
            Before::named("core.workflow.graph_engine.graph_engine:GraphEngine._release_thread"),
        ],
        arguments: &["self"],
        callers: &[],
        contents: 1,
        depths: &[2],
        what: hook::SNAPSHOT,
        number: RUN_ENDS,
        without: "runs of workflows are told as unfinished",
    },
];
