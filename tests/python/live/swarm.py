"""Many small programs that come and go: each lives for a while, makes one call to a model, and ends.

swarm.py RATE SECONDS LIFE: starts RATE programs a second for SECONDS, each of which lives LIFE seconds.
Prints "ready" and waits for a line; then one line of JSON for all: how many were started, how many of
them were answered, and most at one time. The models are its own: a server on loopback in this process.
With a word more it is one of the programs: swarm.py PORT LIFE NUMBER.
"""

import os
import sys
import time

CALL = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"


def program(port, life, number):
    # What is imported here is most of what a program costs.
    import _socket

    time.sleep(life)
    body = b'{"model":"swarm-%d","messages":[{"role":"user","content":"one"}]}' % number
    stream = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    stream.connect(("127.0.0.1", port))
    stream.sendall(CALL % (len(body), body))
    answer = b""
    while piece := stream.recv(65536):
        answer += piece
    stream.close()
    os._exit(0 if b" 200 OK" in answer else 1)


def answer(stream):
    import json

    with stream:
        stream.settimeout(10)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = stream.recv(65536)
            if not piece:
                return
            head += piece
        head, body = head.split(b"\r\n\r\n", 1)
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += stream.recv(65536)
        said = json.dumps({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": json.loads(body)["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "two"}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }).encode()
        stream.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
            % (len(said), said)
        )


def serve(listener):
    import threading

    while True:
        stream, _ = listener.accept()
        threading.Thread(target=answer, args=(stream,), daemon=True).start()


def main(rate, seconds, life):
    import json
    import socket
    import subprocess
    import threading

    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    environment = {"APSARA_APM_APP_TYPE": "app", "PATH": os.environ.get("PATH", "")}
    running, started, answered, most = [], 0, 0, 0
    begun = time.monotonic()

    def reap():
        nonlocal answered
        for one in list(running):
            if one.poll() is not None:
                running.remove(one)
                answered += one.returncode == 0

    while (now := time.monotonic() - begun) < seconds:
        while started < now * rate:
            command = [sys.executable, "-I", "-S", sys.argv[0], str(port), str(life), str(started)]
            running.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL))
            started += 1
        reap()
        most = max(most, len(running))
        time.sleep(0.005)
    late = time.monotonic() - begun
    while running:
        reap()
        time.sleep(0.02)
    print(json.dumps({"started": started, "answered": answered, "most": most, "took": late}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.flags.isolated:
        program(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
    else:
        main(float(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
