"""Calls without end in several threads, each answer held against the first: load.py THREADS

Prints `ready`. For each line on standard input it prints how many calls there were so far, and
how many failed or were answered otherwise than the first time.
"""

import json
import sys
import threading

import clients

COUNTS = {"calls": 0, "failed": 0, "different": 0, "last": None}
LOCK = threading.Lock()
CALLS = [
    {"model": "load", "metadata": {"chunks": "30"}},
    {"model": "load", "stream": True, "metadata": {"chunks": "40"}},
    {"model": "load", "stream": True, "metadata": {"chunks": "6", "delay_ms": "3"}},
    {"model": "load", "metadata": {"chunks": "20", "chunk_chars": "5000"}},
]


def send(client, body):
    body = {**body, "messages": [{"role": "user", "content": "x y z " * 200}]}
    path = clients.BASE.path + "/chat/completions"
    return client.send("POST", path, clients.headers({}), clients.encoded(body), None)


def work(expected):
    client = clients.Stdlib()
    number = 0
    while True:
        number += 1
        failed, different = 0, 0
        try:
            answer = send(client, CALLS[number % len(CALLS)])
            different = int(answer != expected[number % len(CALLS)])
        except Exception as error:
            failed = 1
            COUNTS["last"] = repr(error)
        with LOCK:
            COUNTS["calls"] += 1
            COUNTS["failed"] += failed
            COUNTS["different"] += different


def main():
    client = clients.Stdlib()
    expected = [send(client, body) for body in CALLS]
    for _ in range(int(sys.argv[1])):
        threading.Thread(target=work, args=(expected,), daemon=True).start()
    print("ready", flush=True)
    for _ in sys.stdin:
        with LOCK:
            print(json.dumps(COUNTS), flush=True)


if __name__ == "__main__":
    main()
