"""Calls at a steady rate on one connection that is kept: soak_load.py PORT RATE CA

Prints `ready` when it is connected. The first line on standard input starts it, the second stops it: then it
prints how many calls it made, as JSON, and ends when its input does. Every fourth call is streamed. What costs
time here would be counted as the agent's, so there is no client library.
"""

import json
import socket
import ssl
import sys
import threading
import time

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer sk-test-0123456789abcdef\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


def request(stream):
    body = {"model": "soak", "messages": [{"role": "user", "content": "Why is the sky blue? " * 8}]}
    if stream:
        body.update(stream=True, stream_options={"include_usage": True})
    data = json.dumps(body).encode()
    return HEAD % len(data) + data


def answered(tls, stream):
    """Whether the whole of a good answer came."""
    data = b""
    while True:
        piece = tls.recv(65536)
        if not piece:
            return False
        data += piece
        if stream:
            if data.endswith(b"\r\n0\r\n\r\n"):
                return data.startswith(b"HTTP/1.1 200 ") and b"[DONE]" in data
        else:
            head, found, body = data.partition(b"\r\n\r\n")
            if found and len(body) >= int(head.split(b"content-length: ")[1].split(b"\r\n")[0]):
                return data.startswith(b"HTTP/1.1 200 ")


def main():
    port, rate, authority = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    context = ssl.create_default_context(cafile=authority)
    tls = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")
    tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain, streamed = request(False), request(True)
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    stop = threading.Event()

    def listen():
        sys.stdin.readline()
        stop.set()
        sys.stdin.read()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    made = failed = 0
    begun = time.monotonic()
    while not stop.is_set():
        stream = made % 4 == 3
        tls.sendall(streamed if stream else plain)
        made += 1
        failed += not answered(tls, stream)
        wait = begun + made / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
    print(json.dumps({"calls": made, "failed": failed}), flush=True)
    # The agent is to see that it is alive until it was looked at for the last time.
    listener.join()


if __name__ == "__main__":
    main()
