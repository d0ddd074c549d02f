"""DashScope's inference API over WebSocket, as far as a test needs it: synthesis and recognition of
speech, and generation. A model whose name begins with `error` fails.
"""

import asyncio
import json

WORDS = ["Good", "Good morning", "Good morning to", "Good morning to you"]


class Session:
    """One connection; `send` takes a text or bytes."""

    def __init__(self, send):
        self._send = send
        self.task = None
        self.sound = 0

    async def send(self, event, output=None, usage=None, **header):
        header = {"task_id": self.task, "event": event, "attributes": {}, **header}
        payload = {"output": output, "usage": usage} if output is not None else {}
        await self._send(json.dumps({"header": header, "payload": payload}))

    async def take(self, message):
        if isinstance(message, bytes):
            await self.hear(message)
            return
        event = json.loads(message)
        header, payload = event["header"], event.get("payload") or {}
        action = header["action"]
        if action == "run-task":
            self.task, self.kind, self.sound = header["task_id"], payload.get("task"), 0
            if payload["model"].startswith("error"):
                text = "the model is not there"
                await self.send("task-failed", error_code="ModelNotFound", error_message=text)
                return
            await self.send("task-started")
            if header.get("streaming") in ("out", "none"):
                await self.answer(payload.get("input") or {})
                await self.send("task-finished")
        elif action == "continue-task":
            await self.answer(payload.get("input") or {})
        elif action == "finish-task":
            await self.send("task-finished")

    async def answer(self, request):
        if self.kind == "tts":
            for _ in range(5):
                sentence = {"begin_time": 0, "end_time": 100, "words": []}
                await self.send("result-generated", {"sentence": sentence}, {"characters": 5})
                await self._send(bytes(1000))
                await asyncio.sleep(0.002)
        elif self.kind == "text-generation":
            for count, text in enumerate(WORDS, 1):
                end = "stop" if count == len(WORDS) else "null"
                usage = {"input_tokens": 7, "output_tokens": count, "total_tokens": 7 + count}
                await self.send("result-generated", {"text": text, "finish_reason": end}, usage)

    async def hear(self, sound):
        self.sound += len(sound)
        ends = self.sound % 6400 == 0
        sentence = {"begin_time": 0, "end_time": 100 if ends else None, "sentence_end": ends}
        sentence["text"] = WORDS[3] if ends else WORDS[1]
        await self.send("result-generated", {"sentence": sentence}, {"duration": 1} if ends else None)
