"""A threaded HTTP server that answers each request with a run of Dify's workflow engine, whose nodes run others
within: iterations, side by side and not, and loops in them. It runs with graphon of any version.

    dify_nested_app.py

serves on a free port of loopback, prints it, and ends with its standard input. The request's `id` is in
what models are asked for. `/record` gives what each node said of itself when it was run, `/version` the engine's.

Its environment: `ENGINE_LAYERS=none` for an engine without layers; `ENGINE_IS` has the package that the engine is
to be a part of, for one that is older than graphon. `MORE_PACKAGES` is a folder of what the engine needs.
"""

import importlib.metadata
import inspect
import os
import sys
import threading
import time
import uuid

sys.path.extend(filter(None, [os.environ.get("MORE_PACKAGES")]))

import web_calls  # noqa: E402
from graphon.entities.base_node_data import BaseNodeData  # noqa: E402
from graphon.enums import NodeExecutionType, WorkflowNodeExecutionStatus  # noqa: E402
from graphon.graph.graph import Graph  # noqa: E402
from graphon.node_events.base import NodeRunResult  # noqa: E402
from graphon.nodes.base.node import Node  # noqa: E402
from graphon.nodes.iteration.iteration_node import IterationNode  # noqa: E402
from graphon.nodes.iteration.iteration_start_node import IterationStartNode  # noqa: E402
from graphon.nodes.loop.loop_node import LoopNode  # noqa: E402
from graphon.nodes.loop.loop_start_node import LoopStartNode  # noqa: E402
from graphon.runtime.variable_pool import VariablePool  # noqa: E402

try:
    from graphon.engine import Engine
    from graphon.engine.command.builtin.in_memory import InMemoryChannel
    from graphon.engine.layer import Layer
    from graphon.runtime.init_params import InitParams
    from graphon.runtime.runtime_state import RuntimeState
except ImportError:
    from graphon.entities.graph_init_params import GraphInitParams as InitParams
    from graphon.graph_engine.command_channels.in_memory_channel import InMemoryChannel
    from graphon.graph_engine.graph_engine import GraphEngine as Engine
    from graphon.graph_engine.layers.base import GraphEngineLayer as Layer
    from graphon.runtime.graph_runtime_state import GraphRuntimeState as RuntimeState

records = []
lock = threading.Lock()

ITEMS = [1, 2, 3]


def record(node):
    """What a node says of itself: in which round of the outermost iteration it is, by what that gave it."""
    state = getattr(node, "graph_runtime_state", None) or node.runtime_state
    item = state.variable_pool.get(["each", "item"])
    told = {
        "id": node._node_execution_id,
        "node": node._node_id,
        "asked": node._node_data.model_dump()["asked"],
        "item": item.value if item is not None else None,
        "at": time.time_ns(),
    }
    with lock:
        records.append(told)


def recording(kind):
    def _run(self):
        record(self)
        return kind._run(self)

    return type(kind.__name__, (kind,), {"_run": _run, "__module__": __name__})


class Data(BaseNodeData):
    asked: int


class Step(Node[Data]):
    node_type = "step"

    @classmethod
    def version(cls):
        return "1"

    def _run(self):
        record(self)
        asked = self._node_data.asked
        if self.node_type == "llm":
            web_calls.call(asked)
        return NodeRunResult(
            status=WorkflowNodeExecutionStatus.SUCCEEDED,
            inputs={"question": f"question {asked}."},
            outputs={"answer": f"of {asked}."},
        )


def step(kind, execution=NodeExecutionType.EXECUTABLE):
    values = {"node_type": kind, "execution_type": execution, "__module__": __name__}
    return type(kind.title(), (Step,), values)


KINDS = {
    "start": step("start", NodeExecutionType.ROOT),
    "end": step("end"),
    "llm": step("llm"),
    "tool": step("tool"),
    "code": step("code"),
    "iteration": recording(IterationNode),
    "iteration-start": recording(IterationStartNode),
    "loop": recording(LoopNode),
    "loop-start": recording(LoopStartNode),
}


class Nodes:
    """Makes the nodes of a graph, whatever their constructor calls its arguments."""

    def __init__(self, params, state):
        self.params, self.state = params, state

    def with_runtime_state(self, state):
        return Nodes(self.params, state)

    def with_graph_config(self, config):
        return Nodes(self.params.model_copy(update={"graph_config": config}), self.state)

    def validate_node(self, config):
        kind = KINDS[config["data"].type]
        kind.validate_node_data(config["data"])
        return kind.execution_type

    def create_node(self, node_config):
        kind = KINDS[node_config["data"].type]
        wanted = inspect.signature(Node.__init__).parameters
        data = kind.validate_node_data(node_config["data"])
        given = {
            "id": node_config["id"],
            "node_id": node_config["id"],
            "config": data if "node_id" in wanted else node_config,
            "data": data,
            "graph_init_params": self.params,
            "init_params": self.params,
            "graph_runtime_state": self.state,
            "runtime_state": self.state,
        }
        return kind(**{name: value for name, value in given.items() if name in wanted})


