"""Checks the comparison itself: what is missing, or worse than before, is noticed; and what it starts ends
with it."""

import copy
import os
import select
import signal
import subprocess
import sys

import matching
import result
import steps


def ours(id, parent, name, start, **attributes):
    return steps.of_genspan(
        {
            "span_id": id,
            "parent_span_id": parent,
            "name": name,
            "kind": "SERVER" if parent is None and name == "GET" else "INTERNAL",
            "start_time_unix_nano": str(start),
            "end_time_unix_nano": str(start + 100 - start % 100),
            "attributes": {k.replace("__", "."): v for k, v in attributes.items()},
        }
    )


def theirs(id, parent, name, start, **attributes):
    return steps.of_sdk(
        {
            "context": {"span_id": "0x" + id, "trace_id": "0x1"},
            "parent_id": parent and "0x" + parent,
            "name": name,
            "kind": "SpanKind.SERVER" if name == "GET /" else "SpanKind.INTERNAL",
            "start_time": start,
            "end_time": start + 100 - start % 100,
            "attributes": {k.replace("__", "."): v for k, v in attributes.items()},
        }
    )


def our_tree(model_parent="b"):
    told = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "m"}
    return steps.requests(
        [
            ours("a", None, "GET", 1, http__request__method="GET"),
            ours("b", "a", "chain Outer", 2, genspan__run__name="Outer"),
            ours("c", "b", "chain Inner", 3, genspan__run__name="Inner"),
            ours("d", model_parent, "chat m", 4, gen_ai__usage__input_tokens=3, **told),
        ]
    )[0]


def their_tree():
    return steps.requests(
        [
            theirs("1", None, "GET /", 1, http__method="GET", http__route="/"),
            theirs("2", "1", "Outer.workflow", 2, traceloop__span__kind="workflow"),
            theirs("3", "2", "Inner.task", 3, traceloop__span__kind="task", input__value="x"),
            theirs("4", "2", "m.chat", 4, llm__request__type="chat", llm__token_count__prompt=4),
            theirs("5", "2", "m.chat", 5, llm__request__type="chat"),
        ]
    )[0]


def found(our_root):
    rows = result.of_peer([matching.match(their_tree(), our_root, {})])
    return {"app": {"genspan": result.of_ours([our_root]), "peers": {"peer": rows}}}


def expect(actual, expected):
    if actual != expected:
        raise SystemExit("%r is not %r" % (actual, expected))


# Starts a program that has its standard input and would go on for long, and says so.
STARTS = """
import sys
sys.path.insert(0, sys.argv[1])
from running import started
with started(["sleep", "60"], "/dev/null", stdin=0):
    print("started", flush=True)
    sys.stdin.read()
"""


def what_it_starts_ends_with_it():
    backends = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "backends")
    # Who lives has the end that is read from: when nobody has it, the other is told so.
    theirs, ours = os.pipe()
    ended = select.poll()
    ended.register(ours, 0)
    command = [sys.executable, "-B", "-c", STARTS, backends]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, text=True) as starter:
        os.close(theirs)
        expect(starter.stdout.readline(), "started\n")
        expect(ended.poll(100), [])
        starter.send_signal(signal.SIGKILL)
    if not ended.poll(10_000):
        raise SystemExit("what it started goes on")


def main():
    what_it_starts_ends_with_it()
    good = found(our_tree())
    rows = {row["span"]: row for row in good["app"]["peers"]["peer"]}
    outer = "GET / > Outer.workflow"
    expect([row["ours"] and row["ours"].split(" > ")[-1] for row in rows.values()],
           ["GET", "chain Outer", "chain Inner", "chat m", None])
    expect(rows[outer + " > Inner.task"]["lacks"], ["input"])
    expect(rows[outer + " > m.chat"]["lacks"], ["input tokens differs"])
    expect(rows[outer + " > m.chat"]["more"], ["model", "operation"])

    problems, unused = result.unexplained(good, [])
    expect(len(problems), 4)
    reasons = [
        {"span": "GET *", "lacks": ["route"], "why": "a"},
        {"peer": "peer", "span": "Inner*", "lacks": ["input"], "why": "b"},
        {"app": "app", "span": "m.chat", "lacks": ["span", "input tokens differs"], "why": "c"},
        {"app": "other", "lacks": ["span"], "why": "d"},
    ]
    expect(result.unexplained(good, reasons), ([], reasons[3:]))
    # A reason for two things that is needed for one.
    reasons[1]["lacks"].append("output")
    expect(result.unexplained(good, reasons)[1], [{**reasons[1], "lacks": ["output"]}, reasons[3]])

    expect(result.worse(good, good), [])
    stray = found(our_tree(model_parent=None))
    expect(result.worse(good, stray), ["app, peer: %s > m.chat: now lacks parent" % outer])
    expect(result.worse(stray, good), [])
    less = copy.deepcopy(good)
    less["app"]["peers"]["peer"][3].update(ours=None, lacks=[], more=[])
    del less["app"]["genspan"][3]
    expect(len(result.worse(good, less)), 2)
    # What only genspan tells: of its own span, and beside a peer's.
    silent = copy.deepcopy(good)
    silent["app"]["genspan"][3]["told"].remove("model")
    expect(result.worse(good, silent), ["app: 1 spans `chat m` no longer tell model"])
    expect(result.worse(silent, good), [])
    silent = copy.deepcopy(good)
    silent["app"]["peers"]["peer"][3]["more"].remove("model")
    missing = "app, peer: %s > m.chat: of what only genspan told is missing model" % outer
    expect(result.worse(good, silent), [missing])
    silent["app"]["peers"]["peer"][3]["told"].append("model")
    expect(result.worse(good, silent), [])
    gone = copy.deepcopy(good)
    del gone["app"]["peers"]["peer"][0]
    expect(result.worse(good, gone), ["app, peer: GET /: the peer does not tell it any more"])

    # What did not run is as it was; what there is no more is not kept.
    other = {"genspan": [], "peers": {"a": [1], "b": [2], "c": [3]}}
    before = {"app": other, "rest": other}
    names = {"rest": ["a"], "app": ["a", "b"], "new": ["a"]}
    now = {"app": {"genspan": ["x"], "peers": {"b": [4]}}}
    whole = {
        "rest": {"genspan": [], "peers": {"a": [1]}},
        "app": {"genspan": ["x"], "peers": {"a": [1], "b": [4]}},
    }
    expect(result.merged(before, now, names), whole)


if __name__ == "__main__":
    main()
