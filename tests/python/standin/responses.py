"""POST /v1/responses and GET /v1/responses/{id}."""

import asyncio
import json

from . import control
from .chat import CREATED, plain
from .http1 import Cut

# Responses that were made, to be fetched again; the oldest go first.
_stored = {}
_STORED_MOST = 1000


async def create(request, body, ctl, answer, headers):
    """A new response, plain or streamed."""
    document = build(body, ctl)
    if body.get("store") is not False:
        while len(_stored) >= _STORED_MOST:
            _stored.pop(next(iter(_stored)))
        _stored[document["id"]] = document
    await asyncio.sleep(ctl.first_delay)
    if body.get("stream"):
        await stream(document, ctl, answer, headers)
    else:
        await plain(answer, document, ctl, headers)


async def retrieve(request, ctl, answer, headers, response_id):
    """A response that was made before."""
    document = _stored.get(response_id)
    if document is None:
        message = f"Response with id '{response_id}' not found."
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        await answer.send(404, {"error": error}, headers=headers)
    elif request.query.get("stream") == "true":
        after = int(request.query.get("starting_after", "-1"))
        await stream(document, ctl, answer, headers, after)
    else:
        await answer.send(200, document, headers=headers)


def build(body, ctl):
    """The whole response object."""
    output = []
    prefix = ctl.digest[:12]
    thought = 0
    if body.get("reasoning") or ctl.model == "reasoning":
        thought = 5
        summary = [{"type": "summary_text", "text": "Light and air: think."}]
        output.append({"id": f"rs_{prefix}", "type": "reasoning", "summary": summary})
    calls = function_calls(body, prefix)
    tokens = thought
    if calls:
        output += calls
        tokens += sum(len(call["arguments"]) // 4 + 1 for call in calls)
    elif ctl.model == "refusal":
        output.append(message(prefix, {"type": "refusal", "refusal": "I cannot help with that."}))
        tokens += 5
    else:
        pieces = ctl.pieces()
        text = {"type": "output_text", "text": "".join(pieces), "annotations": [], "logprobs": []}
        output.append(message(prefix, text))
        tokens += len(pieces)
    short = ctl.model == "length"
    prompt = control.count_tokens(body.get("instructions"), body.get("input"))
    return {
        "id": f"resp_{prefix}",
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if short else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if short else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": ctl.model + "-2026",
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": prompt // 4},
            "output_tokens": tokens,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": prompt + tokens,
        },
        "user": None,
    }


def message(prefix, part):
    return {
        "id": f"msg_{prefix}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def function_calls(body, prefix):
    items = body.get("input")
    answered = isinstance(items, list) and any(
        isinstance(item, dict) and item.get("type") == "function_call_output" for item in items
    )
    if answered or body.get("tool_choice") == "none":
        return []
    functions = [tool for tool in body.get("tools") or [] if tool.get("type") == "function"]
    if body.get("parallel_tool_calls") is False:
        functions = functions[:1]
    return [
        {
            "id": f"fc_{prefix}_{number}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{prefix}_{number}",
            "name": tool["name"],
            "arguments": json.dumps(control.example_arguments(tool.get("parameters"))),
        }
        for number, tool in enumerate(functions)
    ]


async def stream(document, ctl, answer, headers, after=-1):
    """The response as events, from the one after number `after` on."""
    events = list(events_of(document, ctl))
    await answer.begin(headers=headers)
    for number, (name, fields) in enumerate(events):
        if number == len(events) // 2:
            if ctl.model == "cut":
                raise Cut
            if ctl.model == "midstream-error":
                name, fields = failed(document)
                await answer.piece(event(name, number, fields))
                await answer.end()
                return
        if number <= after:
            continue
        if name.endswith(".delta") and ctl.delay:
            await asyncio.sleep(ctl.delay)
        await answer.piece(event(name, number, fields))
    await answer.end(ctl.trailers)


def event(name, number, fields):
    data = {"type": name, "sequence_number": number, **fields}
    text = json.dumps(data, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


def failed(document):
    error = {"code": "server_error", "message": "The model failed."}
    return "response.failed", {"response": {**document, "status": "failed", "error": error}}


def events_of(document, ctl):
    """All events of a stream, in order, without their numbers."""
    begun = {**document, "status": "in_progress", "output": [], "usage": None}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for index, item in enumerate(document["output"]):
        place = {"output_index": index}
        shell = dict(item)
        for key in ("content", "summary"):
            if key in shell:
                shell[key] = []
        if "arguments" in shell:
            shell["arguments"] = ""
        if "status" in shell:
            shell["status"] = "in_progress"
        yield "response.output_item.added", {**place, "item": shell}
        inner = {"item_id": item["id"], **place}
        if item["type"] == "message":
            yield from message_events(item, inner, ctl)
        elif item["type"] == "function_call":
            text = item["arguments"]
            for start in range(0, len(text), 7):
                piece = text[start : start + 7]
                yield "response.function_call_arguments.delta", {**inner, "delta": piece}
            done = {**inner, "name": item["name"], "arguments": text}
            yield "response.function_call_arguments.done", done
        elif item["type"] == "reasoning":
            text = item["summary"][0]["text"]
            part = {**inner, "summary_index": 0}
            empty = {"type": "summary_text", "text": ""}
            yield "response.reasoning_summary_part.added", {**part, "part": empty}
            yield "response.reasoning_summary_text.delta", {**part, "delta": text}
            yield "response.reasoning_summary_text.done", {**part, "text": text}
            yield "response.reasoning_summary_part.done", {**part, "part": item["summary"][0]}
        yield "response.output_item.done", {**place, "item": item}
    yield f"response.{document['status']}", {"response": document}


def message_events(item, inner, ctl):
    part = item["content"][0]
    inner = {**inner, "content_index": 0}
    if part["type"] == "refusal":
        empty = {"type": "refusal", "refusal": ""}
        yield "response.content_part.added", {**inner, "part": empty}
        yield "response.refusal.delta", {**inner, "delta": part["refusal"]}
        yield "response.refusal.done", {**inner, "refusal": part["refusal"]}
    else:
        yield "response.content_part.added", {**inner, "part": {**part, "text": ""}}
        for piece in ctl.pieces():
            yield "response.output_text.delta", {**inner, "delta": piece, "logprobs": []}
        done = {**inner, "text": part["text"], "logprobs": []}
        yield "response.output_text.done", done
    yield "response.content_part.done", {**inner, "part": part}
