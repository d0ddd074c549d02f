"""A gunicorn configuration and the application in one, which makes a call for each request.

It prints `ready` when it serves, at the port that PORT says.
"""

import json
import os

bind = "127.0.0.1:" + os.environ["PORT"]
workers = 2
loglevel = "error"
control_socket_disable = True


def when_ready(server):
    os.write(1, b"ready\n")


def application(environ, start_response):
    from one_call import call

    seen = call("of-web")
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "model": seen["model"]}).encode()]
