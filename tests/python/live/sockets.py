"""A program that speaks to a provider over WebSocket as it is told to.

    sockets.py CLIENT [--uvloop]

CLIENT is one of those at the end of this file. It prints `ready`, then reads a JSON document from
each line of standard input, does what it says, and prints one line with what the client saw.

    {"do": "connect", "model": "m"}
    {"do": "responses", "asked": [{…}, …]}     `response.create` with each of these, one after the other
    {"do": "speak", "bytes": N}                sound, committed; the server answers by itself
    {"do": "close"}
    {"do": "synthesize" | "recognize", "model": "m", …}    a task, with the `dashscope` package
    {"do": "converse", "model": "m", "bytes": N}           a turn of sound, with the same
"""

import asyncio
import base64
import json
import os
import ssl
import sys
import urllib.parse

BASE = urllib.parse.urlsplit(os.environ["OPENAI_BASE_URL"])
SOCKET = ("wss" if BASE.scheme == "https" else "ws") + "://" + BASE.netloc
HEADERS = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
# The key as browsers send it.
SUBPROTOCOLS = ["realtime", "openai-insecure-api-key." + os.environ["OPENAI_API_KEY"]]


def context():
    if BASE.scheme != "https":
        return None
    return ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])


def address(model):
    return f"{SOCKET}/v1/realtime?model={model}"


class Seen:
    """What a client saw of one response."""

    def __init__(self, model):
        self.call = {
            "operation": "chat",
            "request_model": model,
            "stream": True,
            "texts": [],
            "tools": [],
            "finish": [],
            "chunks": 0,
            "model": "gpt-realtime-2025-08-28",
        }

    def take(self, event):
        """Whether the response is over."""
        kind = event["type"]
        if kind.endswith(".delta"):
            self.call["chunks"] += 1
        if kind == "error":
            self.call["error"] = event["error"].get("code")
            return True
        if kind != "response.done":
            return False
        response = event["response"]
        self.call["id"] = response["id"]
        usage = response["usage"]
        self.call["input"], self.call["output"] = usage["input_tokens"], usage["output_tokens"]
        for item in response["output"]:
            if item["type"] == "message":
                text = "".join(part.get("transcript") or part.get("text") for part in item["content"])
                self.call["texts"].append(text)
            else:
                self.call["tools"].append([item["name"], json.loads(item["arguments"])])
        status = response["status"]
        called = any(item["type"] == "function_call" for item in response["output"])
        ends = {"completed": "tool_calls" if called else "stop", "failed": "error"}
        self.call["finish"] = [ends.get(status, status)]
        return True


# How often it is tried to connect, and how long it is waited each time, in seconds.
TIMES = 4
PATIENCE = 3


class Speaker:
    """What all clients of the Realtime API do; `send` and `receive` are theirs, of JSON."""

    async def responses(self, step):
        seen = []
        for asked in step["asked"]:
            item = {"type": "message", "role": "user"}
            item["content"] = [{"type": "input_text", "text": "How is the weather?"}]
            await self.send({"type": "conversation.item.create", "item": item})
            await self.send({"type": "response.create", "event_id": "mine", "response": asked})
            seen.append(await self.heard())
        return seen

    async def speak(self, step):
        left = step["bytes"]
        while left > 0:
            piece = bytes(min(left, 3000))
            left -= len(piece)
            audio = base64.b64encode(piece).decode()
            await self.send({"type": "input_audio_buffer.append", "audio": audio})
        await self.send({"type": "input_audio_buffer.commit"})
        return [await self.heard()]

    async def heard(self):
        seen = Seen(self.model)
        try:
            while not seen.take(await self.receive()):
                pass
        except Exception as error:
            seen.call["error"] = type(error).__name__
        return seen.call

    async def connect(self, step):
        self.model = step["model"]
        try:
            await self.open(address(step["model"]), step)
            event = await self.receive()
            assert event["type"] == "session.created", event
        except Exception as error:
            return {"error": type(error).__name__}
        return {}


def answered(connect):
    """Connects, if need be again: for clients that read in a thread of their own. They have two threads at one TLS
    connection, which no OpenSSL allows; on a busy machine one in a hundred is not answered then, traced or not."""
    for left in reversed(range(TIMES)):
        try:
            return connect()
        except TimeoutError:
            if not left:
                raise


class OpenAiAsync(Speaker):
    def __init__(self):
        import openai

        self.client = openai.AsyncOpenAI()

    async def open(self, _, step):
        self.manager = self.client.realtime.connect(model=step["model"])
        self.connection = await self.manager.enter()

    async def send(self, event):
        await self.connection.send(event)

    async def receive(self):
        return (await self.connection.recv()).model_dump()

    async def close(self, _):
        await self.connection.close()
        return {}


class OpenAi(Speaker):
    def __init__(self):
        import openai

        self.client = openai.OpenAI()

    async def open(self, _, step):
        options = {"open_timeout": PATIENCE}
        realtime = self.client.realtime
        self.connection = answered(
            lambda: realtime.connect(model=step["model"], websocket_connection_options=options).enter()
        )

    async def send(self, event):
        self.connection.send(event)

    async def receive(self):
        return self.connection.recv().model_dump()

    async def close(self, _):
        self.connection.close()
        return {}


