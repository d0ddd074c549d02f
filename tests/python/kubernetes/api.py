"""A stand-in for the API server of Kubernetes, and for the kubelet of a node: what a client that lists and watches
pods, or asks for those of a node (`/pods`), needs of them.

    api.py DIRECTORY TOKEN

It speaks HTTPS on loopback, by a certificate that it makes in DIRECTORY with the `openssl` command (`api.pem`, which is
for clients to trust), prints `ready`, then reads a JSON document from each line of standard input, does what
it says, and prints one line for it:

    {"do": "port"}                                  where it listens
    {"do": "put", "pod": {…}}                       a pod is new or changed
    {"do": "delete", "uid": "…"}
    {"do": "kubelet", "node": "…"}                  whose kubelet it is as well
    {"do": "own", "path": "apis/…", "object": {…}}  what controls pods; others are 404
    {"do": "token", "token": "…"}                   another token from here on; open watches are closed
    {"do": "expire"}                                what was is forgotten: open watches end with 410
    {"do": "down"} {"do": "up"}                     nobody is answered
    {"do": "raw", "text": "…"}                      a line to those who watch
    {"do": "seen"}                                  how often what was asked for

A list comes in pages as the client wants them, a watch in chunks that begin and end in the middle of events.
"""

import json
import pathlib
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class State:
    """What the cluster is like. All of it is under one lock."""

    def __init__(self, token):
        self.changed = threading.Condition()
        self.token = token
        self.version = 100
        self.oldest = 100
        self.pods = {}
        self.events = []
        self.owners = {}
        self.down = False
        self.node = None
        # Watches that were opened before the last of these are over.
        self.generation = 0
        self.seen = {}

    def note(self, what):
        with self.changed:
            self.seen[what] = self.seen.get(what, 0) + 1

    def event(self, kind, pod):
        self.version += 1
        pod.setdefault("metadata", {})["resourceVersion"] = str(self.version)
        line = json.dumps({"type": kind, "object": pod})
        self.events.append((self.version, pod["spec"]["nodeName"], line))
        self.changed.notify_all()


def handler(state):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            if state.down:
                self.close_connection = True
                return
            with state.changed:
                allowed = self.headers.get("Authorization") == f"Bearer {state.token}"
            if not allowed:
                state.note("unauthorized")
                return self.status(401, "Unauthorized")
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            if url.path == "/pods" and state.node:
                state.note("kubelet")
                with state.changed:
                    pods = [p for p in state.pods.values() if p["spec"]["nodeName"] == state.node]
                    text = json.dumps({"kind": "PodList", "metadata": {}, "items": pods})
                return self.answer(text)
            if url.path != "/api/v1/pods":
                state.note("owner")
                with state.changed:
                    found = state.owners.get(url.path.lstrip("/"))
                return self.answer(found) if found else self.status(404, "NotFound")
            node = query.get("fieldSelector", "").partition("spec.nodeName=")[2]
            if query.get("watch") == "1":
                state.note("watch")
                return self.watch(node, int(query["resourceVersion"]), float(query["timeoutSeconds"]))
            state.note("list")
            first = int(query.get("continue", "0"))
            limit = int(query.get("limit", "500"))
            with state.changed:
                pods = [p for p in state.pods.values() if p["spec"]["nodeName"] == node]
                more = str(first + limit) if len(pods) > first + limit else ""
                about = {"resourceVersion": str(state.version), "continue": more}
                text = {"kind": "PodList", "metadata": about, "items": pods[first : first + limit]}
                text = json.dumps(text)
            self.answer(text)

        def answer(self, text, code=200):
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def status(self, code, reason):
            self.answer(json.dumps({"kind": "Status", "code": code, "reason": reason}), code)

        def watch(self, node, version, seconds):
            with state.changed:
                generation = state.generation
                if version < state.oldest:
                    generation = None
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            rest = b""
            while generation is not None:
                with state.changed:
                    if not state.changed.wait_for(
                        lambda: state.generation != generation
                        or any(at > version for at, _, _ in state.events),
                        timeout=seconds,
                    ):
                        break
                    new = [(at, line) for at, of, line in state.events if at > version and of in (node, "*")]
                    version = max([version] + [at for at, _, _ in state.events])
                    over, oldest = state.generation != generation, state.oldest
                for _, line in new:
                    data = rest + line.encode() + b"\n"
                    # What follows comes with the next one, or a moment later.
                    half = len(data) // 2
                    self.chunk(data[:half])
                    rest = data[half:]
                self.chunk(rest)
                rest = b""
                if over:
                    generation = None if oldest > version else generation
                    break
            if generation is None:
                gone = {"kind": "Status", "code": 410, "message": "too old resource version"}
                self.chunk(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            self.chunk(b"")

        def chunk(self, data):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

    return Handler


def do(state, step):
    what = step["do"]
    with state.changed:
        if what == "put":
            pod = step["pod"]
            uid = pod["metadata"]["uid"]
            kind = "MODIFIED" if uid in state.pods else "ADDED"
            state.pods[uid] = pod
            state.event(kind, pod)
        elif what == "delete":
            state.event("DELETED", state.pods.pop(step["uid"]))
        elif what == "kubelet":
            state.node = step["node"]
        elif what == "own":
            state.owners[step["path"]] = json.dumps(step["object"])
        elif what == "token":
            state.token = step["token"]
            state.generation += 1
        elif what == "expire":
            state.version += 10
            state.oldest = state.version
            state.events.clear()
            state.generation += 1
        elif what in ("down", "up"):
            state.down = what == "down"
            state.generation += 1
        elif what == "raw":
            state.version += 1
            state.events.append((state.version, "*", step["text"]))
        elif what == "seen":
            return state.seen
        else:
            raise ValueError(what)
        state.changed.notify_all()
    return {}


# No authority of its own: strict clients take none for a server.
SERVER = """
[req]
distinguished_name = name
x509_extensions = server
[name]
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1
"""


def certificate(directory):
    settings, certificate, key = (directory / name for name in ("api.cnf", "api.pem", "api.key"))
    settings.write_text(SERVER)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=api", "-config", settings]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    return certificate, key


def main():
    directory, token = sys.argv[1:]
    certificate_file, key = certificate(pathlib.Path(directory))
    state = State(token)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key)
    # In the thread of the connection: one that says nothing holds nobody up.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        step = json.loads(line)
        port = step["do"] == "port"
        done = {"port": server.server_address[1]} if port else do(state, step)
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
