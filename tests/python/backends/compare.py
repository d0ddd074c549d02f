"""The spans that genspan wrote against those that a backend says it has."""

import collections
import json
import time

import messages

# What one request of the program makes, by the spans' names.
CALLS = {"chat gpt-backend": 4, "embeddings embed-backend": 1, "chat error-404": 1}
# Seconds that a backend may take from having acknowledged a span to showing it.
SHOWN = 30


def by_trace(spans):
    traces = collections.defaultdict(list)
    for span in spans:
        traces[span["trace_id"]].append(span)
    return traces


def shape(spans, ids):
    """What is wrong with the trees themselves: each request is one, with its own calls in it."""
    problems = []
    asked = []
    for trace, members in by_trace(spans).items():
        roots = [s for s in members if not s.get("parent_span_id")]
        if len(roots) != 1 or roots[0]["kind"] != "SERVER":
            problems.append("trace %s has the roots %s" % (trace, [r["name"] for r in roots]))
            continue
        id = roots[0]["attributes"].get("url.query", "").removeprefix("id=")
        asked.append(id)
        below = [s for s in members if s.get("parent_span_id") == roots[0]["span_id"]]
        names = collections.Counter(s["name"] for s in below)
        if names != CALLS or len(members) != 1 + len(below):
            problems.append("the request %s has %s" % (id, dict(names)))
        for span in below:
            said = span["attributes"].get("gen_ai.input.messages")
            if said and id not in said:
                problems.append("a call below the request %s is not its own: %s" % (id, said))
        refused = [s["name"] for s in below if s["status"]["code"] == "ERROR"]
        if refused != ["chat error-404"]:
            problems.append("of the request %s are errors: %s" % (id, refused))
        for attribute, wanted in (("gen_ai.request.stream", 1), ("gen_ai.tool.definitions", 2)):
            having = sum(1 for s in below if s["attributes"].get(attribute))
            if having != wanted:
                problems.append("%d calls of %s have %s" % (having, id, attribute))
    if sorted(asked) != sorted(ids):
        problems.append("there are trees of the requests %s" % asked)
    return problems


def expected(span, backend):
    """What a backend should have of a span."""
    attributes = span["attributes"]
    model = next((attributes[name] for name in backend.model if name in attributes), None)
    tools = json.loads(attributes.get("gen_ai.tool.definitions", "[]"))
    return {
        "trace": span["trace_id"],
        "parent": span.get("parent_span_id"),
        "name": span["name"],
        "status": (span["status"]["code"], span["status"]["message"]),
        "start": int(span["start_time_unix_nano"]),
        "end": int(span["end_time_unix_nano"]),
        "shown": {
            "kind": backend.kinds[attributes.get("gen_ai.operation.name")],
            "model": model,
            "input tokens": attributes.get("gen_ai.usage.input_tokens"),
            "output tokens": attributes.get("gen_ai.usage.output_tokens"),
            "input messages": messages.of_genai(attributes.get("gen_ai.input.messages")),
            "output messages": messages.of_genai(attributes.get("gen_ai.output.messages")),
            "tools": [tool["name"] for tool in tools],
        },
    }


def stored(spans, backend):
    """The spans that a backend has by their id, and what differs."""
    found, problems = {}, []
    for trace, members in by_trace(spans).items():
        wanted = {span["span_id"] for span in members}
        end = time.monotonic() + SHOWN
        there = backend.spans(trace)
        while not wanted <= set(there) and time.monotonic() < end:
            time.sleep(0.2)
            there = backend.spans(trace)
        for id in set(there) - wanted:
            problems.append("%s has a span %s that nobody sent" % (backend.name, id))
        found.update(there)
        for span in members:
            if span["span_id"] in there:
                differing = differences(span, there[span["span_id"]], backend)
            else:
                differing = ["is not there"]
            said = "%s: %s %s " % (backend.name, span["name"], span["span_id"])
            problems += [said + what for what in differing]
    return found, problems


def differences(span, there, backend):
    wanted = expected(span, backend)
    for name in ("start", "end"):
        if abs(wanted[name] - there[name]) < backend.tick:
            wanted[name] = there[name]
    pairs = [(name, wanted[name], there[name]) for name in wanted if name != "shown"]
    pairs += [("shown " + n, v, there["shown"][n]) for n, v in wanted["shown"].items()]
    for name, value in span["attributes"].items():
        theirs = there["attributes"].get(name)
        # MLflow gives JSON back as what it says.
        if isinstance(value, str) and isinstance(theirs, (list, dict)):
            value = json.loads(value)
        pairs.append((name, value, theirs))
    return ["has %s = %r, not %r" % (n, theirs, ours) for n, ours, theirs in pairs if ours != theirs]


def counts(spans):
    """What the table tells, of spans in the form of `expected`."""
    shown = [span["shown"] for span in spans]
    return {
        "traces": len({span["trace"] for span in spans}),
        "spans": len(spans),
        "with a parent": sum(1 for span in spans if span["parent"]),
        "failed": sum(1 for span in spans if span["status"][0] == "ERROR"),
        "with a model": sum(1 for s in shown if s["model"]),
        "input tokens": sum(s["input tokens"] or 0 for s in shown),
        "output tokens": sum(s["output tokens"] or 0 for s in shown),
        "input messages": sum(len(s["input messages"]) for s in shown),
        "output messages": sum(len(s["output messages"]) for s in shown),
        "calls of tools": sum(len(m[2]) for s in shown for m in s["output messages"]),
    }


def tell(spans, results):
    """Prints the table: what genspan wrote, and what each backend shows."""
    backends = [backend for backend, _ in results]
    ours = counts([expected(span, backends[0]) for span in spans])
    theirs = [counts(list(found.values())) for _, found in results]
    heads = ["", "genspan", *("%s %s" % (b.name, b.version) for b in backends)]
    print("| %s |" % " | ".join(heads))
    print("| --- |" + " ---: |" * (1 + len(backends)))
    for name, number in ours.items():
        print("| %s | %s |" % (name, " | ".join(str(n) for n in [number, *(t[name] for t in theirs)])))