class Websockets(Speaker):
    compression = "deflate"

    async def open(self, url, step):
        from websockets.asyncio.client import connect

        self.connection = await connect(
            url,
            ssl=context(),
            compression=self.compression,
            additional_headers=HEADERS,
            subprotocols=SUBPROTOCOLS,
        )
        extensions = [e.name for e in self.connection.protocol.extensions]
        assert extensions == (["permessage-deflate"] if self.compression else []), extensions

    async def send(self, event):
        await self.connection.send(json.dumps(event))

    async def receive(self):
        return json.loads(await self.connection.recv())

    async def close(self, _):
        await self.connection.close()
        return {}


class WebsocketsPlain(Websockets):
    compression = None


class WebsocketsSync(Speaker):
    async def open(self, url, step):
        from websockets.sync.client import connect

        more = {"additional_headers": HEADERS, "subprotocols": SUBPROTOCOLS, "open_timeout": PATIENCE}
        self.connection = answered(lambda: connect(url, ssl=context(), **more))

    async def send(self, event):
        self.connection.send(json.dumps(event))

    async def receive(self):
        return json.loads(self.connection.recv())

    async def close(self, _):
        self.connection.close()
        return {}


class Aiohttp(Speaker):
    async def open(self, url, step):
        import aiohttp

        self.session = aiohttp.ClientSession()
        self.connection = await self.session.ws_connect(
            url, ssl=context() or True, headers=HEADERS, protocols=SUBPROTOCOLS, compress=15
        )

    async def send(self, event):
        await self.connection.send_str(json.dumps(event))

    async def receive(self):
        return json.loads((await self.connection.receive_str()))

    async def close(self, _):
        await self.connection.close()
        await self.session.close()
        return {}


class WebsocketClient(Speaker):
    async def open(self, url, step):
        import websocket

        options = {"ca_certs": os.environ["SSL_CERT_FILE"]}
        self.connection = websocket.create_connection(
            url, sslopt=options, header=HEADERS, subprotocols=SUBPROTOCOLS
        )

    async def send(self, event):
        self.connection.send(json.dumps(event))

    async def receive(self):
        return json.loads(self.connection.recv())

    async def close(self, _):
        self.connection.close()
        return {}


class DashScope:
    def __init__(self):
        import dashscope

        dashscope.api_key = os.environ["OPENAI_API_KEY"]
        dashscope.base_websocket_api_url = SOCKET + "/api-ws/v1/inference"

    async def synthesize(self, step):
        if step.get("old"):
            from dashscope.audio.tts import SpeechSynthesizer

            result = SpeechSynthesizer.call(model=step["model"], text=step["text"], sample_rate=16000)
            return {"bytes": len(result.get_audio_data() or b"")}
        from dashscope.audio.tts_v2 import ResultCallback, SpeechSynthesizer

        callback = ResultCallback() if step["texts"] else None
        synthesizer = SpeechSynthesizer(model=step["model"], voice="v", callback=callback)
        sound = b""
        try:
            if callback is None:
                sound = synthesizer.call(step["text"], timeout_millis=8000) or b""
            for piece in step["texts"]:
                synthesizer.streaming_call(piece)
            if callback is not None:
                synthesizer.streaming_complete(8000)
        except Exception as error:
            return {"error": type(error).__name__}
        return {"bytes": len(sound), "id": synthesizer.get_last_request_id()}

    async def recognize(self, step):
        from dashscope.audio.asr import Recognition, RecognitionCallback

        class Callback(RecognitionCallback):
            sentences = []

            def on_event(self, result):
                sentence = result.get_sentence()
                if sentence.get("sentence_end"):
                    self.sentences.append(sentence["text"])

        callback = Callback()
        callback.sentences = []
        recognition = Recognition(
            model=step["model"], format="pcm", sample_rate=16000, callback=callback
        )
        recognition.start()
        for _ in range(step["frames"]):
            recognition.send_audio_frame(bytes(3200))
            await asyncio.sleep(0.01)
        recognition.stop()
        return {"texts": callback.sentences, "id": recognition.get_last_request_id()}


    async def converse(self, step):
        import threading

        from dashscope.audio.qwen_omni import (
            MultiModality,
            OmniRealtimeCallback,
            OmniRealtimeConversation,
        )

        over = threading.Event()
        said, ids = [], []

        class Callback(OmniRealtimeCallback):
            def on_open(self):
                pass

            def on_close(self, status, message):
                over.set()

            def on_event(self, event):
                if event["type"] == "response.audio_transcript.delta":
                    said.append(event["delta"])
                elif event["type"] == "response.done":
                    ids.append(event["response"]["id"])
                    over.set()

        conversation = OmniRealtimeConversation(
            model=step["model"], callback=Callback(), url=SOCKET + "/api-ws/v1/realtime"
        )
        conversation.connect()
        conversation.update_session(
            output_modalities=[MultiModality.AUDIO, MultiModality.TEXT],
            voice="v",
            input_audio_transcription_model="gummy-realtime-v1",
        )
        conversation.append_audio(base64.b64encode(bytes(step["bytes"])).decode())
        conversation.commit()
        over.wait(10)
        conversation.close()
        return {"text": "".join(said), "id": ids[0] if ids else None}


CLIENTS = {
    "openai": OpenAi,
    "openai-async": OpenAiAsync,
    "websockets": Websockets,
    "websockets-plain": WebsocketsPlain,
    "websockets-sync": WebsocketsSync,
    "aiohttp": Aiohttp,
    "websocket-client": WebsocketClient,
    "dashscope": DashScope,
}


async def main():
    client = CLIENTS[sys.argv[1]]()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        step = json.loads(line)
        answer = await getattr(client, step["do"])(step)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if "--uvloop" in sys.argv:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
