"""A server of the Model Context Protocol, with the `mcp` package: two tools, a
prompt and a resource.

    mcp_server.py

Streamable HTTP on loopback, through uvicorn. The first line printed is the port. It ends with its
standard input.
"""

import os
import socket
import sys
import threading

import uvicorn
from mcp.server import MCPServer

app = MCPServer("clocks")


@app.tool()
def clock(zone: str) -> str:
    return f"It is noon in {zone}"


@app.tool()
def broken() -> str:
    raise ValueError("there is no clock")


@app.prompt()
def greet(name: str) -> str:
    return f"Say hello to {name}"


@app.resource("clock://zones")
def zones() -> str:
    return "UTC"


def until_closed():
    while sys.stdin.buffer.read1(4096):
        pass
    os._exit(0)


def main():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    threading.Thread(target=until_closed, daemon=True).start()
    config = uvicorn.Config(app.streamable_http_app(), log_level="warning")
    config.load()
    print(sock.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
