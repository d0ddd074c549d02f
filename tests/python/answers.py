"""A server on loopback that answers requests of real packages as a plan says.

Needs nothing but Python 3.8's standard library, and the `openssl` command for a certificate of the
hosts that the packages believe to speak to. The first line printed has two ports: that of TLS, and
that of the control, which knows `/select`, `/set` and `/log` as the driver asks for them.

    python answers.py --plan FILE --dir DIR

The plan is that of `replay/drive.py`, each exchange with its answer: status, headers, body in
base64. DIR gets the certificate, as `ca.pem`.
"""

import argparse
import base64
import http.server
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from urllib.parse import unquote, urlsplit


class State:
    """Which recording is answered from, and what was served of it."""

    def __init__(self, plan):
        self.recordings = {r["file"]: r["exchanges"] for r in plan["recordings"]}
        self.selected = []
        self.used = set()
        self.log = []

    def select(self, name):
        self.selected = self.recordings.get(name, [])
        self.used.clear()
        return name if name in self.recordings else None

    def answer(self, method, target, accepts):
        """The first exchange of this target that was not served yet."""
        path = unquote(urlsplit(target).path)
        for exchange in self.selected:
            index = exchange["index"]
            same = exchange["method"] == method and unquote(exchange["path"]) == path
            if same and index not in self.used:
                self.used.add(index)
                entry = {"t": time.time(), "idx": index, "enc": "", "accept_encoding": accepts}
                self.log.append(entry)
                return exchange
        return None


def handler(state):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer("GET")

        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.answer("POST")

        def answer(self, method):
            found = state.answer(method, self.path, self.headers.get("accept-encoding"))
            if found is None:
                self.send_error(599)
                return
            headers = dict(found["answer_headers"])
            body = base64.b64decode(found["answer"])
            streams = "stream" in headers.get("content-type", "") or "ndjson" in headers["content-type"]
            self.send_response(found["status"])
            for name, value in headers.items():
                self.send_header(name, value)
            if not streams:
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in pieces(body):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_):
            pass

    return Handler


def pieces(body):
    """Events or lines; frames as they fall."""
    if body.startswith(b"\0"):
        return [body[at : at + 97] for at in range(0, len(body), 97)]
    return [p for p in re.findall(rb"[^\n]*\n\n?", body)]


def control(state):
    class Control(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            told, state.log = state.log, []
            self.tell(told)

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            selected = state.select(asked["file"]) if self.path == "/select" else None
            self.tell({"selected": selected})

        def tell(self, value):
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Control


def certificate(directory, hosts):
    """A certificate of these hosts that is its own authority."""
    chain, key = os.path.join(directory, "ca.pem"), os.path.join(directory, "server.key")
    names = ",".join("DNS:" + host for host in sorted(hosts)) + ",IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=localhost", "-keyout", key, "-out", chain]
    command += ["-addext", "subjectAltName=" + names]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit("openssl could not make a certificate: %s" % error)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plan", required=True)
    parser.add_argument("--dir", required=True)
    given = parser.parse_args()
    with open(given.plan) as plan:
        plan = json.load(plan)
    hosts = {x["host"].split(":")[0] for r in plan["recordings"] for x in r["exchanges"]}
    state = State(plan)
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    context = certificate(given.dir, {h for h in hosts if not h[0].isdigit()} | {"localhost"})
    serving.socket = context.wrap_socket(serving.socket, server_side=True)
    controlling = http.server.ThreadingHTTPServer(("127.0.0.1", 0), control(state))
    for server in (serving, controlling):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(serving.server_address[1], controlling.server_address[1], flush=True)
    while sys.stdin.buffer.read1(4096):
        pass


if __name__ == "__main__":
    main()
