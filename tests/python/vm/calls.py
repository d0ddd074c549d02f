"""Programs that are traced, and whether what was told of them is what they saw."""

import json
import os
import time

from children import GENSPAN, Child, Failed, python
from console import tell

HERE = os.path.dirname(os.path.abspath(__file__))


def complaints(agent):
    return [line for line in agent.err.all if "WARN" in line or "ERROR" in line]


def last_words(*children):
    return [line[-600:] for child in children if child for line in child.err.all[-6:]]


# What genspan says when it was asked for what a kernel does not have.
WITHOUT = "no BPF trampolines"


def lacking(check, agent):
    """Whether the kernel has no such thing and genspan said so; then it is told."""
    said = [line for line in agent.err.all if WITHOUT in line] if agent else []
    if said:
        tell(check, "poor", said[0][-900:])
    return bool(said)


def clear(file, *children):
    for child in children:
        if child and child.process.poll() is None:
            child.process.kill()
            child.process.wait()
    if os.path.exists(file):
        os.unlink(file)


def spans(file):
    with open(file) as lines:
        return [json.loads(line) for line in lines]


def traced(check, base, options, ready="(pid %d", look=None):
    """A program that runs already makes a call, which must come out as it was."""
    file = "/tmp/spans.jsonl"
    app = agent = None
    try:
        app = python(HERE + "/app.py", OPENAI_BASE_URL=base)
        app.out.until("ready")
        pid = app.process.pid
        command = [GENSPAN, "trace", "--pid", str(pid), "--format", "json", "--output", file]
        agent = Child([*command, *options])
        agent.err.until(ready % pid)
        seen = []
        for question in ("Why is the sky blue?", "And the sunset red?"):
            app.process.stdin.write(question + "\n")
            app.process.stdin.flush()
            seen.append(json.loads(app.out.until("{")))
        # What is under way between the kernel and the agent.
        time.sleep(1)
        code = agent.end()
        all = spans(file)
        wrong = compare(seen, all) or (look(all) if look else "")
        if code != 0:
            wrong = wrong or "exit code %d" % code
        tell(check, "failed" if wrong else "ok", wrong, complaints(agent))
    except (Failed, OSError, ValueError) as error:
        lacking(check, agent) or tell(check, "failed", str(error), last_words(agent))
    finally:
        clear(file, agent, app)


def compare(seen, all):
    """What is wrong with the spans of model calls, if anything is."""
    calls = [s["attributes"] for s in all if "gen_ai.response.id" in s.get("attributes", {})]
    told = [
        {
            "id": a["gen_ai.response.id"],
            "port": a.get("network.peer.port"),
            "input": a.get("gen_ai.usage.input_tokens"),
            "output": a.get("gen_ai.usage.output_tokens"),
        }
        for a in calls
    ]
    return "" if told == seen else "made %s, told %s" % (json.dumps(seen), json.dumps(told))


def function(all):
    """The function's spans, each with its argument."""
    questions = [
        s["attributes"].get("genspan.function.argument.question")
        for s in all
        if s["attributes"].get("code.function.name") == "__main__.answer"
        and s["attributes"].get("gen_ai.response.id") is None
    ]
    fine = questions == ["Why is the sky blue?", "And the sunset red?"]
    return "" if fine else "told %s" % json.dumps(questions)


def stacks(all):
    """The call path of each call: where the program itself wrote it."""
    for span in all:
        attributes = span["attributes"]
        if "gen_ai.response.id" in attributes and not (
            attributes.get("code.function.name") == "answer"
            and attributes.get("code.file.path", "").endswith("app.py")
            and "in main" in attributes.get("code.stacktrace", "")
        ):
            return "told %s" % json.dumps({k: v for k, v in attributes.items() if "code." in k})
    return ""


# Programs of live/pieces.py, and what must be told of each: the model that was asked for, the one that
# answered, what is wrong with it. A body that came from a file is left out and said to be.
PIECES = {
    "vector": [("vector", "vector-2026", [])],
    "peek": [("peek", "peek-2026", [])],
    "file": [
        ("writev", "writev-2026", []),
        (None, "sendfile-2026", ["request_over_limit", "json_broken"]),
        ("after", "after-2026", []),
    ],
    "unix": [("unix", "unix-2026", []), ("unix", "unix-2026", [])],
    "again": [("left", None, ["response_cut"]), ("second", "second-2026", [])],
}


