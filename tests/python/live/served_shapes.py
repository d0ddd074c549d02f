"""The streams of inference servers, as they document them; routes of served_app.py.

Each says what it was asked, three words of it in three pieces, and how many tokens that was.
"""

import asyncio
import json
import time

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

router = APIRouter()


def words(text):
    found = text.split(" ")[:3]
    return [word if at == 0 else " " + word for at, word in enumerate(found)]


async def slowly(pieces):
    for piece in pieces:
        yield piece
        await asyncio.sleep(0.005)


def events(documents, end=""):
    lines = [f"data: {json.dumps(d)}\n\n" for d in documents]
    return StreamingResponse(slowly([*lines, end] if end else lines), media_type="text/event-stream")


@router.post("/generate")
async def sglang(request: Request):
    """SGLang: each event has all of the text so far."""
    said = words((await request.json())["text"])
    reasons = [None, None, {"type": "stop", "matched": 2}]
    documents = [
        {
            "text": "".join(said[: n + 1]),
            "meta_info": {
                "id": "r7",
                "finish_reason": reasons[n],
                "prompt_tokens": 6,
                "completion_tokens": n + 1,
            },
        }
        for n in range(3)
    ]
    return events(documents, "data: [DONE]\n\n")


@router.post("/completion")
async def llama_cpp(request: Request):
    """llama.cpp's server."""
    said = words((await request.json())["prompt"])
    last = {"content": "", "stop": True, "stop_type": "eos", "model": "m.gguf"}
    last |= {"tokens_predicted": 3, "tokens_evaluated": 6}
    return events([{"content": word, "stop": False, "id_slot": 0} for word in said] + [last])


@router.post("/generate_stream")
async def tgi(request: Request):
    """Text Generation Inference."""
    said = words((await request.json())["inputs"])
    tokens = [
        {
            "index": n + 1,
            "token": {"id": n, "text": word, "logprob": -0.1, "special": False},
            "generated_text": None,
            "details": None,
        }
        for n, word in enumerate(said)
    ]
    tokens[-1]["generated_text"] = "".join(said)
    tokens[-1]["details"] = {"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 6}
    return events(tokens)


@router.post("/api/chat")
async def ollama(request: Request):
    """Ollama: newline-delimited JSON."""
    asked = await request.json()
    said = words(asked["messages"][0]["content"])
    base = {"model": asked["model"], "created_at": "2026-01-01T00:00:00Z"}
    documents = [
        {**base, "message": {"role": "assistant", "content": word}, "done": False} for word in said
    ]
    last = {**base, "message": {"role": "assistant", "content": ""}, "done": True}
    last |= {"done_reason": "stop", "prompt_eval_count": 6, "eval_count": 3}
    lines = [json.dumps(d) + "\n" for d in [*documents, last]]
    return StreamingResponse(slowly(lines), media_type="application/x-ndjson")


@router.post("/v1/messages")
async def anthropic(request: Request):
    """Anthropic's messages, which vLLM, SGLang and LiteLLM serve as well."""
    asked = await request.json()
    said = words(asked["messages"][0]["content"])
    message = {"id": f"msg_{time.time_ns()}", "type": "message", "role": "assistant", "content": []}
    message |= {"model": asked["model"], "stop_reason": None, "stop_sequence": None}
    message |= {"usage": {"input_tokens": 6, "output_tokens": 1}}
    told = [{"type": "message_start", "message": message}]
    block = {"type": "text", "text": ""}
    told.append({"type": "content_block_start", "index": 0, "content_block": block})
    for word in said:
        delta = {"type": "text_delta", "text": word}
        told.append({"type": "content_block_delta", "index": 0, "delta": delta})
    told.append({"type": "content_block_stop", "index": 0})
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    told.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}})
    told.append({"type": "message_stop"})
    lines = [f"event: {d['type']}\ndata: {json.dumps(d)}\n\n" for d in told]
    return StreamingResponse(slowly(lines), media_type="text/event-stream")
