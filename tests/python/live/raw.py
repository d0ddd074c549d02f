"""A client that reads whatever comes: raw.py

Prints `ready`, then for each line of standard input:

    {"model": "good"}         a chat call on a connection of its own, read to its end
    {"words": N, "size": S}   N messages of S bytes each way that are not HTTP, on one connection
"""

import json
import os
import socket
import sys
from urllib.parse import urlsplit

import ssl

BASE = urlsplit(os.environ["OPENAI_BASE_URL"])


def connect():
    context = ssl.create_default_context()
    plain = socket.create_connection((BASE.hostname, BASE.port), timeout=60)
    return context.wrap_socket(plain, server_hostname=BASE.hostname)


def call(model):
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "one two"}]})
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    total = 0
    with connect() as connection:
        connection.sendall((head + body).encode())
        try:
            while True:
                data = connection.recv(65536)
                if not data:
                    break
                total += len(data)
        except OSError:
            pass
    return total


def words(count, size):
    total = 0
    with connect() as connection:
        for _ in range(count):
            connection.sendall(b"\x16\x00\xff\x01" * (size // 4))
            missing = size
            while missing:
                missing -= len(connection.recv(missing))
            total += size
    return total


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        step = json.loads(line)
        if "model" in step:
            total = call(step["model"])
        else:
            total = words(step["words"], step["size"])
        print(json.dumps({"bytes": total}), flush=True)


if __name__ == "__main__":
    main()
