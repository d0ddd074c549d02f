"""What each way of reading plain sockets costs whom, on the machine's kernel.

The machine is one that counts instructions and has a clock by them, a nanosecond each: so what is
measured is CPU time and means instructions, and does not depend on how busy the host is. It does not
see what a trap costs beside its instructions.

    cost.py serve     a server with the smallest answer there is; the one that is traced
    cost.py others    calls on sockets and files of a program that is not
"""

import json
import os
import socket
import sys
import time

from children import GENSPAN, Child, Failed, python

HERE = os.path.abspath(__file__)
WAYS = ["libc", "fentry", "tracepoints", "syscalls"]

# Requests, and calls of each kind: measured, and before that. After eight requests the agent knows a
# connection as one that carries no calls to models.
WARM, REQUESTS, CALLS = 60, 400, 1500

REQUEST = (
    b"GET /health HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: cost\r\nAccept: */*\r\n"
    b"Accept-Encoding: identity\r\nConnection: keep-alive\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 16\r\n\r\n"
    b"as small as this"
)


def serve():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                done = start = 0
                while connection.recv(4096):
                    connection.send(ANSWER)
                    done += 1
                    if done == WARM:
                        start = time.process_time_ns()
                print((time.process_time_ns() - start) // (done - WARM), flush=True)


def ask(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(WARM + REQUESTS):
            connection.sendall(REQUEST)
            if len(connection.recv(4096)) != len(ANSWER):
                raise Failed("half an answer")


def pairs():
    """Calls with what they go over, by name."""
    one, other = socket.socketpair()
    yield "unix", lambda: (one.send(b"0123456789abcdef"), other.recv(16))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    yield "tcp", lambda: (client.send(b"0123456789abcdef"), server.recv(16))
    zero, null = os.open("/dev/zero", os.O_RDONLY), os.open("/dev/null", os.O_WRONLY)
    yield "files", lambda: (os.write(null, b"0123456789abcdef"), os.read(zero, 16))


def others():
    calls = dict(pairs())
    print("ready", flush=True)
    for _ in sys.stdin:
        told = {}
        for name, call in calls.items():
            for _ in range(100):
                call()
            start = time.process_time_ns()
            for _ in range(CALLS):
                call()
            # Two calls each.
            told[name] = (time.process_time_ns() - start) // (2 * CALLS)
        print(json.dumps(told), flush=True)


def once(server, port, program):
    ask(port)
    told = {"served": int(server.out.until(""))}
    program.process.stdin.write("go\n")
    program.process.stdin.flush()
    return {**told, **json.loads(program.out.until("{"))}


def measure():
    """Each way's name and what it adds to a request and to a call, of which `bare` tells the whole."""
    server, program = python(HERE, "serve"), python(HERE, "others")
    agent = None
    try:
        port = int(server.out.until(""))
        program.out.until("ready")
        once(server, port, program)
        bare = once(server, port, program)
        found = []
        for way in WAYS:
            pid = str(server.process.pid)
            command = [GENSPAN, "trace", "--pid", pid, "--sockets", way]
            agent = Child([*command, "--format", "json", "--output", "/dev/null"])
            try:
                agent.err.until("(pid %s" % pid)
            except Failed as why:
                # A way that this kernel does not have: said, and no figures.
                said = [line for line in agent.err.all if line.strip()]
                found.append((way, "not here: %s" % (said[-1][-300:] if said else why)))
                continue
            finally:
                if agent.process.poll() is not None:
                    agent = None
            told = once(server, port, program)
            agent.end()
            agent = None
            found.append((way, told))
        again = once(server, port, program)
        bare = {name: (bare[name] + again[name]) // 2 for name in bare}
        drift = max(abs(again[name] - bare[name]) / bare[name] for name in bare)
        yield "bare", " | ".join(str(bare[name]) for name in bare)
        for way, told in found:
            if not isinstance(told, str):
                told = " | ".join(more(told[name], bare[name]) for name in bare)
            yield way, told
        yield "drift", "%.1f%%" % (100 * drift)
    finally:
        for child in (agent, server, program):
            if child and child.process.poll() is None:
                child.process.kill()
                child.process.wait()


def more(with_it, bare):
    return "%+d (%+.1f%%)" % (with_it - bare, 100 * (with_it - bare) / bare)


if __name__ == "__main__":
    {"serve": serve, "others": others}[sys.argv[1]]()
