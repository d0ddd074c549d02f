"""OpenAI's Realtime API, and DashScope's by the same events in its own spelling, as far as a test needs
them.

What an answer is like is said by the `metadata` of `response.create`, all strings:
  chunks     number of deltas of the transcript (and of output tokens)
  tool       also call this tool
  status     how it ends: completed, cancelled, failed, incomplete
  close      close the connection with this status in the middle
  refuse     refuse the request with an event `error`
Sound that is committed is answered without being asked, when `turn_detection` is on.
"""

import asyncio
import base64
import itertools
import json

WORDS = "It is sunny in Hangzhou today , and it will be so tomorrow as well .".split(" ")

MODEL = "gpt-realtime-2025-08-28"

_numbers = itertools.count(1)


class Session:
    """One connection; `send` takes a text, `close` a status."""

    def __init__(self, model, send, close):
        self.model, self._send, self._close = model, send, close
        # DashScope names the model in the address, and has the names of the API's beta.
        self.audio, details = ("audio", "tokens") if model else ("output_audio", "token")
        self.details = [f"{way}_{details}_details" for way in ("input", "output")]
        self.vad = True
        self.sound = 0

    async def send(self, kind, **members):
        await self._send(json.dumps({"type": kind, "event_id": f"event_{next(_numbers)}", **members}))

    async def begin(self):
        session = {
            "object": "realtime.session",
            "type": "realtime",
            "id": "sess_1",
            "model": self.model or MODEL,
            "output_modalities": ["audio"],
            "instructions": "Be brief.",
            "tools": [],
            "client_secret": {"value": "ek_sk-test-0123456789abcdef", "expires_at": 1},
        }
        self.session = session
        await self.send("session.created", session=session)

    async def take(self, text):
        event = json.loads(text)
        kind = event["type"]
        if kind == "session.update":
            self.vad = event["session"].pop("turn_detection", True) is not None
            self.session.update(event["session"])
            await self.send("session.updated", session=self.session)
        elif kind == "conversation.item.create":
            item = {**event["item"], "id": f"item_{next(_numbers)}", "object": "realtime.item"}
            await self.send("conversation.item.added", item=item, previous_item_id=None)
            await self.send("conversation.item.done", item=item, previous_item_id=None)
        elif kind == "input_audio_buffer.append":
            self.sound += len(base64.b64decode(event["audio"]))
        elif kind == "input_audio_buffer.commit":
            await self.commit()
        elif kind == "response.create":
            await self.respond(event.get("response") or {}, event.get("event_id"))

    async def commit(self):
        item = f"item_{next(_numbers)}"
        await self.send("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        await self.send(
            "conversation.item.input_audio_transcription.completed",
            item_id=item,
            content_index=0,
            transcript=f"{self.sound} bytes of sound",
            usage={"type": "duration", "seconds": 1},
        )
        self.sound = 0
        if self.vad:
            await self.respond({}, None)

    async def respond(self, asked, event_id):
        metadata = asked.get("metadata") or {}
        if metadata.get("refuse"):
            error = {"type": "invalid_request_error", "code": metadata["refuse"], "message": "No."}
            await self.send("error", error={**error, "event_id": event_id, "param": None})
            return
        count = int(metadata.get("chunks", "8"))
        words = list(itertools.islice(itertools.cycle(WORDS), count))
        ident = f"resp_{next(_numbers)}"
        response = {
            "object": "realtime.response",
            "id": ident,
            "status": "in_progress",
            "output": [],
            "conversation_id": "conv_1",
            "metadata": metadata or None,
            "usage": None,
        }
        place = {"response_id": ident, "item_id": "item_0", "output_index": 0, "content_index": 0}
        await self.send("response.created", response=response)
        said = []
        for word in words:
            said.append(word)
            piece = word if len(said) == 1 else " " + word
            await self.send(f"response.{self.audio}_transcript.delta", delta=piece, **place)
            sound = base64.b64encode(bytes(999)).decode()
            await self.send(f"response.{self.audio}.delta", delta=sound, **place)
            if len(said) == 4 and metadata.get("close"):
                await self._close(int(metadata["close"]))
                return
            await asyncio.sleep(0.002)
        part = {"type": self.audio, "transcript": " ".join(said)}
        message = {"id": "item_0", "type": "message", "status": "completed", "role": "assistant"}
        response["output"] = [{**message, "content": [part]}]
        if metadata.get("tool"):
            arguments = json.dumps({"of": metadata["tool"]})
            call = {"id": "item_1", "type": "function_call", "status": "completed"}
            call = {**call, "name": metadata["tool"], "call_id": "call_1", "arguments": arguments}
            response["output"].append(call)
        response["status"] = metadata.get("status", "completed")
        if response["status"] == "failed":
            error = {"type": "server_error", "code": "overloaded", "message": "Too many."}
            response["status_details"] = {"type": "failed", "error": error}
        response["usage"] = {
            "total_tokens": 100 + count,
            "input_tokens": 100,
            "output_tokens": count,
            self.details[0]: {"text_tokens": 60, "audio_tokens": 40, "cached_tokens": 0},
            self.details[1]: {"text_tokens": 2, "audio_tokens": count - 2},
        }
        await self.send("response.done", response=response)
