"""POST /v1/chat/completions and the legacy POST /v1/completions."""

import asyncio
import json

from . import control
from .http1 import Cut

CREATED = 1800000000


async def chat(request, body, ctl, answer, headers):
    """Chat completions, plain and streamed."""
    shape = Chat(body, ctl)
    if body.get("stream"):
        await stream(shape, body, ctl, answer, headers)
    else:
        await asyncio.sleep(ctl.first_delay)
        await plain(answer, shape.whole(), ctl, headers)


async def completions(request, body, ctl, answer, headers):
    """Legacy completions, plain and streamed."""
    shape = Legacy(body, ctl)
    if body.get("stream"):
        await stream(shape, body, ctl, answer, headers)
    else:
        await asyncio.sleep(ctl.first_delay)
        await plain(answer, shape.whole(), ctl, headers)


async def plain(answer, document, ctl, headers):
    """A whole answer, or, for the model `cut`, half of one."""
    if ctl.model == "cut":
        text = json.dumps(document).encode()
        answer._head(200, "application/json", "length", len(text), headers)
        answer.writer.write(text[: len(text) // 2])
        raise Cut
    await answer.send(200, document, headers=headers)


async def stream(shape, body, ctl, answer, headers):
    """A streamed answer: chunks, then usage when asked for, then `[DONE]`."""
    await asyncio.sleep(ctl.first_delay)
    await answer.begin(headers=headers)
    chunks = shape.chunks()
    include_usage = (body.get("stream_options") or {}).get("include_usage")
    for number, choice in enumerate(chunks):
        if number == len(chunks) // 2:
            if ctl.model == "cut":
                raise Cut
            if ctl.model == "midstream-error":
                error = {"message": "The model failed.", "type": "server_error", "code": None}
                await answer.piece(event({"error": error}))
                await answer.end()
                return
        if number and ctl.delay:
            await asyncio.sleep(ctl.delay)
        chunk = {**shape.chunk_head(), "choices": [choice]}
        if include_usage:
            chunk["usage"] = None
        await answer.piece(event(chunk))
    if include_usage:
        last = {**shape.chunk_head(), "choices": [], "usage": shape.usage()}
        await answer.piece(event(last))
    await answer.piece(b"data: [DONE]\n\n")
    await answer.end(ctl.trailers)


def event(document):
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def interleave(lists):
    """One of each in turn, until all are used up."""
    longest = max((len(items) for items in lists), default=0)
    return [items[i] for i in range(longest) for items in lists if i < len(items)]


class Chat:
    """One chat completion, as a document and as chunks."""

    def __init__(self, body, ctl):
        self.body = body
        self.ctl = ctl
        self.model = ctl.model
        self.id = "chatcmpl-" + ctl.digest[:20]
        self.choices = [Choice(self, index) for index in range(int(body.get("n") or 1))]

    def head(self, object_name):
        return {
            "id": self.id,
            "object": object_name,
            "created": CREATED,
            "model": self.model + "-2026",
            "service_tier": "default",
            "system_fingerprint": "fp_standin",
        }

    def chunk_head(self):
        return self.head("chat.completion.chunk")

    def whole(self):
        choices = [choice.whole() for choice in self.choices]
        return {**self.head("chat.completion"), "choices": choices, "usage": self.usage()}

    def chunks(self):
        return interleave([choice.chunks() for choice in self.choices])

    def usage(self):
        prompt = control.count_tokens(self.body.get("messages"))
        output = sum(choice.tokens() for choice in self.choices)
        thought = sum(len(choice.reasoning) for choice in self.choices)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": prompt // 4, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": thought,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


class Choice:
    """One of the choices of a chat completion."""

    def __init__(self, owner, index):
        body, ctl = owner.body, owner.ctl
        self.index = index
        self.pieces, self.calls, self.refusal, self.reasoning = [], [], [], []
        self.finish = {"length": "length", "filtered": "content_filter"}.get(ctl.model, "stop")
        if ctl.model == "refusal":
            self.refusal = ["I", " cannot", " help", " with", " that."]
        elif wants_tools(body):
            self.calls = tool_calls(body, ctl, index)
            self.finish = "tool_calls"
        else:
            self.pieces = ctl.pieces(salt=index)
        if ctl.model == "reasoning":
            self.reasoning = ["Light", " and", " air", ":", " think."]

    def tokens(self):
        arguments = sum(len(call["function"]["arguments"]) // 4 + 1 for call in self.calls)
        return len(self.pieces) + len(self.refusal) + len(self.reasoning) + arguments

    def whole(self):
        message = {
            "role": "assistant",
            "content": "".join(self.pieces) if self.pieces else None,
            "refusal": "".join(self.refusal) or None,
            "annotations": [],
        }
        if self.calls:
            message["tool_calls"] = self.calls
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        return {
            "index": self.index,
            "message": message,
            "logprobs": None,
            "finish_reason": self.finish,
        }

    def chunks(self):
        content = "" if not self.calls else None
        deltas = [{"role": "assistant", "content": content, "refusal": None}]
        deltas += [{"reasoning_content": piece} for piece in self.reasoning]
        deltas += [{"refusal": piece} for piece in self.refusal]
        deltas += [{"content": piece} for piece in self.pieces]
        deltas += [{"tool_calls": [part]} for part in interleave(list(self._call_parts()))]
        parts = [{"index": self.index, "delta": d, "finish_reason": None} for d in deltas]
        return [*parts, {"index": self.index, "delta": {}, "finish_reason": self.finish}]

    def _call_parts(self):
        """Each call's fragments: id and name first, then its arguments in pieces."""
        for number, call in enumerate(self.calls):
            function = {"name": call["function"]["name"], "arguments": ""}
            parts = [{"index": number, "id": call["id"], "type": "function", "function": function}]
            text = call["function"]["arguments"]
            for start in range(0, len(text), 7):
                piece = {"arguments": text[start : start + 7]}
                parts.append({"index": number, "function": piece})
            yield parts


def wants_tools(body):
    """Tools are called when they are offered and have not been called yet."""
    messages = body.get("messages") or [{}]
    last = messages[-1].get("role") if isinstance(messages[-1], dict) else None
    return bool(body.get("tools")) and body.get("tool_choice") != "none" and last != "tool"


def tool_calls(body, ctl, index):
    """Every offered function once; only the first when calls may not be parallel."""
    functions = [tool["function"] for tool in body["tools"] if tool.get("type") == "function"]
    if body.get("parallel_tool_calls") is False:
        functions = functions[:1]
    return [
        {
            "id": f"call_{ctl.digest[:8]}_{index}_{number}",
            "type": "function",
            "function": {
                "name": function["name"],
                "arguments": json.dumps(control.example_arguments(function.get("parameters"))),
            },
        }
        for number, function in enumerate(functions)
    ]


class Legacy:
    """One legacy completion, as a document and as chunks."""

    def __init__(self, body, ctl):
        self.body = body
        self.model = ctl.model
        self.id = "cmpl-" + ctl.digest[:20]
        prompt = body.get("prompt", "")
        batch = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
        self.count = (len(prompt) if batch else 1) * int(body.get("n") or 1)
        self.texts = [ctl.pieces(salt=index) for index in range(self.count)]
        self.finish = "length" if ctl.model == "length" else "stop"

    def chunk_head(self):
        name = self.model + "-2026"
        return {"id": self.id, "object": "text_completion", "created": CREATED, "model": name}

    def whole(self):
        choices = [self._choice(i, "".join(t), self.finish) for i, t in enumerate(self.texts)]
        return {**self.chunk_head(), "choices": choices, "usage": self.usage()}

    def chunks(self):
        return interleave(
            [
                [self._choice(i, piece, None) for piece in pieces]
                + [self._choice(i, "", self.finish)]
                for i, pieces in enumerate(self.texts)
            ]
        )

    def usage(self):
        prompt = control.count_tokens(self.body.get("prompt"))
        output = sum(len(pieces) for pieces in self.texts)
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}

    @staticmethod
    def _choice(index, text, finish):
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
