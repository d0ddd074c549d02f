"""A provider that costs little: canned answers over TLS on loopback, a thread for each connection.

    soak_provider.py --certs DIR --stop-with-stdin

A request whose body says `"stream": true` is answered by a few events, any other by a document; each answer
has an id of its own. The first line printed is the port.
"""

import argparse
import itertools
import json
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from provider import tls_context

NUMBERS = itertools.count(1)
WORDS = ["The", " sky", " is", " blue."]


def event(document):
    data = b"data: " + json.dumps(document).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def answers():
    """The two answers, with `@ID@` where the id is to be."""
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    head = {"id": "@ID@", "created": 1, "model": "soak-2026"}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "".join(WORDS)}}
    plain = json.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    of_plain = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    chunk = {**head, "object": "chat.completion.chunk"}
    deltas = [{"index": 0, "delta": {"content": word}, "finish_reason": None} for word in WORDS]
    deltas[-1]["finish_reason"] = "stop"
    events = [event({**chunk, "choices": [delta]}) for delta in deltas]
    events += [event({**chunk, "choices": [], "usage": usage}), b"e\r\ndata: [DONE]\n\n\r\n", b"0\r\n\r\n"]
    of_stream = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return (of_plain, plain), (of_stream, events)


(PLAIN_HEAD, PLAIN), (STREAM_HEAD, EVENTS) = answers()


def serve(stream, context):
    try:
        # Here, so that who shakes hands slowly holds up nobody else.
        with context.wrap_socket(stream, server_side=True) as tls:
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    piece = tls.recv(16384)
                    if not piece:
                        return
                    buffer += piece
                head, buffer = buffer.split(b"\r\n\r\n", 1)
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                while len(buffer) < length:
                    buffer += tls.recv(16384)
                body, buffer = buffer[:length], buffer[length:]
                # As long as what it stands for: the lengths of chunks stay true.
                number = b"%04x" % (next(NUMBERS) & 0xFFFF)
                if b'"stream": true' in body:
                    tls.sendall(STREAM_HEAD)
                    for piece in EVENTS:
                        tls.sendall(piece.replace(b"@ID@", number))
                else:
                    tls.sendall(PLAIN_HEAD % len(PLAIN) + PLAIN.replace(b"@ID@", number))
    except OSError:
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certs", required=True, help="directory of server.pem and server.key")
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when stdin is closed")
    parser.set_defaults(tls12=False, http2=False)
    options = parser.parse_args()
    context = tls_context(options)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)

    def accept():
        while True:
            stream, _ = listener.accept()
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(stream, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    if options.stop_with_stdin:
        sys.stdin.read()
    else:
        threading.Event().wait()


if __name__ == "__main__":
    main()
