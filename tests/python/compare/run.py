"""Five sample applications as genspan tells them from outside, and as in-process instrumentations do:
run.py AGENT CERTS VENVS

Each application runs bare and is attached to while it runs; then once with each instrumentation built in.
The same is asked of it each time, in a network that has nothing but loopback. The spans of each request are
compared one by one (`matching.py`), and the result with the last one, which is `seen.json` beside this
file. Ends with 1 when something that was seen is seen no more, when a peer tells something that genspan
does not and no reason for it is in `reasons.json`, or when a reason there is for nothing. With `--write` what
is seen no more is given up, and said; nothing is kept when a reason is missing, or is for nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matching
import result
import steps
import table
from apps import APPS

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "backends"))
from running import alone, ends_orderly, get, started, tail, wait_for  # noqa: E402

SAMPLES = os.path.join(HERE, "..", "samples")
# Nobody else is in this network.
ADDRESS, PORT = "127.0.0.1", 8000
# What is asked until the application answers, and not compared.
NOBODY = "/is-anybody-there"
# Seconds that an application may take to start: LlamaIndex and Chroma compile a lot the first time.
START = 120
# Seconds without a word after which genspan has found all there is to find in a process, and the most
# that it is given to find a framework.
QUIET, FOUND = 1, 10


def variables(certs, port):
    """The environment of an application and of its instrumentation."""
    base = "https://localhost:%d" % port
    return {
        "OPENAI_BASE_URL": base + "/v1",
        "OPENAI_API_KEY": "sk-test-compare",
        "DASHSCOPE_HTTP_BASE_URL": base + "/api/v1",
        "DASHSCOPE_API_KEY": "sk-test-compare",
        "LLM_INFRA_URL": base + "/other",
        "SSL_CERT_FILE": os.path.join(certs, "ca.pem"),
        "REQUESTS_CA_BUNDLE": os.path.join(certs, "ca.pem"),
        "ANONYMIZED_TELEMETRY": "False",
        "PYTHONDONTWRITEBYTECODE": "1",
        # What the instrumentations tell at most.
        "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
        "TRACELOOP_TRACE_CONTENT": "true",
    }


def ask(app):
    for path in app.requests:
        status, text = get(PORT, path)
        if status != 200:
            raise SystemExit("%s answers %d: %s" % (app.name, status, text[:500]))


def is_up():
    return get(PORT, NOBODY)


def requests_of(lines, make, app):
    """The trees of the requests that are compared; the one that asked whether anybody was there is none."""
    told = [make(line) for line in lines if NOBODY not in line["attributes"].values()]
    found = steps.requests(told)[-len(app.requests) :]
    if len(found) != len(app.requests):
        raise SystemExit("%s: %d requests were told of %d" % (app.name, len(found), len(app.requests)))
    return found


def lines_of(path):
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


class Run:
    def __init__(self, options, place):
        self.options, self.place = options, place
        self.variables = {}

    def file(self, name):
        return os.path.join(self.place, name)

    def python(self, environment):
        return os.path.join(self.options.venvs, environment, "bin", "python")

    def bare(self, app):
        """The trees that genspan tells."""
        log, output = self.file(app.name + ".log"), self.file(app.name + ".genspan.jsonl")
        command = [self.python(app.environment), "-m", "uvicorn", "--app-dir", SAMPLES]
        command += [app.module + ":app", "--host", ADDRESS, "--port", str(PORT)]
        with started([*command, "--log-level", "warning"], log, self.variables) as process:
            wait_for(app.name, is_up, START, process, log)
            ask(app)
            said = self.file(app.name + ".genspan.log")
            agent = [self.options.agent, "trace", "--pid", str(process.pid), "--format", "json"]
            with started([*agent, "--output", output], said) as agent_process:
                settled(app, process.pid, said, agent_process)
                ask(app)

                def is_told():
                    served = [line for line in lines_of(output) if line["kind"] == "SERVER"]
                    return len(served) >= len(app.requests)

                wait_for("the spans of " + app.name, is_told, 30, agent_process, said)
                agent_process.send_signal(2)
                code = agent_process.wait(30)
            if code:
                raise SystemExit("genspan ended with %d:\n%s" % (code, tail(said)))
        return requests_of(lines_of(output), steps.of_genspan, app)

    def peer(self, app, peer):
        """The trees that an instrumentation tells."""
        output, log = self.file(peer.name + ".jsonl"), self.file(peer.name + ".log")
        command = [self.python(peer.environment), os.path.join(HERE, "in_process.py")]
        command += [peer.name, output, ADDRESS, str(PORT), app.module]
        with started(command, log, self.variables) as process:
            wait_for(peer.name, is_up, START, process, log)
            ask(app)
            ask(app)
        return requests_of(lines_of(output), steps.of_sdk, app)

    def compared(self, app):
        """What each of its peers tells, beside what genspan does."""
        begin = time.monotonic()
        ours = self.bare(app)
        found = {}
        for peer in app.peers:
            if not os.path.exists(self.python(peer.environment)) and self.options.present:
                continue
            theirs = self.peer(app, peer)
            trees = zip(theirs, ours)
            synonyms = self.options.synonyms
            found[peer.name] = result.of_peer([matching.match(t, o, synonyms) for t, o in trees])
        took = time.monotonic() - begin
        print("  %s: %d instrumentations (%.0f s)" % (app.name, len(found), took), file=sys.stderr)
        return {"genspan": result.of_ours(ours), "peers": found}


def settled(app, pid, log, agent):
    """Waits until genspan traces the process, watches its framework if it knows that one, and has no
    more to say."""
    wait_for("genspan", lambda: "(pid %d" % pid in Path(log).read_text(), 30, agent, log)
    word = "watching %s" % app.framework if app.framework else ""
    begin = since = time.monotonic()
    before = ""
    while time.monotonic() - begin < FOUND:
        now = Path(log).read_text()
        if now != before:
            before, since = now, time.monotonic()
        if word in now and time.monotonic() - since > QUIET:
            return
        time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("agent")
    parser.add_argument("certs")
    parser.add_argument("venvs")
    parser.add_argument("--only", help="these applications: openai,langchain")
    parser.add_argument("--present", action="store_true", help="leave out peers that are not installed")
    parser.add_argument("--write", metavar="PAGE", help="keep the result, and put its table into a page")
    parser.add_argument("--keep", metavar="DIR", help="leave the spans there")
    options = parser.parse_args()
    reasons = result.load(result.REASONS)
    options.synonyms = reasons["synonyms"]
    wanted = options.only.split(",") if options.only else [app.name for app in APPS]
    ends_orderly()
    alone()
    with tempfile.TemporaryDirectory() as place:
        if options.keep:
            os.makedirs(options.keep, exist_ok=True)
            place = options.keep
        run = Run(options, place)
        serve = [sys.executable, os.path.join(HERE, "..", "provider.py"), "--certs", options.certs]
        log = run.file("provider.log")
        with started(serve, log, stdout=subprocess.PIPE, text=True) as provider:
            line = provider.stdout.readline()
            if not line:
                raise SystemExit("the provider stand-in did not start:\n%s" % tail(log))
            run.variables = variables(options.certs, int(line))
            found = {app.name: run.compared(app) for app in APPS if app.name in wanted}
    if not any(app["peers"] for app in found.values()):
        raise SystemExit("nothing was compared")
    before = result.load(result.SEEN) if os.path.exists(result.SEEN) else {}
    whole = result.merged(before, found, {app.name: [peer.name for peer in app.peers] for app in APPS})
    problems, _ = result.unexplained(found, reasons["reasons"])
    # A reason may be for what did not run this time.
    for reason in result.unexplained(whole, reasons["reasons"])[1]:
        problems.append("nothing lacks %s, for which a reason is written: %s" % (reason["lacks"], reason["why"]))
    worse = result.worse(before, found)
    shown = (reasons["reasons"], options.venvs, options.synonyms)
    print(table.of(found, *shown))
    if options.write and not problems:
        for what in worse:
            print("given up: %s" % what, file=sys.stderr)
        result.save(whole)
        table.write(options.write, whole, *shown)
    else:
        problems += worse
    print("%d spans of peers compared, %d problems" % (sum(1 for _ in result.rows_of(found)), len(problems)))
    if problems:
        raise SystemExit("not as it should be:\n" + "\n".join(problems))


if __name__ == "__main__":
    main()
