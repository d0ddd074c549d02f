"""A gunicorn configuration and the application in one: each worker makes a call when it starts."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

bind = "127.0.0.1:0"
workers = 3
loglevel = "error"
control_socket_disable = True


def post_worker_init(worker):
    from one_call import call

    answer = call(f"worker-{os.getpid()}")
    answer["pid"] = os.getpid()
    os.write(1, (json.dumps(answer) + "\n").encode())


def application(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"fine"]
