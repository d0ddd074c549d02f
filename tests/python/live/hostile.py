"""A server that answers badly, over TLS on loopback; the first line printed is the port.

    hostile.py --certs DIR --stop-with-stdin

How it answers a request is said by the model's name: see `ANSWERS`. What is not HTTP it echoes.
"""

import asyncio
import gzip
import json
import os
import ssl
import sys
import threading

MIB = 1 << 20
GOOD = {
    "id": "chatcmpl-good",
    "object": "chat.completion",
    "model": "good-2026",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3},
}


def answer(body, *headers):
    lines = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", "connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def good():
    yield answer(json.dumps(GOOD).encode(), "content-type: application/json")


def endless_headers():
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(64):
        yield (b"x-more-%d: " % number + b"y" * 1000 + b"\r\n") * 1024


def endless_header():
    yield b"HTTP/1.1 200 OK\r\nx-long: "
    for _ in range(64):
        yield b"y" * MIB


def malformed():
    yield b"HTTP/1.1 two hundred\r\n: nothing\r\n\x00\xff: \r\ncontent-length: -5\r\n\r\n" + b"z" * MIB


def lying_chunks():
    yield b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    yield b"ffffffffffffffffff\r\n" + b"{" * MIB


def gzip_bomb():
    """A gigabyte of one letter, packed."""
    text = b'{"model":"bomb-2026","choices":[{"message":{"content":"'
    packed = gzip.compress(text + b"a" * (512 * MIB), 1)
    yield answer(packed, "content-type: application/json", "content-encoding: gzip")


def long_line():
    yield b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    yield b'data: {"id":"chatcmpl-long","choices":[{"index":0,"delta":{"content":"'
    for _ in range(100):
        yield b"b" * MIB
    yield b'"}}]}\n\ndata: [DONE]\n\n'


def deep_json():
    yield answer(b'{"choices":' + b"[" * (3 * MIB), "content-type: application/json")


ANSWERS = {
    "good": good,
    "endless-headers": endless_headers,
    "endless-header": endless_header,
    "malformed": malformed,
    "lying-chunks": lying_chunks,
    "gzip-bomb": gzip_bomb,
    "long-line": long_line,
    "deep-json": deep_json,
}


async def serve(reader, writer):
    try:
        start = await reader.readexactly(4)
        if start != b"POST":
            writer.write(start)
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            return
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
        body = json.loads(await reader.readexactly(length))
        for piece in ANSWERS[body["model"]]():
            writer.write(piece)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    directory = sys.argv[sys.argv.index("--certs") + 1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        os.path.join(directory, "server.pem"), os.path.join(directory, "server.key")
    )
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch():
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, daemon=True).start()
    await stop.wait()


asyncio.run(main())
