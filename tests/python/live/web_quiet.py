"""An application that has no client library: it serves, and calls a model when it is asked to.

    web_quiet.py

serves on a free port of loopback, prints it, and ends with its standard input. `/hello` answers;
`/call` calls the model with the request's `id` in the prompt.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import urllib.parse

import uvicorn


def call(id):
    # Late, as many programs import what few requests need.
    import http.client
    import ssl

    url = urllib.parse.urlsplit(os.environ["OPENAI_BASE_URL"])
    trusted = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    connection = http.client.HTTPSConnection(url.hostname, url.port, context=trusted)
    body = {"model": "web", "messages": [{"role": "user", "content": f"request {id}."}]}
    headers = {"content-type": "application/json"}
    connection.request("POST", url.path + "/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 200, answer.status


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/call":
        id = urllib.parse.parse_qs(scope["query_string"].decode())["id"][0]
        await asyncio.to_thread(call, id)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


def until_closed():
    while sys.stdin.buffer.read1(4096):
        pass
    os._exit(0)


def main():
    threading.Thread(target=until_closed, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    config.load()
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
