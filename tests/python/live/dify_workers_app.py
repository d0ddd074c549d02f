"""A threaded HTTP server that answers each request with a run of an engine that is as Dify's was in 1.9 and 1.10:
an imitation of it. Only what can be seen from outside is the same: names of modules, classes, functions, arguments
and attributes, which thread runs what, and when each is called.

    dify_workers_app.py

serves on a free port of loopback, prints it, and ends with its standard input. The request's `id` is in
what models are asked for. `/record` gives what each node said of itself when it was run.
`MORE_PACKAGES` of its environment is a folder of what else it needs.
"""

import dataclasses
import enum
import functools
import os
import queue
import sys
import threading
import time
import types
import uuid
from concurrent.futures import ThreadPoolExecutor

sys.path.extend(filter(None, [os.environ.get("MORE_PACKAGES")]))

import pydantic  # noqa: E402
import web_calls  # noqa: E402

records = []
lock = threading.Lock()

SECRET = "sk-test-nobody-may-see-this"
WORKERS = 2


class Status(enum.StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXCEPTION = "exception"


class NodeRunResult(pydantic.BaseModel):
    status: Status = Status.PENDING
    inputs: dict = {}
    process_data: dict = {}
    outputs: dict = {}
    error: str = ""
    error_type: str = ""


class StreamCompletedEvent(pydantic.BaseModel):
    node_run_result: NodeRunResult


class GraphNodeEventBase(pydantic.BaseModel):
    id: str
    node_id: str
    in_iteration_id: str | None = None
    node_run_result: NodeRunResult = pydantic.Field(default_factory=NodeRunResult)


class NodeRunStartedEvent(GraphNodeEventBase):
    node_title: str


class NodeRunStreamChunkEvent(GraphNodeEventBase):
    chunk: str


class NodeRunSucceededEvent(GraphNodeEventBase):
    pass


class NodeRunFailedEvent(GraphNodeEventBase):
    error: str


class NodeRunExceptionEvent(GraphNodeEventBase):
    error: str


class NodeRunRetryEvent(NodeRunStartedEvent):
    error: str


class NodeData(pydantic.BaseModel):
    title: str
    credentials: dict = {"api_key": SECRET}


class Node:
    """What it does says its id; how often it is tried again its configuration."""

    def __init__(self, config, item=None):
        self.id = config["id"]
        self._node_id = config["id"]
        self._node_execution_id = ""
        self._node_data = NodeData(title=config["title"])
        self.config = config
        self.item = item
        self.graph_config = {"credentials": SECRET}

    @property
    def title(self):
        return self._node_data.title

    def run(self):
        if not self._node_execution_id:
            self._node_execution_id = str(uuid.uuid4())
        about = {"id": self._node_execution_id, "node_id": self._node_id}
        yield NodeRunStartedEvent(**about, node_title=self.title)
        with lock:
            told = {"id": about["id"], "node": self._node_id, "asked": self.config["asked"]}
            records.append({**told, "item": self.item, "at": time.time_ns()})
        try:
            result = self._run()
            if isinstance(result, NodeRunResult):
                yield self._of_result(about, result)
                return
            for event in result:
                if isinstance(event, StreamCompletedEvent):
                    event = self._of_result(about, event.node_run_result)
                yield event
        except Exception as error:
            told = {"error": str(error), "error_type": "WorkflowNodeError"}
            result = NodeRunResult(status=Status.FAILED, **told)
            yield NodeRunFailedEvent(**about, node_run_result=result, error=str(error))

    def _of_result(self, about, result):
        if result.status is Status.FAILED:
            return NodeRunFailedEvent(**about, node_run_result=result, error=result.error)
        return NodeRunSucceededEvent(**about, node_run_result=result)

    def _result(self):
        asked = self.config["asked"]
        return NodeRunResult(
            status=Status.SUCCEEDED,
            inputs={"question": f"question {asked}."},
            outputs={"answer": f"of {asked}."},
        )

    def _run(self):
        if self._node_id == "model":
            return self._stream()
        if self._node_id == "raises":
            raise KeyError("nobody is told")
        if self._node_id == "fails":
            return NodeRunResult(
                status=Status.FAILED, error="nobody is told", error_type="KeyError"
            )
        return self._result()

    def _stream(self):
        for chunk in ("one", "two"):
            yield NodeRunStreamChunkEvent(
                id=self._node_execution_id, node_id=self._node_id, chunk=chunk
            )
        web_calls.call(self.config["asked"])
        yield StreamCompletedEvent(node_run_result=self._result())


class IterationNode(Node):
    def _run(self):
        if self._node_id == "each":
            with ThreadPoolExecutor(3) as pool:
                rounds = [pool.submit(self._execute_parallel, item) for item in (1, 2, 3)]
            for of in rounds:
                yield from of.result()
        else:
            for item in (1, 2):
                yield from self._run_single_iter(graph_engine=self._engine(item))
        yield StreamCompletedEvent(node_run_result=self._result())

    def _engine(self, item):
        return GraphEngine(self.config["workflow"], self.config["within"], self.item or item)

    def _execute_parallel(self, item):
        return list(self._run_single_iter(graph_engine=self._engine(item)))

    def _run_single_iter(self, *, graph_engine):
        rst = graph_engine.run()
        for event in rst:
            if isinstance(event, GraphNodeEventBase):
                event.in_iteration_id = self._node_id
                yield event


@dataclasses.dataclass
class NodeExecution:
    node_id: str
    retry_count: int = 0


@dataclasses.dataclass
class GraphExecution:
    workflow_id: str
    error: Exception | None = None
    node_executions: dict = dataclasses.field(default_factory=dict)

    def get_or_create_node_execution(self, node_id):
        return self.node_executions.setdefault(node_id, NodeExecution(node_id))


class ErrorHandler:
    """Asks for the title as a worker's node does, but is none."""

    def __init__(self, graph, graph_execution):
        self._graph = graph
        self._graph_execution = graph_execution

    def handle_node_failure(self, event):
        node = self._graph[event.node_id]
        execution = self._graph_execution.get_or_create_node_execution(event.node_id)
        about = event.model_dump(include={"id", "node_id", "error"})
        if execution.retry_count < node.config.get("retries", 0):
            return self._handle_retry(event, node, about)
        if node.config.get("goes_on"):
            result = NodeRunResult(status=Status.EXCEPTION)
            return NodeRunExceptionEvent(**about, node_run_result=result)
        return None

    def _handle_retry(self, event, node, about):
        return NodeRunRetryEvent(
            **about, node_title=node.title, node_run_result=event.node_run_result
        )


class EventHandler:
    def __init__(self, engine):
        self._engine = engine
        self._graph_execution = engine._graph_execution
        self._error_handler = ErrorHandler(engine._graph, engine._graph_execution)

    def dispatch(self, event):
        if event.in_iteration_id:
            self._engine._events.put(event)
            return
        self._dispatch(event)

    @functools.singledispatchmethod
    def _dispatch(self, event):
        self._engine._events.put(event)

    @_dispatch.register
    def _(self, event: NodeRunStartedEvent):
        self._graph_execution.get_or_create_node_execution(event.node_id)
        self._engine._events.put(event)

    @_dispatch.register(NodeRunSucceededEvent)
    @_dispatch.register(NodeRunExceptionEvent)
    def _(self, event):
        self._graph_execution.get_or_create_node_execution(event.node_id)
        self._engine.goes_on(event.node_id)
        self._engine._events.put(event)

    @_dispatch.register
    def _(self, event: NodeRunFailedEvent):
        self._graph_execution.get_or_create_node_execution(event.node_id)
        result = self._error_handler.handle_node_failure(event)
        if result:
            self.dispatch(result)
        else:
            self._graph_execution.error = RuntimeError(event.error)
            self._engine._events.put(event)
            self._engine.is_over = True

    @_dispatch.register
    def _(self, event: NodeRunRetryEvent):
        self._graph_execution.get_or_create_node_execution(event.node_id).retry_count += 1
        self._engine._events.put(event)
        self._engine._ready_queue.put(event.node_id)


class Worker(threading.Thread):
    def __init__(self, ready_queue, event_queue, graph):
        super().__init__(daemon=True)
        self._ready_queue = ready_queue
        self._event_queue = event_queue
        self._graph = graph
        self._stop_event = threading.Event()

    def run(self):
        while not self._stop_event.is_set():
            try:
                node_id = self._ready_queue.get(timeout=0.1)
            except queue.Empty:
                continue
            self._execute_node(self._graph[node_id])
            self._ready_queue.task_done()

    def _execute_node(self, node):
        for event in node.run():
            self._event_queue.put(event)


class GraphEngine:
    """Runs nodes one after the other; those in a list of their own side by side."""

    def __init__(self, workflow_id, configs, item=None):
        self._steps = [step if isinstance(step, list) else [step] for step in configs]
        nodes = [config for step in self._steps for config in step]
        self._graph = {
            config["id"]: (IterationNode if "within" in config else KINDS[config["type"]])(
                config, item
            )
            for config in nodes
        }
        self._graph_execution = GraphExecution(workflow_id)
        self._ready_queue = queue.Queue()
        self._event_queue = queue.Queue()
        self._events = queue.Queue()
        self._handler = EventHandler(self)
        self._under_way = set()
        self._workers = [
            Worker(self._ready_queue, self._event_queue, self._graph) for _ in range(WORKERS)
        ]
        self._dispatcher = threading.Thread(target=self._dispatcher_loop, daemon=True)
        self.is_over = False

    def run(self):
        try:
            yield "started"
            self._start_execution(resume=False)
            yield from self._emit_events()
        finally:
            self._stop_execution()

    def _emit_events(self):
        while (event := self._events.get()) is not None:
            yield event

    def _start_execution(self, *, resume=False):
        for worker in self._workers:
            worker.start()
        self.goes_on(None)
        self._dispatcher.start()

    def _stop_execution(self):
        self._dispatcher.join()
        for worker in self._workers:
            worker._stop_event.set()

    def goes_on(self, node_id):
        self._under_way.discard(node_id)
        if self._under_way:
            return
        if not self._steps:
            self.is_over = True
            return
        self._under_way = {config["id"] for config in self._steps.pop(0)}
        for ready in self._under_way:
            self._ready_queue.put(ready)

    def _dispatcher_loop(self):
        while not self.is_over:
            self._handler.dispatch(self._event_queue.get())
        self._events.put(None)


KINDS = {
    kind: type(kind, (Node,), {"__module__": f"core.workflow.nodes.{kind}.node"})
    for kind in ("start", "llm", "tool", "code", "end")
}
IterationNode.__module__ = "core.workflow.nodes.iteration.iteration_node"


def graph(path, asked):
    workflow = f"workflow-{path}"

    def node(name, kind, **more):
        about = {"id": name, "type": kind, "title": f"The {name}", "asked": asked}
        return {**about, "workflow": workflow, **more}

    if path == "fails":
        return [
            node("start", "start"),
            node("fails", "tool", retries=1, goes_on=True),
            node("raises", "code"),
        ]
    again = node("again", "iteration", within=[node("model", "llm")])
    each = node("each", "iteration", within=[again, node("after", "code")])
    other = node("other", "iteration", within=[node("tool", "tool")])
    return [node("start", "start"), [each, other], node("end", "end")]


def answer(path, id):
    if path == "/record":
        with lock:
            return list(records)
    path = path.strip("/")
    for _ in GraphEngine(f"workflow-{path}", graph(path, int(id))).run():
        pass
    return "done"


def module(name, **members):
    made = types.ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made


if __name__ == "__main__":
    engine = "core.workflow.graph_engine"
    module(f"{engine}.graph_engine", GraphEngine=GraphEngine)
    module(f"{engine}.worker", Worker=Worker)
    module(f"{engine}.domain.graph_execution", GraphExecution=GraphExecution)
    module("core.workflow.nodes.base.node", Node=Node)
    web_calls.serve(answer)
