"""Spans of graphon's runs by its own interface for that, a layer of its engine: the one on which Dify
builds its own tracing. No package instruments graphon.

The attributes are those that Dify gives its nodes.
"""

import contextlib
import json

from graphon.engine import Engine
from graphon.engine.layer import Layer
from opentelemetry import trace

KINDS = {
    "llm": "LLM",
    "question-classifier": "LLM",
    "parameter-extractor": "LLM",
    "tool": "TOOL",
    "http-request": "TOOL",
    "knowledge-retrieval": "RETRIEVER",
}


class Spans(Layer):
    def __init__(self, tracer):
        super().__init__()
        self.tracer = tracer
        self.run = None
        self.nodes = {}

    def on_graph_start(self):
        self.run = self.tracer.start_span("workflow")
        self.run.set_attribute("gen_ai.span.kind", "WORKFLOW")
        self.run.set_attribute("gen_ai.framework", "dify")

    def on_graph_end(self, error):
        self.run.end()

    @contextlib.contextmanager
    def node_run_context(self, node, *, parent_execution_id=None):
        above = self.nodes.get(parent_execution_id, self.run)
        context = trace.set_span_in_context(above)
        with self.tracer.start_as_current_span(node.title, context=context) as span:
            self.nodes[node.execution_id] = span
            span.set_attribute("node.id", node.id)
            span.set_attribute("node.type", node.node_type)
            span.set_attribute("gen_ai.framework", "dify")
            span.set_attribute("gen_ai.span.kind", KINDS.get(node.node_type, "TASK"))
            yield

    def on_node_run_end(self, node, error, result_event=None):
        span = self.nodes[node.execution_id]
        result = getattr(result_event, "node_run_result", None)
        if error or result is None:
            return
        if result.inputs:
            span.set_attribute("input.value", json.dumps(dict(result.inputs), default=str))
        if result.outputs:
            span.set_attribute("output.value", json.dumps(dict(result.outputs), default=str))
        if node.node_type == "llm":
            usage = result.llm_usage
            span.set_attribute("gen_ai.request.model", result.process_data["model_name"])
            span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)


class LayerInstrumentor:
    """Puts the layer into every engine, as an application does itself."""

    def instrument(self, tracer_provider, **options):
        tracer = trace.get_tracer("graphon-layer", tracer_provider=tracer_provider)
        make = Engine.__init__

        def made(engine, *args, **kwargs):
            make(engine, *args, **kwargs)
            engine.add_layer(Spans(tracer))

        Engine.__init__ = made
