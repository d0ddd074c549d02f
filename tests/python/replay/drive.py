"""Sends recorded requests again with a provider's real package, one after the other.

    drive.py --plan FILE --sender NAME --tls-port PORT --control PORT --ca FILE --out FILE [--http2]

The plan says which recordings, each with its exchanges, and in which ways they are to be answered,
as the comparison writes it. Whatever host a request is for, its connection goes to the replay server on loopback: names are not looked
up, and the TLS connection still names the recorded host. Nothing leaves the machine.

A request that the package cannot express goes out with the HTTP client that the package itself
uses, and is marked as raw.
"""

import argparse
import asyncio
import base64
import importlib
import json
import os
import socket
import sys
import urllib.request
from urllib.parse import urlsplit


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("plan", "sender", "ca", "out"):
        parser.add_argument("--" + name, required=True)
    for name in ("tls-port", "control"):
        parser.add_argument("--" + name, type=int, required=True)
    parser.add_argument("--http2", action="store_true")
    return parser.parse_args()


class Exchange:
    """A recorded request, and what is known of its answer."""

    def __init__(self, file, data):
        self.file = file
        self.index = data["index"]
        self.method = data["method"].upper()
        self.host = data["host"]
        self.path = data["path"]
        self.query = data["query"]
        self.headers = dict(data["headers"])
        self.raw = base64.b64decode(data["body"])
        self.status = data["status"]
        self.streams = data["streams"]
        try:
            self.body = json.loads(self.raw)
        except ValueError:
            self.body = None

    @property
    def is_async(self):
        """Whether it was recorded of an asynchronous client."""
        marked = self.headers.get("x-stainless-async", "")
        agent = self.headers.get("user-agent", "")
        return marked.startswith("async") or "async" in agent.lower() or "async" in self.file

    @property
    def origin(self):
        return "https://" + self.host

    @property
    def url(self):
        query = "?" + self.query if self.query else ""
        return self.origin + self.path + query


class Unsupported(Exception):
    """The package has no such request."""


def redirect(port, control):
    """Lets all connections but those to the control port end at the replay server."""
    connect = socket.socket.connect

    def elsewhere(self, address):
        if isinstance(address, tuple) and address[1] != control:
            address = ("127.0.0.1", port)
        return connect(self, address)

    look_up = socket.getaddrinfo

    def nowhere(host, port, *rest, **named):
        return look_up("127.0.0.1", port or 443, socket.AF_INET, socket.SOCK_STREAM)

    socket.socket.connect = elsewhere
    socket.getaddrinfo = nowhere


class Control:
    """The replay server's other port."""

    def __init__(self, port):
        self.base = "http://127.0.0.1:%d" % port

    def ask(self, path, data=None):
        body = None if data is None else json.dumps(data).encode()
        with urllib.request.urlopen(self.base + path, data=body) as answer:
            return json.load(answer)


def environment(ca):
    """What makes the packages trust the server, and not ask anybody for credentials."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        os.environ[name] = ca
    os.environ.pop("SSL_CERT_DIR", None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = "stand-in"
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["NO_PROXY"] = "*"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        os.environ.pop(name, None)
        os.environ.pop(name.lower(), None)


# Headers of the recorded request that say what it is, and hold nothing secret.
TELLING = (
    "accept",
    "anthropic-beta",
    "anthropic-version",
    "content-type",
    "openai-beta",
    "x-dashscope-async",
    "x-dashscope-sse",
)


def raw(x, options):
    """Sends it with the HTTP client that is there; gives that client's name."""
    headers = {k: v for k, v in x.headers.items() if k in TELLING}
    headers["authorization"] = "Bearer stand-in"
    if options.http_client == "urllib3":
        import urllib3

        pool = urllib3.PoolManager(ca_certs=options.ca)
        pool.request(x.method, x.url, body=x.raw, headers=headers, retries=False)
    elif options.http_client == "requests":
        import requests

        requests.request(x.method, x.url, data=x.raw, headers=headers, timeout=30)
    else:
        client = options.httpx_client()
        client.request(x.method, x.url, content=x.raw, headers=headers)
    return "raw " + options.http_client


