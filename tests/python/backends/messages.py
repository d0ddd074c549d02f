"""Messages in one form, from the forms that backends keep them in.

A message is its role, its text, the calls of tools (id, name, arguments) and the id of the call that
it answers.
"""

import json
import re


def of_genai(value):
    """From an attribute as OpenTelemetry's conventions have it: messages with parts, or their JSON."""
    found = json.loads(value) if isinstance(value, str) else value
    return [of_parts(message) for message in found or []]


def of_parts(message):
    texts, calls, answers = [], [], None
    for part in message["parts"]:
        if part["type"] == "text":
            texts.append(part["content"])
        elif part["type"] == "tool_call":
            calls.append((part["id"], part["name"], canonical(part["arguments"])))
        elif part["type"] == "tool_call_response":
            texts.append(part["response"])
            answers = part["id"]
        else:
            raise SystemExit("a part that is not known here: %r" % part)
    return message["role"], "".join(texts), calls, answers


def of_openinference(attributes, prefix):
    """From flat attributes as OpenInference has them: `prefix.NUMBER.message.role` and so on."""
    found = {}
    for name, value in attributes.items():
        match = re.fullmatch(re.escape(prefix) + r"\.(\d+)\.message\.(.+)", name)
        if match:
            found.setdefault(int(match.group(1)), {})[match.group(2)] = value
    return [of_flat(found[number]) for number in sorted(found)]


def of_flat(message):
    calls, number = [], 0
    while "tool_calls.%d.tool_call.function.name" % number in message:
        call = "tool_calls.%d.tool_call." % number
        arguments = canonical(message[call + "function.arguments"])
        calls.append((message[call + "id"], message[call + "function.name"], arguments))
        number += 1
    return message["role"], message.get("content", ""), calls, message.get("tool_call_id")


def canonical(document):
    """JSON, or a document, as JSON in one spelling."""
    if isinstance(document, str):
        document = json.loads(document)
    return json.dumps(document, sort_keys=True)
