"""A threaded HTTP server that answers each request with a run of Dify's workflow engine, whose nodes ask
models over HTTP, give and take, and fail.

    dify_app.py

serves on a free port of loopback, prints it, and ends with its standard input. The request's `id` is in
what models are asked for. `/record` gives what a layer of the engine was told of every node.
"""

import threading
import time
import uuid

import web_calls
from graphon.engine import Engine
from graphon.engine.layer import Layer
from graphon.entities.base_node_data import BaseNodeData
from graphon.enums import NodeExecutionType, WorkflowNodeExecutionStatus
from graphon.graph import Graph
from graphon.model_runtime.entities.llm_entities import LLMUsage
from graphon.node_events.base import NodeRunResult
from graphon.nodes.base.node import Node
from graphon.runtime.init_params import InitParams
from graphon.runtime.runtime_state import RuntimeState
from graphon.runtime.variable_pool import VariablePool

# What nobody may be told.
SECRET = "sk-test-nobody-may-see-this"

records = []
lock = threading.Lock()


class Data(BaseNodeData):
    """A node's configuration, with secrets in every place."""

    asked: int
    headers: dict = {"Authorization": "Bearer " + SECRET}
    credentials: dict = {"api_key": SECRET, "more": {"token": SECRET}}


class Step(Node[Data]):
    node_type = "step"
    asks = False
    fails = None

    @classmethod
    def version(cls):
        return "1"

    def _run(self):
        asked = self._node_data.asked
        usage = LLMUsage.empty_usage()
        outputs = {"answer": f"of {asked}."}
        if self.asks:
            web_calls.call(asked)
        if self.node_type == "llm" and not self.asks:
            usage = LLMUsage.from_metadata({"prompt_tokens": 7, "completion_tokens": 3})
            outputs = {"text": f"within {asked}."}
        if self.fails == "raises":
            raise ValueError("nobody is told")
        if self.fails == "says":
            return NodeRunResult(
                status=WorkflowNodeExecutionStatus.FAILED, error="it fails", error_type="KeyError"
            )
        time.sleep(0.002)
        return NodeRunResult(
            status=WorkflowNodeExecutionStatus.SUCCEEDED,
            inputs={"question": f"question {asked}."},
            process_data={
                "model_name": "within",
                "prompts": [{"role": "user", "text": f"question {asked}."}],
            },
            outputs=outputs,
            llm_usage=usage,
        )


def step(name, kind, asks=False, fails=None, execution=NodeExecutionType.EXECUTABLE):
    values = {"node_type": kind, "asks": asks, "fails": fails, "execution_type": execution}
    # Each class is a kind of node of its own to the engine.
    return type(name, (Step,), {**values, "__module__": __name__, "version": Step.version})


START = step("Start", "start", execution=NodeExecutionType.ROOT)
SAME_TIME = {
    "model": step("Model", "llm", asks=True),
    "within": step("Within", "llm"),
    "tool": step("Tool", "tool", asks=True),
    "code": step("Code", "code"),
    "knowledge": step("Knowledge", "knowledge-retrieval"),
    "agent": step("Agent", "agent", asks=True),
    "template": step("Template", "template-transform"),
}
END = step("End", "end", execution=NodeExecutionType.RESPONSE)
FAILS = {"raises": step("Raises", "code", fails="raises"), "says": step("Says", "tool", fails="says")}


class Recorder(Layer):
    """The engine's own word on its nodes."""

    def __init__(self, asked):
        super().__init__()
        self.asked = asked

    def on_node_run_start(self, node):
        self.tell(node, start=time.time_ns())

    def on_node_run_end(self, node, error, result_event=None):
        result = getattr(result_event, "node_run_result", None)
        failed = bool(error) or result.status == WorkflowNodeExecutionStatus.FAILED
        told = type(error).__name__ if error else result.error_type
        self.tell(node, end=time.time_ns(), error=told if failed else "")

    def tell(self, node, **more):
        told = {
            "id": node.execution_id,
            "title": node.title,
            "type": str(node.node_type),
            "asked": self.asked,
            **more,
        }
        with lock:
            records.append(told)


def run(path, asked):
    state = RuntimeState(
        variable_pool=VariablePool.empty(), start_at=time.time(), workflow_id=f"workflow-{path}"
    )
    params = InitParams(
        workflow_id=f"workflow-{path}",
        graph_config={"nodes": [{"data": {"credentials": SECRET}}], "edges": []},
        run_context={"user_id": "user-" + uuid.uuid4().hex[:8]},
        call_depth=0,
    )

    def node(name, kind):
        data = Data(type=kind.node_type, title=f"The {name}", asked=asked)
        return kind(name, data, init_params=params, runtime_state=state)

    graph = Graph.new().add_root(node("start", START))
    if path == "parallel":
        for name, kind in SAME_TIME.items():
            graph = graph.add_node(node(name, kind), from_node_id="start")
        graph = graph.add_node(node("end", END), from_node_id="model")
        for name in SAME_TIME:
            if name != "model":
                graph = graph.connect(tail=name, head="end")
    else:
        graph = graph.add_node(node(path, FAILS[path]), from_node_id="start")
    engine = Engine(graph.build(), state)
    engine.add_layer(Recorder(asked))
    try:
        for _ in engine.run():
            pass
    except Exception:  # The workflow's own failure.
        if path == "parallel":
            raise


def answer(path, id):
    if path == "/record":
        with lock:
            return list(records)
    run(path.strip("/"), int(id))
    return "done"


if __name__ == "__main__":
    web_calls.serve(answer)
