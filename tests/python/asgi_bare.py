"""The smallest application there is, for `cargo xtask bench sockets`: answers of two sizes.

    asgi_bare.py uvicorn|uvloop

Served by uvicorn, with asyncio and h11 or with uvloop and httptools. The first line printed is the
port. It ends with its standard input.
"""

import os
import socket
import sys
import threading

import uvicorn

ANSWERS = {"/small": b"x" * 16, "/large": b"x" * 8192}


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = ANSWERS[scope["path"]]
    length = str(len(body)).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def until_closed():
    while sys.stdin.buffer.read1(4096):
        pass
    os._exit(0)


def main():
    loop, http = {"uvicorn": ("asyncio", "h11"), "uvloop": ("uvloop", "httptools")}[sys.argv[1]]
    # asyncio turns Nagle's algorithm off only where the protocol is named.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen(512)
    threading.Thread(target=until_closed, daemon=True).start()
    config = uvicorn.Config(app, loop=loop, http=http, log_level="warning", access_log=False)
    config.load()
    print(sock.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