class Options:
    """How requests are sent, for the senders."""

    def __init__(self, arguments):
        self.ca = arguments.ca
        self.http2 = arguments.http2
        self.connections = {}
        if self.http2:
            self.count_connections()
        self.http_client = next(filter(installed, ("httpx2", "httpx", "requests", "urllib3")))
        self._client = None

    def use(self, name):
        """The HTTP client that the package uses."""
        self.http_client = name

    def use_httpx_of(self, package):
        """The one that a package imports, as both may be installed."""
        inside = [m for n, m in sys.modules.items() if n.split(".")[0] == package]
        parts = [getattr(m, part, None) for m in inside for part in ("httpx", "httpx2")]
        newer = any(getattr(part, "__name__", "") == "httpx2" for part in parts)
        self.use("httpx2" if newer else "httpx")

    def httpx(self):
        return importlib.import_module(self.http_client)

    def count_connections(self):
        """Counts the protocols that TLS connections agree on.

        At the end of the handshake: what asks later asks the C object below where the client is
        synchronous (httpcore), which cannot be heard.
        """
        import ssl

        for kind in (ssl.SSLSocket, ssl.SSLObject):
            shake = kind.do_handshake

            def shaken(connection, *rest, shake=shake, **named):
                shake(connection, *rest, **named)
                name = connection.selected_alpn_protocol() or "none"
                self.connections[name] = self.connections.get(name, 0) + 1

            kind.do_handshake = shaken

    def client(self, asynchronous=False):
        """A client of httpx for a package that takes one."""
        import ssl

        httpx = self.httpx()
        context = ssl.create_default_context(cafile=self.ca)
        kind = httpx.AsyncClient if asynchronous else httpx.Client
        return kind(verify=context, http2=self.http2, timeout=30, follow_redirects=True)

    def httpx_client(self):
        if self._client is None:
            self._client = self.client()
        return self._client


def installed(name):
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def send(x, sender, options):
    """Sends one request; gives how, and what the package said of a failure."""
    if x.headers.get("upgrade"):
        return "skipped", None
    try:
        return sender.send(x), None
    except Unsupported:
        return raw(x, options), None
    except Exception as error:  # noqa: BLE001 whatever a package raises is what is told
        kind = type(error)
        said = "%s.%s: %s" % (kind.__module__, kind.__name__, str(error)[:300])
        return sender.via or "failed", said


def main():
    given = arguments()
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    environment(given.ca)
    redirect(given.tls_port, given.control)
    control = Control(given.control)
    options = Options(given)
    sender = importlib.import_module("senders." + given.sender).Sender(options)
    with open(given.plan) as plan:
        plan = json.load(plan)
    accepted, passes = None, []
    for one in plan["passes"]:
        coding = one["settings"]["encoding"]
        if accepted is not None and coding not in accepted and coding != "none":
            continue
        control.ask("/set", one["settings"])
        recordings = [replay(r, control, sender, options) for r in plan["recordings"]]
        passes.append({"encoding": one["name"], "recordings": recordings})
        if accepted is None:
            accepted = codings(recordings)
    report = {"sdk": sender.name, "version": sender.version, "passes": passes}
    report["connections"] = options.connections
    with open(given.out, "w") as out:
        json.dump(report, out)


def replay(recording, control, sender, options):
    """Sends the requests of a recording; gives what became of each."""
    name = recording["file"]
    if not control.ask("/select", {"file": name}).get("selected"):
        raise SystemExit("the replay server does not have " + name)
    control.ask("/log")
    sent = []
    for data in recording["exchanges"]:
        x = Exchange(name, data)
        sender.via = None
        via, error = send(x, sender, options)
        served = control.ask("/log")
        if error and not served:
            # The package refuses to send such a thing.
            via = raw(x, options)
            served = control.ask("/log")
        sent.append({"via": via, "error": error, "served": served})
    return {"file": name, "sent": sent}


def codings(recordings):
    """The content codings that some request accepts."""
    served = [a for r in recordings for s in r["sent"] for a in s["served"]]
    accepted = ",".join(a["accept_encoding"] or "" for a in served)
    return {part.split(";")[0].strip() for part in accepted.split(",")}


def run(coroutine):
    """asyncio.run, where the sender's client lives in one loop."""
    return asyncio.run(coroutine)


def path_after(path, mark):
    """What of a path follows `mark`, without a slash before it."""
    return urlsplit(path).path.split(mark, 1)[1].lstrip("/")


if __name__ == "__main__":
    # Senders import this module by its name.
    sys.modules["drive"] = sys.modules["__main__"]
    main()
