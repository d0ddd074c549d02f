"""How the web applications of the tests call a model: with the request's id in the prompt."""

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
