"""A threaded HTTP server that answers each request with a run of an engine that is as Dify's was up to 1.8: an
imitation of it. Only what can be seen from outside is the same: names of modules, classes, functions, arguments
and attributes, which thread runs what, and when each is called.

    dify_old_app.py

serves on a free port of loopback, prints it, and ends with its standard input. The request's `id` is in
what models are asked for. `/record` gives what each node said of itself when it was run.
`MORE_PACKAGES` of its environment is a folder of what else it needs.
"""

import enum
import os
import queue
import sys
import threading
import time
import types
import typing
import uuid
from concurrent.futures import ThreadPoolExecutor

sys.path.extend(filter(None, [os.environ.get("MORE_PACKAGES")]))

import pydantic  # noqa: E402
import web_calls  # noqa: E402

records = []
lock = threading.Lock()

SECRET = "sk-test-nobody-may-see-this"


class Status(enum.Enum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class NodeRunResult(pydantic.BaseModel):
    status: Status = Status.SUCCEEDED
    inputs: typing.Optional[dict] = None
    process_data: typing.Optional[dict] = None
    outputs: typing.Optional[dict] = None
    error: typing.Optional[str] = None
    error_type: typing.Optional[str] = None


class RouteNodeState(pydantic.BaseModel):
    id: str = pydantic.Field(default_factory=lambda: str(uuid.uuid4()))
    node_id: str
    result: typing.Optional[NodeRunResult] = None

    def set_finished(self, run_result):
        self.result = run_result


class InitParams(pydantic.BaseModel):
    workflow_id: str
    graph_config: dict
    user_id: str = "user"


class NodeData(pydantic.BaseModel):
    title: str
    credentials: dict = {"api_key": SECRET}


class BaseNode:
    def __init__(self, id, config, graph_init_params, item=None):
        self.id = id
        self.node_id = config["id"]
        self.graph_config = graph_init_params.graph_config
        self.init_params = graph_init_params
        self.config = config
        self.item = item
        self.node_data = NodeData(title=config["title"])

    def run(self):
        with lock:
            told = {"id": self.id, "node": self.node_id, "asked": self.config["asked"]}
            records.append({**told, "item": self.item, "at": time.time_ns()})
        yield from self._run()

    def _run(self):
        asked = self.config["asked"]
        if self.node_id == "model":
            web_calls.call(asked)
        if self.node_id == "fails":
            yield NodeRunResult(
                status=Status.FAILED, error="nobody is told", error_type="KeyError"
            )
            return
        yield NodeRunResult(
            inputs={"question": f"question {asked}."}, outputs={"answer": f"of {asked}."}
        )


class IterationNode(BaseNode):
    def _run(self):
        if self.node_id == "each":
            events = queue.Queue()
            with ThreadPoolExecutor(3) as pool:
                for item in (1, 2, 3):
                    pool.submit(self._run_single_iter_parallel, item, events)
        else:
            for item in (1, 2):
                yield from self._run_single_iter(item)
        yield NodeRunResult(outputs={"output": [1]})

    def _run_single_iter_parallel(self, item, events):
        for event in self._run_single_iter(item):
            events.put(event)

    def _run_single_iter(self, item):
        item = self.item or item
        graph_engine = GraphEngine(self.init_params, self.config["within"], item)
        rst = graph_engine.run()
        for event in rst:
            if not isinstance(event, NodeRunResult):
                yield event


class GraphEngine:
    """Runs nodes one after the other; those in a list of their own side by side, each on a thread."""

    def __init__(self, init_params, graph, item=None):
        self.graph = graph
        self.init_params = init_params
        self.item = item
        self.graph_runtime_state = None

    def run(self):
        yield "started"
        for event in self._run(self.graph):
            yield event
            if event == "failed":
                return
        self._release_thread()

    def _release_thread(self):
        pass

    def _run(self, configs):
        for config in configs:
            if isinstance(config, list):
                q = queue.Queue()
                with ThreadPoolExecutor(len(config)) as pool:
                    for branch in config:
                        pool.submit(self._run_parallel_node, q, branch)
                continue
            route_node_state = RouteNodeState(node_id=config["id"])
            kind = IterationNode if "within" in config else KINDS[config["type"]]
            node_instance = kind(route_node_state.id, config, self.init_params, self.item)
            generator = self._run_node(
                node_instance=node_instance, route_node_state=route_node_state
            )
            for item in generator:
                yield item

    def _run_parallel_node(self, q, branch):
        for item in self._run([branch]):
            q.put(item)

    def _run_node(self, node_instance, route_node_state, parallel_id=None):
        yield "node started"
        for item in node_instance.run():
            if isinstance(item, NodeRunResult):
                route_node_state.set_finished(run_result=item)
                if item.status is Status.FAILED:
                    yield "failed"
            else:
                yield item


KINDS = {
    kind: type(kind, (BaseNode,), {"__module__": f"core.workflow.nodes.{kind}.node"})
    for kind in ("start", "llm", "tool", "code", "end")
}
IterationNode.__module__ = "core.workflow.nodes.iteration.iteration_node"


def graph(path, asked):
    def node(name, kind, **more):
        return {"id": name, "type": kind, "title": f"The {name}", "asked": asked, **more}

    if path == "fails":
        return [node("start", "start"), node("fails", "tool")]
    again = node("again", "iteration", within=[node("model", "llm")])
    each = node("each", "iteration", within=[again, node("after", "code")])
    other = node("other", "iteration", within=[node("tool", "tool")])
    return [node("start", "start"), [each, other], node("end", "end")]


def answer(path, id):
    if path == "/record":
        with lock:
            return list(records)
    path = path.strip("/")
    params = InitParams(workflow_id=f"workflow-{path}", graph_config={"credentials": SECRET})
    for _ in GraphEngine(params, graph(path, int(id))).run():
        pass
    return "done"


def module(name, **members):
    made = types.ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made


if __name__ == "__main__":
    module("core.workflow.graph_engine.graph_engine", GraphEngine=GraphEngine)
    module(
        "core.workflow.graph_engine.entities.runtime_route_state", RouteNodeState=RouteNodeState
    )
    web_calls.serve(answer)
