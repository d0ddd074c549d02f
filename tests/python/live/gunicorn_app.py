"""A gunicorn configuration and the application in one: each worker makes a call when it starts."""

import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

bind = "127.0.0.1:0"
workers = 3
loglevel = "error"
control_socket_disable = True


def post_worker_init(worker):
    from one_call import call

    # The kernel takes a grace period to place the first probe in a new process: up to a tenth of
    # a second on a busy machine, in which nothing of it is seen (README, "What it sees").
    time.sleep(0.5)
    answer = call(f"worker-{os.getpid()}")
    answer["pid"] = os.getpid()
    os.write(1, (json.dumps(answer) + "\n").encode())


def application(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"fine"]
