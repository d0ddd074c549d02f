"""Traces a FastAPI program to two real backends and asks them what they stored: run.py AGENT CERTS VENVS

Arize Phoenix takes OTLP over gRPC and MLflow over HTTP, both at the same time, in a network that has
nothing but loopback. Each span that genspan writes as a JSON line is then looked up in both by its
trace's id through their APIs, and compared. Ends with 1 when something differs.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time

import compare
import stores
from running import alone, ends_orderly, get, started, tail, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
# Each request is a trace of its own.
IDS = ("one", "two", "three")
# Seconds that a backend may take to start: the first time its Python is compiled.
START = 240
# And until it has what it is sent: a first request may take long.
ARRIVE = 90


def traced(agent, certs, python, place, backends):
    """Traces the program while it is asked; what genspan wrote, and what it said."""
    output = os.path.join(place, "spans.jsonl")
    log = os.path.join(place, "agent.log")
    program = [python, os.path.join(HERE, "app.py")]
    serve = [python, os.path.join(HERE, "..", "provider.py"), "--certs", certs]
    with started(
        serve, os.path.join(place, "provider.log"), stdout=subprocess.PIPE, text=True
    ) as provider:
        where = port_of(provider, "the provider stand-in", os.path.join(place, "provider.log"))
        variables = {
            "OPENAI_BASE_URL": "https://localhost:%d/v1" % where,
            "OPENAI_API_KEY": "sk-test-backends",
            "SSL_CERT_FILE": os.path.join(certs, "ca.pem"),
            # What MLflow sorts traces by; Phoenix takes no notice.
            "OTEL_EXPORTER_OTLP_HEADERS": "x-mlflow-experiment-id=0",
            # Neither takes anything but traces.
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            # A fresh MLflow was seen to take more than five seconds to answer its first request.
            "OTEL_EXPORTER_OTLP_TIMEOUT": "60000",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
        }
        command = [agent, "trace", "--format", "json", "--output", output]
        for backend in backends:
            command += ["--otlp-endpoint", backend.endpoint]
        with started(
            [*command, "--", *program],
            log,
            variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as agent_process:
            port = port_of(agent_process, "the traced program", log)
            for id in IDS:
                status, text = get(port, "/ask?id=" + id)
                if status != 200:
                    raise SystemExit("the program answers %d: %s" % (status, text))

            def arrived():
                traces = {span["trace_id"] for span in read(output)}
                return len(traces) >= len(IDS) and all(b.spans(t) for b in backends for t in traces)

            wait_for("the traces in both backends", arrived, ARRIVE, agent_process, log)
            # The program ends with its input, and genspan with the program.
            agent_process.stdin.close()
            code = agent_process.wait(60)
    if code:
        raise SystemExit("genspan ended with %d:\n%s" % (code, tail(log)))
    return read(output), tail(log)


def port_of(process, what, log):
    """The port that a program prints first."""
    line = process.stdout.readline()
    if not line:
        raise SystemExit("%s did not start:\n%s" % (what, tail(log)))
    return int(line)


def read(output):
    """The spans of a file of JSON lines; a line that is not whole yet is left out."""
    with open(output) as lines:
        return [json.loads(line) for line in lines if line.endswith("\n")]


def main():
    agent, certs, venvs = sys.argv[1:4]
    ends_orderly()
    alone()
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as running:
        backends = [stores.Phoenix(venvs, place), stores.Mlflow(venvs, place)]
        begin, processes = time.monotonic(), []
        for backend in backends:
            processes.append(running.enter_context(backend.start()))
        for backend, process in zip(backends, processes):
            wait_for(backend.name, backend.is_up, START, process, backend.log)
            took = time.monotonic() - begin
            print("  %s %s is up (%.0f s)" % (backend.name, backend.version, took), file=sys.stderr)
        python = os.path.join(venvs, "web312", "bin", "python")
        spans, said = traced(agent, certs, python, place, backends)
        print("  genspan wrote %d spans" % len(spans), file=sys.stderr)
        problems = compare.shape(spans, IDS)
        problems += [line for line in said.splitlines() if "WARN" in line or "ERROR" in line]
        results = []
        for backend in backends:
            found, differing = compare.stored(spans, backend)
            results.append((backend, found))
            problems += differing
    compare.tell(spans, results)
    if problems:
        raise SystemExit("not equal:\n" + "\n".join(problems))


if __name__ == "__main__":
    main()
