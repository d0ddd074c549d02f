"""How the web applications of the tests call a model: with the request's id in the prompt."""

import json
import os
import socket
import ssl
import sys
import threading

import httpx

URL = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
HEADERS = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}

plain = httpx.Client(limits=httpx.Limits(max_connections=None))


def body(id):
    return {
        "model": "web",
        "messages": [{"role": "user", "content": f"request {id}."}],
        "metadata": {"first_delay_ms": "20"},
    }


def call(id):
    plain.post(URL, json=body(id), headers=HEADERS).raise_for_status()


async def acall(id, client=None):
    if client is None:
        async with httpx.AsyncClient() as client:
            return await acall(id, client)
    answer = await client.post(URL, json=body(id), headers=HEADERS)
    answer.raise_for_status()


def verified():
    """What aiohttp is to verify the model's server by."""
    if URL.startswith("https"):
        return ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    return False


def listening():
    """A socket of loopback that listens; its port is printed, by which the program says that it
    may be asked."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)
    return listener


def serve(answer):
    """A threaded server of loopback: what it answers, as JSON, is what `answer` gives for a path and the
    request's id, none where it has none. It prints its port, and ends with standard input."""

    # The others of these programs are servers of other kinds.
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from urllib.parse import parse_qs, urlsplit

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlsplit(self.path)
            said = json.dumps(answer(url.path, parse_qs(url.query).get("id", [None])[0])).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_):
            pass

    listener = listening()
    server = ThreadingHTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.daemon_threads = True
    ends_with_input(server.shutdown)
    server.serve_forever()


def gunicorn(application, *options):
    """Becomes gunicorn."""
    listener = listening()
    listener.set_inheritable(True)
    command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}"]
    command += ["--log-level", "error", "--no-control-socket", *options]
    command += ["--pythonpath", os.path.dirname(os.path.abspath(__file__))]
    os.execv(command[0], [*command, application])


def ends_with_input(end):
    """Calls `end` when standard input ends."""

    def wait():
        sys.stdin.read()
        end()

    threading.Thread(target=wait, daemon=True).start()
