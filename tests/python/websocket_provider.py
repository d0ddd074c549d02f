"""A provider stand-in over WebSocket, on loopback: OpenAI's Realtime API and DashScope's two.

    python websocket_provider.py --certs DIR [--plain]

Needs the `websockets` package. The first line printed is the port. What it answers is in
`standin/realtime.py` and `standin/inference.py`; a model called `error-401` is refused at the
handshake.
"""

import argparse
import asyncio
import http
import threading
import urllib.parse

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

import provider
from standin import inference, realtime


async def connection(socket):
    target = urllib.parse.urlsplit(socket.request.path)
    query = dict(urllib.parse.parse_qsl(target.query))
    try:
        if target.path.endswith("/inference"):
            session = inference.Session(socket.send)
        else:
            model = query.get("model") if "/api-ws/" in target.path else None
            session = realtime.Session(model, socket.send, socket.close)
            await session.begin()
        async for message in socket:
            await session.take(message)
    except ConnectionClosed:
        pass


def refuse(socket, request):
    if "model=error-401" in request.path:
        body = '{"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}'
        return socket.respond(http.HTTPStatus.UNAUTHORIZED, body)
    return None


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certs", required=True)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--stop-with-stdin", action="store_true")
    options = parser.parse_args()
    options.tls12 = options.http2 = False
    context = None if options.plain else provider.tls_context(options)
    if context:
        context.set_alpn_protocols(["http/1.1"])
    stop = asyncio.Event()
    async with serve(
        connection,
        "127.0.0.1",
        0,
        ssl=context,
        process_request=refuse,
        subprotocols=["realtime"],
        select_subprotocol=lambda _, offered: "realtime" if "realtime" in offered else None,
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        if options.stop_with_stdin:
            loop = asyncio.get_running_loop()
            threading.Thread(target=provider.watch_stdin, args=(loop, stop), daemon=True).start()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