class Nothing(Layer):
    """A layer of the engine, as every Dify has some."""

    def on_graph_start(self):
        pass

    def on_event(self, event):
        pass

    def on_graph_end(self, error):
        pass


class Rounds:
    """Makes the engine of one round of a node that contains others, for engines that ask for that."""

    def build_child_engine(
        self,
        *,
        workflow_id,
        graph_init_params,
        root_node_id,
        variable_pool=None,
        **parent,
    ):
        pool = variable_pool or parent["parent_graph_runtime_state"].variable_pool
        return engine(graph_init_params, pool, root_node_id)


def engine(params, pool, root):
    given = {"variable_pool": pool, "start_at": time.time(), "workflow_id": params.workflow_id}
    wanted = inspect.signature(RuntimeState.__init__).parameters
    state = RuntimeState(**{name: value for name, value in given.items() if name in wanted})
    graph = Graph.init(
        graph_config=params.graph_config, node_factory=Nodes(params, state), root_node_id=root
    )
    given = {
        "workflow_id": params.workflow_id,
        "graph": graph,
        "graph_runtime_state": state,
        "runtime_state": state,
        "command_channel": InMemoryChannel(),
        "child_engine_builder": Rounds(),
    }
    wanted = inspect.signature(Engine.__init__).parameters
    made = Engine(**{name: value for name, value in given.items() if name in wanted})
    if os.environ.get("ENGINE_LAYERS") != "none":
        (getattr(made, "add_layer", None) or made.layer)(Nothing())
    return made


def config(path, asked):
    """`each` runs a loop and what comes after it for each item; beside it, `other` runs a tool. Of the path
    `deep` there is `each` alone, one item after the other."""
    nodes, edges = [], []

    def node(name, kind, within=None, after=None, **data):
        about = {"type": kind, "title": f"The {name}", "asked": asked, **data}
        if within is not None:
            about["container_id"] = within
            about["loop_id" if within == "again" else "iteration_id"] = within
        nodes.append({"id": name, "data": about})
        for before in [after] if isinstance(after, str) else after or []:
            edges.append({"source": before, "target": name, "sourceHandle": "source"})

    iteration = {
        "iterator_selector": ["given", "items"],
        "parallel_nums": 3,
        "error_handle_mode": "terminated",
    }
    node("start", "start")
    node(
        "each",
        "iteration",
        after="start",
        start_node_id="each_start",
        output_selector=["after", "answer"],
        is_parallel=path == "nested",
        **iteration,
    )
    node("each_start", "iteration-start", "each")
    node(
        "again",
        "loop",
        "each",
        "each_start",
        start_node_id="again_start",
        loop_count=2,
        break_conditions=[],
        logical_operator="and",
    )
    node("again_start", "loop-start", "again")
    node("model", "llm", "again", "again_start")
    node("after", "code", "each", "again")
    last = ["each"]
    if path == "nested":
        node(
            "other",
            "iteration",
            after="start",
            start_node_id="other_start",
            output_selector=["tool", "answer"],
            **iteration,
        )
        node("other_start", "iteration-start", "other")
        node("tool", "tool", "other", "other_start")
        last.append("other")
    node("end", "end", after=last)
    return {"nodes": nodes, "edges": edges}


def run(path, asked):
    params = InitParams(
        workflow_id=f"workflow-{path}",
        graph_config=config(path, asked),
        run_context={"user_id": "user-" + uuid.uuid4().hex[:8]},
        call_depth=0,
    )
    pool = VariablePool()
    pool.add(["given", "items"], ITEMS)
    for event in engine(params, pool, "start").run():
        failed = getattr(event, "error", None)
        if failed:
            raise RuntimeError(failed)


def answer(path, id):
    if path == "/record":
        with lock:
            return list(records)
    if path == "/version":
        return importlib.metadata.version("graphon")
    run(path.strip("/"), int(id))
    return "done"


if __name__ == "__main__":
    # What it was called before it was graphon.
    if is_part := os.environ.get("ENGINE_IS"):
        for name in ("graph_engine.graph_engine", "graph_engine.worker"):
            sys.modules[f"{is_part}.{name}"] = sys.modules.pop(f"graphon.{name}")
    web_calls.serve(answer)
