"""POST /api/v1/services/aigc/text-generation/generation: DashScope's own API, not streamed."""

import asyncio

from . import control


async def generation(request, body, ctl, answer, headers):
    """The answer that a chat would get, as DashScope wraps it."""
    await asyncio.sleep(ctl.first_delay)
    messages = body.get("input", {}).get("messages", [])
    text = "".join(ctl.pieces())
    read = sum(control.count_tokens(message.get("content", "")) for message in messages)
    made = control.count_tokens(text)
    document = {
        "request_id": "r-" + ctl.digest[:16],
        "output": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": text}}]},
        "usage": {"input_tokens": read, "output_tokens": made, "total_tokens": read + made},
    }
    await answer.send(200, document, headers=headers)
