"""A tree like vLLM's: the process that serves its API, an engine below it, and two workers below that,
each with the title that vLLM gives it. It is called as vLLM is, `vllm serve MODEL --port N …`, and prints
`ready` with the ids of engine and workers.
"""

import ctypes
import http.server
import json
import os
import sys
import time

# Of <linux/prctl.h>.
PR_SET_NAME = 15


def set_title(title):
    """As the package `setproctitle` does it: over the place where the arguments stand."""
    with open("/proc/self/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    # `arg_start` and `arg_end`, the 48th and 49th; the third is the first here.
    begin, end = int(fields[45]), int(fields[46])
    text = title.encode()[: end - begin - 1]
    ctypes.memmove(begin, text.ljust(end - begin, b"\0"), end - begin)
    ctypes.CDLL(None).prctl(PR_SET_NAME, title.encode(), 0, 0, 0)


def forked(title, work):
    child = os.fork()
    if child == 0:
        set_title(title)
        work()
        os._exit(0)
    return child


def sleep():
    while True:
        time.sleep(60)


def engine(tell):
    workers = [forked(f"VLLM::Worker_TP{rank}", sleep) for rank in range(2)]
    os.write(tell, json.dumps(workers).encode() + b"\n")
    sleep()


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = json.dumps({
            "id": "chatcmpl-v", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "two"}}],
            "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6},
        }).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def main():
    port = int(sys.argv[sys.argv.index("--port") + 1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Api)
    hear, tell = os.pipe()
    first = forked("VLLM::EngineCore", lambda: engine(tell))
    with os.fdopen(hear) as told:
        workers = json.loads(told.readline())
    print("ready", json.dumps([first, *workers]), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
