"""A gateway: it serves a call and makes one, each request in a thread of its own kind.

    gateway.py --certs DIR --server NAME [--plain]

NAME is `threads` (the standard library's, a thread for each connection), `sync` (gunicorn, one request
at a time), `gthread` (gunicorn, threads that take turns) or `asyncio` (uvicorn, one loop for all).
It asks OPENAI_BASE_URL. The first line printed is the port.

    POST …/chat/completions    is handed on, and its answer back
    POST /ask                  asks twice, and answers with both texts
    GET /health                asks nobody
"""

import argparse
import json
import os
import ssl
import sys
import threading
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

UPSTREAM = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
# Headers of the request that go on to the provider.
TRACED = ("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled")
PASSED = TRACED if os.environ.get("GATEWAY_PASSES") else ()


def ask(body, headers=None):
    request = urllib.request.Request(UPSTREAM, json.dumps(body).encode(), headers or {})
    request.add_header("content-type", "application/json")
    context = None
    if UPSTREAM.startswith("https"):
        context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return answer.status, answer.headers.get("content-type"), answer.read()


def respond(path, body, headers):
    """Status, content type and body."""
    if path == "/health":
        return 200, "text/plain", b"fine"
    headers = {name: headers[name] for name in PASSED if headers.get(name)}
    asked = json.loads(body)
    if path.endswith("/chat/completions"):
        return ask(asked, headers)
    texts = []
    for number in range(2):
        message = {"role": "user", "content": f"{asked['text']} {number}"}
        asks = {"model": asked["text"], "messages": [message], "metadata": {"first_delay_ms": "30"}}
        texts.append(json.loads(ask(asks, headers)[2])["choices"][0]["message"]["content"])
    return 200, "application/json", json.dumps(texts).encode()


def application(environ, start_response):
    """WSGI."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    headers = {
        name[5:].lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    status, kind, answer = respond(environ["PATH_INFO"], body, headers)
    start_response(
        f"{status} Status", [("content-type", kind), ("content-length", str(len(answer)))]
    )
    return [answer]


async def loop_application(scope, receive, send):
    """ASGI: what asks runs in the loop's own thread between other requests."""
    import httpx

    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    asked = json.loads(body or b"{}")
    if scope["path"].endswith("/chat/completions"):
        async with httpx.AsyncClient(verify=verified(), timeout=30) as client:
            answer = await client.post(UPSTREAM, json=asked)
        answer = answer.content
    else:
        answer = b"fine"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def verified():
    if UPSTREAM.startswith("https"):
        return ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    return True


def main():
    import served

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certs", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--stop-with-stdin", action="store_true")
    options = parser.parse_args()
    certificate = os.path.join(options.certs, "server.pem")
    key = os.path.join(options.certs, "server.key")
    sock = served.listening()
    if options.server == "threads":
        threads(sock, options, certificate, key)
    elif options.server == "asyncio":
        import uvicorn

        config = uvicorn.Config(loop_application, log_level="warning", lifespan="off")
        served.announce(sock)
        uvicorn.Server(config).run(sockets=[sock])
    else:
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{sock.fileno()}"]
        command += ["--workers", "1", "--log-level", "error", "--no-control-socket"]
        command += ["--pythonpath", os.path.dirname(os.path.abspath(__file__))]
        if options.server == "gthread":
            command += ["--worker-class", "gthread", "--threads", "4"]
        if not options.plain:
            command += ["--certfile", certificate, "--keyfile", key]
        served.announce(sock)
        os.execv(command[0], [*command, "gateway:application"])


def threads(sock, options, certificate, key):
    import served
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

        def process_request_thread(self, request, address):
            if not options.plain:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate, key)
                request = context.wrap_socket(request, server_side=True)
            super().process_request_thread(request, address)

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_):
            pass

    server = Server(sock.getsockname(), Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = sock
    server.server_name, server.server_port = "localhost", sock.getsockname()[1]
    server.setup_environ()
    server.set_app(application)
    if options.stop_with_stdin:
        threading.Thread(target=served.until_closed, daemon=True).start()
    served.announce(sock)
    server.serve_forever()


if __name__ == "__main__":
    main()
