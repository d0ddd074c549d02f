"""The backends: how each is started, and what it says that it has stored of a trace.

`spans(trace)` gives for each span's id a document in one form for all: trace, parent (or None), name,
status (code and message), start and end in nanoseconds, attributes as they came, and `shown`: what the
backend itself made of them for its views, with the names of `compare.expected`.
"""

import base64
import datetime
import json
import os
import re
import subprocess

import messages
from running import document, get, started

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Backend:
    """A backend installed below `venvs`, with its files in `place`."""

    def __init__(self, venvs, place):
        self.python = os.path.join(venvs, self.environment, "bin", "python")
        self.place = os.path.join(place, self.environment)
        self.log = self.place + ".log"
        os.mkdir(self.place)
        code = "import importlib.metadata as m; print(m.version(%r))" % self.package
        self.version = subprocess.run(
            [self.python, "-I", "-c", code], check=True, capture_output=True, text=True
        ).stdout.strip()

    def program(self, name):
        """The command for one of its programs, also where its environment was moved: scripts name the old place."""
        return [self.python, os.path.join(os.path.dirname(self.python), name)]

    def is_up(self):
        return get(self.port, self.health)[0] == 200


class Phoenix(Backend):
    """Arize Phoenix, which takes OTLP over gRPC (at every address of the network) and HTTP."""

    name, environment, package = "Phoenix", "phoenix", "arize-phoenix"
    port, health = 6006, "/healthz"
    endpoint = "http://127.0.0.1:4317"
    # Times are kept in microseconds, rounded.
    tick = 1000
    # The first of these that a span has is the model that is shown.
    model = ("gen_ai.request.model",)
    kinds = {"chat": "LLM", "embeddings": "EMBEDDING", None: "UNKNOWN"}

    def start(self):
        variables = {
            "PHOENIX_WORKING_DIR": self.place,
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self.port),
            "PHOENIX_GRPC_PORT": "4317",
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        }
        return started([*self.program("phoenix"), "serve"], self.log, variables)

    def spans(self, trace):
        path = "/v1/projects/default/spans?limit=1000&trace_id=" + trace
        found = document(self.port, path, {"data": []})["data"]
        return {span["context"]["span_id"]: self.span(span) for span in found}

    def span(self, span):
        attributes = span["attributes"]
        model = attributes.get("llm.model_name", attributes.get("embedding.model_name"))
        return {
            "trace": span["context"]["trace_id"],
            "parent": span["parent_id"],
            "name": span["name"],
            "status": (span["status_code"], span["status_message"]),
            "start": nanoseconds(span["start_time"]),
            "end": nanoseconds(span["end_time"]),
            "attributes": attributes,
            "shown": {
                "kind": span["span_kind"],
                "model": model,
                "input tokens": attributes.get("llm.token_count.prompt"),
                "output tokens": attributes.get("llm.token_count.completion"),
                "input messages": messages.of_openinference(attributes, "llm.input_messages"),
                "output messages": messages.of_openinference(attributes, "llm.output_messages"),
                "tools": self.tools(attributes),
            },
        }

    @staticmethod
    def tools(attributes):
        schemas = [v for k, v in attributes.items() if re.fullmatch(r"llm\.tools\.\d+\..*", k)]
        return [json.loads(schema)["function"]["name"] for schema in schemas]


class Mlflow(Backend):
    """MLflow's tracking server, which takes OTLP over HTTP."""

    name, environment, package = "MLflow", "mlflow", "mlflow"
    # Its first request of the database makes it, which takes longer than a sender waits.
    port, health = 5000, "/api/2.0/mlflow/experiments/get?experiment_id=0"
    endpoint = "http://127.0.0.1:5000"
    tick = 1
    model = ("gen_ai.response.model", "gen_ai.request.model")
    kinds = {"chat": "CHAT_MODEL", "embeddings": "EMBEDDING", None: None}
    states = {None: "UNSET", "STATUS_CODE_OK": "OK", "STATUS_CODE_ERROR": "ERROR"}

    def start(self):
        variables = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        command = [*self.program("mlflow"), "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", "sqlite:///%s/mlflow.db" % self.place]
        command += ["--default-artifact-root", os.path.join(self.place, "artifacts")]
        return started(command, self.log, variables, cwd=self.place)

    def spans(self, trace):
        path = "/api/3.0/mlflow/traces/get?trace_id=tr-" + trace
        found = document(self.port, path, {"trace": {"spans": []}})["trace"]["spans"]
        return {identifier(span["span_id"]): self.span(span) for span in found}

    def span(self, span):
        attributes = {a["key"]: value_of(a.get("value", {})) for a in span["attributes"]}
        usage = attributes.get("mlflow.chat.tokenUsage", {})
        return {
            "trace": identifier(span["trace_id"]),
            "parent": identifier(span.get("parent_span_id", "")),
            "name": span["name"],
            "status": (
                self.states.get(span["status"].get("code")),
                span["status"].get("message", ""),
            ),
            "start": int(span["start_time_unix_nano"]),
            "end": int(span["end_time_unix_nano"]),
            "attributes": attributes,
            "shown": {
                "kind": attributes.get("mlflow.spanType"),
                "model": attributes.get("mlflow.llm.model"),
                "input tokens": usage.get("input_tokens"),
                "output tokens": usage.get("output_tokens"),
                "input messages": messages.of_genai(attributes.get("mlflow.spanInputs")),
                "output messages": messages.of_genai(attributes.get("mlflow.spanOutputs")),
                "tools": [tool.get("function", tool)["name"] for tool in attributes.get("mlflow.chat.tools", [])],
            },
        }


def identifier(text):
    """An id in hexadecimal, of protobuf's JSON form; None for none."""
    return base64.b64decode(text).hex() or None


def value_of(value):
    """An attribute's value, of protobuf's JSON form."""
    for kind, inner in value.items():
        if kind == "int_value":
            return int(inner)
        if kind == "array_value":
            return [value_of(item) for item in inner.get("values", [])]
        if kind == "kvlist_value":
            return {pair["key"]: value_of(pair.get("value", {})) for pair in inner["values"]}
        return inner
    return None


def nanoseconds(text):
    """Nanoseconds since 1970 of a time as in ISO 8601."""
    since = datetime.datetime.fromisoformat(text) - EPOCH
    return since // datetime.timedelta(microseconds=1) * 1000