def pieces(check, port, options):
    """Programs that use their sockets in many ways, all at once."""
    file = "/tmp/spans.jsonl"
    apps, agent = [], None
    try:
        program = os.path.dirname(HERE) + "/live/pieces.py"
        apps = [python(program, mode, str(port)) for mode in PIECES]
        for app in apps:
            app.out.until("ready")
        pids = [str(app.process.pid) for app in apps]
        command = [GENSPAN, "trace", "--pid", ",".join(pids), "--format", "json", "--output", file]
        agent = Child([*command, *options])
        for pid in pids:
            agent.err.until("(pid %s" % pid)
        for app in apps:
            app.process.stdin.write("go\n")
            app.process.stdin.flush()
            app.out.until("done")
        time.sleep(1)
        code = agent.end()
        calls = [s["attributes"] for s in spans(file)]
        told = [
            (c.get("gen_ai.request.model"), c.get("gen_ai.response.model"), c.get("genspan.defects", []))
            for c in calls
        ]
        expected = [call for calls in PIECES.values() for call in calls]
        fine = sorted(told, key=repr) == sorted(expected, key=repr) and code == 0
        text = "" if fine else "code %d, told %s" % (code, told)
        tell(check, "ok" if fine else "failed", text, complaints(agent))
    except (Failed, OSError, ValueError) as error:
        lacking(check, agent) or tell(check, "failed", str(error), last_words(agent))
    finally:
        clear(file, agent, *apps)


# langchain-core and what it needs, where this system's Python had them.
PACKAGES = "/site-packages"
STEPS = ("plain", "tools", "errors")


def langchain(check):
    """Every run of LangChain, as its own callback handler was told of it."""
    file = "/tmp/spans.jsonl"
    app = agent = None
    try:
        program = os.path.dirname(HERE) + "/live/langchain_runs.py"
        app = python(program, PYTHONPATH=PACKAGES)
        app.out.until("ready")
        pid = app.process.pid
        command = [GENSPAN, "trace", "--pid", str(pid), "--format", "json", "--output", file]
        agent = Child(command)
        agent.err.until("watching LangChain (pid %d" % pid)
        runs = []
        for step in STEPS:
            app.process.stdin.write(step + "\n")
            app.process.stdin.flush()
            runs += json.loads(app.out.until("["))
        time.sleep(1)
        code = agent.end()
        found = {s["attributes"].get("genspan.run.id"): s for s in spans(file)}
        wrong = [run for run in runs if not as_told(run, found)]
        if code != 0 or wrong:
            first = json.dumps(wrong[0]) + json.dumps(found.get(wrong[0]["id"])) if wrong else ""
            text = "%d of %d runs wrong, exit code %d %s" % (len(wrong), len(runs), code, first)
            tell(check, "failed", text[-900:], complaints(agent))
        else:
            tell(check, "ok", "%d runs" % len(runs), complaints(agent))
    except (Failed, OSError, ValueError) as error:
        tell(check, "failed", str(error), last_words(agent, app))
    finally:
        clear(file, agent, app)


# Where a span has what its run was given and gave, by the kind of the run; of chains elsewhere.
MESSAGES = ("gen_ai.input.messages", "gen_ai.output.messages")
CONTENTS = {
    "chat": MESSAGES,
    "text_completion": MESSAGES,
    "execute_tool": ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
    "retrieval": ("gen_ai.retrieval.query.text", "gen_ai.retrieval.documents"),
}
OF_CHAINS = ("input.value", "output.value")


def contents_differ(run, attributes):
    """Whether what the run was given and gave is told otherwise; live_langchain.rs knows more cases."""
    given, got = CONTENTS.get(run["kind"], OF_CHAINS)
    texts = [attributes.get(name) for name in (given, got)]
    told = [texts[0] if given.endswith(".text") else parsed(texts[0]), parsed(texts[1])]
    expected = [run.get("given"), run.get("got")]
    # What is given by another way than by its function; what LangChain tells of tools may be a text of it.
    if run["name"] == "by_hand" or "end_late" in attributes.get("genspan.defects", []):
        expected[1] = None
    elif run["kind"] == "execute_tool" and isinstance(expected[1], str):
        expected[1] = whole(expected[1])
    return told != expected


def parsed(text):
    """An attribute that is JSON; None where there is none."""
    return None if text is None else json.loads(text)


def whole(text):
    """What a text says as JSON, or the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def as_told(run, found):
    """Whether a run's span has its name, kind, parent, error and contents."""
    span = found.get(run["id"])
    if span is None:
        return False
    attributes = span["attributes"]
    kind = attributes.get("gen_ai.operation.name") or "chain"
    above = found.get(run["parent"])
    return (
        attributes.get("genspan.run.name") == run["name"]
        and ("chain" if kind == "invoke_workflow" else kind) == run["kind"]
        and (attributes.get("error.type") or None) == run["error"]
        and (above is None or span["parent_span_id"] == above["span_id"])
        and (above is not None) == (run["parent"] is not None)
        and not contents_differ(run, attributes)
    )
