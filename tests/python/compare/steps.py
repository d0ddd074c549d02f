"""Spans in one form, from what genspan writes and from what OpenTelemetry's SDK writes.

A step is what a span is about, whoever tells it: its family, its name, whether it names a model, how many
tokens, whether it has what went in and what came out, how many documents; and the step that it is below.
"""

import json
from dataclasses import dataclass, field

# What a span says of itself, by the family of its step.
KINDS = {
    "model": {"llm", "chat", "text_completion", "generate_content", "completion"},
    "embeddings": {"embedding", "embeddings"},
    "retrieval": {"retriever", "retrieval"},
    "rerank": {"reranker", "rerank", "rerank_documents"},
    "tool": {"tool", "execute_tool"},
    "chain": {"chain", "workflow", "task", "agent", "invoke_workflow", "invoke_agent", "step"},
}
FAMILIES = {word: family for family, words in KINDS.items() for word in words}

# Attributes in which that is said, the most particular first.
KIND_ATTRIBUTES = (
    "openinference.span.kind",
    "gen_ai.span.kind",
    "traceloop.span.kind",
    "llm.request.type",
    "gen_ai.operation.name",
)
# Operations that the conventions have; some say others, such as `chain`.
OPERATIONS = (
    "chat",
    "embeddings",
    "execute_tool",
    "generate_content",
    "invoke_agent",
    "invoke_workflow",
    "retrieval",
    "text_completion",
)
MODEL = (
    "gen_ai.request.model",
    "gen_ai.request.model_name",
    "llm.model_name",
    "embedding.model_name",
    "gen_ai.response.model",
)
INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
OUTPUT_TOKENS = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
)
# Beginnings of names of attributes.
INPUT = (
    "gen_ai.input.messages",
    "gen_ai.prompt",
    "gen_ai.prompts",
    "gen_ai.retrieval.query.text",
    "gen_ai.tool.call.arguments",
    "input.value",
    "llm.input_messages",
    "llm.prompts",
    "traceloop.entity.input",
    "embedding.embeddings.0.embedding.text",
)
OUTPUT = (
    "gen_ai.output.messages",
    "gen_ai.completion",
    "gen_ai.completions",
    "gen_ai.tool.call.result",
    "output.value",
    "llm.output_messages",
    "traceloop.entity.output",
)
DOCUMENTS = ("gen_ai.retrieval.documents", "retrieval.documents.")
# What nobody knows is not told.
UNKNOWN = (None, "", "unknown")


@dataclass
class Step:
    """One span. Times are of the one who told it, in no unit: they order steps of one trace."""

    id: str
    parent: str
    start: object
    end: object
    family: str
    name: str
    title: str
    told: dict = field(default_factory=dict)
    children: list = field(default_factory=list)
    # Of a request: what was told while it was under way, and has no parent.
    strays: list = field(default_factory=list)

    def preorder(self):
        """This step and all below, each with the steps above it."""
        todo = [(self, ())]
        while todo:
            step, above = todo.pop()
            yield step, above
            above = (*above, step)
            todo += [(child, above) for child in reversed(step.children)]
        # What belongs to nobody is below nobody.
        for stray in self.strays:
            yield from stray.preorder()


def of_genspan(line):
    """A span as genspan writes it in JSON."""
    attributes = line["attributes"]
    return Step(
        id=line["span_id"],
        parent=line.get("parent_span_id"),
        start=int(line["start_time_unix_nano"]),
        end=int(line["end_time_unix_nano"]),
        family=family(attributes, line["kind"], line["name"]),
        name=attributes.get("genspan.run.name") or line["name"],
        title=line["name"],
        told=told(attributes),
    )


def of_sdk(line):
    """A span as OpenTelemetry's SDK for Python writes it in JSON. Ids have `0x` before them or not,
    times are of one length."""
    attributes = line["attributes"]
    return Step(
        id=line["context"]["span_id"].removeprefix("0x"),
        parent=line["parent_id"] and line["parent_id"].removeprefix("0x"),
        start=line["start_time"],
        end=line["end_time"],
        family=family(attributes, line["kind"].removeprefix("SpanKind."), line["name"]),
        name=line["name"],
        title=line["name"],
        told=told(attributes),
    )


def family(attributes, kind, name):
    if "asgi.event.type" in attributes:
        return "asgi"
    for attribute in KIND_ATTRIBUTES:
        found = FAMILIES.get(str(attributes.get(attribute, "")).lower())
        # A task of OpenLLMetry's may be anything; its name says what.
        if found == "chain" and attribute == "traceloop.span.kind":
            for word, other in (("retrieve.", "retrieval"), ("embedding.", "embeddings")):
                if word in name:
                    return other
        if found:
            return found
    if "genspan.run.name" in attributes:
        return "chain"
    if "http.request.method" in attributes or "http.method" in attributes:
        return "request" if kind == "SERVER" else "http"
    return "other"


def told(attributes):
    operation = attributes.get("gen_ai.operation.name")
    found = {
        "operation": operation if operation in OPERATIONS else None,
        "model": first(attributes, MODEL),
        "input tokens": first(attributes, INPUT_TOKENS),
        "output tokens": first(attributes, OUTPUT_TOKENS),
        "input": any_begins(attributes, INPUT),
        "output": any_begins(attributes, OUTPUT),
        "documents": documents(attributes),
        "route": attributes.get("http.route"),
    }
    return {name: value for name, value in found.items() if value}


def first(attributes, names):
    return next((attributes[n] for n in names if attributes.get(n) not in UNKNOWN), None)


def any_begins(attributes, beginnings):
    return any(
        name == beginning or name.startswith(beginning + ".")
        for name, value in attributes.items()
        for beginning in beginnings
        if value not in UNKNOWN
    )


def documents(attributes):
    """How many documents are told."""
    value = attributes.get(DOCUMENTS[0])
    if value:
        return len(json.loads(value) if isinstance(value, str) else value)
    numbers = {n.split(".")[2] for n in attributes if n.startswith(DOCUMENTS[1])}
    return len(numbers)


def requests(steps):
    """The trees that begin with a request, in their order. One is made after the other, so that what has
    no parent is of the request that it begins in."""
    by_id = {step.id: step for step in steps}
    roots, strays = [], []
    for step in sorted(steps, key=lambda s: s.start):
        above = by_id.get(step.parent)
        if above:
            above.children.append(step)
        else:
            (roots if step.family == "request" else strays).append(step)
    for root in roots:
        root.strays = [stray for stray in strays if root.start <= stray.start < root.end]
    return roots
