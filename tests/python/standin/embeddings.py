"""POST /v1/embeddings."""

import asyncio
import base64
import struct

from . import control


async def embeddings(request, body, ctl, answer, headers):
    """A vector for each input, as floats or in base64."""
    await asyncio.sleep(ctl.first_delay)
    value = body.get("input", "")
    inputs = value if isinstance(value, list) and not all_ints(value) else [value]
    size = int(body.get("dimensions") or 8)
    data = [
        {"object": "embedding", "index": index, "embedding": vector(index, size, body)}
        for index in range(len(inputs))
    ]
    tokens = sum(len(item) if all_ints(item) else control.count_tokens(item) for item in inputs)
    document = {
        "object": "list",
        "data": data,
        "model": ctl.model + "-2026",
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    await answer.send(200, document, headers=headers)


def vector(index, size, body):
    numbers = [((index + 1) * (place + 1) % 17) / 16 for place in range(size)]
    if body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
    return numbers


def all_ints(value):
    return isinstance(value, list) and bool(value) and all(isinstance(item, int) for item in value)
