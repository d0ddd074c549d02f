"""DashScope's native API, plain answers only: text generation and text embedding."""

import asyncio

from . import control, embeddings


async def generation(request, body, ctl, answer, headers):
    """`aigc/text-generation/generation`; a prompt, or messages with either form of the result."""
    await asyncio.sleep(ctl.first_delay)
    asked = body.get("input") or {}
    given = asked.get("messages") or asked.get("prompt")
    pieces = ctl.pieces()
    text = "".join(pieces)
    if (body.get("parameters") or {}).get("result_format") == "message":
        message = {"role": "assistant", "content": text}
        output = {"choices": [{"finish_reason": "stop", "message": message}]}
    else:
        output = {"text": text, "finish_reason": "stop"}
    usage = {"input_tokens": control.count_tokens(given), "output_tokens": len(pieces)}
    usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
    await answer.send(200, document(ctl, output, usage), headers=headers)


async def embedding(request, body, ctl, answer, headers):
    """`embeddings/text-embedding/text-embedding`: a vector for each text."""
    await asyncio.sleep(ctl.first_delay)
    texts = (body.get("input") or {}).get("texts") or []
    size = int((body.get("parameters") or {}).get("dimension") or 8)
    vectors = [
        {"text_index": index, "embedding": embeddings.vector(index, size, {})}
        for index in range(len(texts))
    ]
    usage = {"total_tokens": control.count_tokens(texts)}
    await answer.send(200, document(ctl, {"embeddings": vectors}, usage), headers=headers)


def document(ctl, output, usage):
    return {"output": output, "usage": usage, "request_id": ctl.digest[:32]}
