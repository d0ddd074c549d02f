"""Calls of a model by workers: Flask in threads, and what it hands work to.

    web_celery.py

`/delay` gives a task to Celery's worker, which runs in threads of this process, by a broker in its
memory; `/eager` has Celery do it at once, in the handler's thread; `/queue` gives it to a thread that
takes from a queue; `/pool` to a thread pool.
"""

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from socketserver import ThreadingMixIn
from wsgiref import simple_server

import web_calls
from celery import Celery
from flask import Flask, request
from web_calls import call

app = Flask(__name__)
tasks = Celery("web_celery", broker="memory://")
tasks.conf.broker_transport_options = {"polling_interval": 0.01}
pool = ThreadPoolExecutor(8)
waiting = queue.Queue()
# Who waits for which task.
finished = {}


@tasks.task(name="ask", ignore_result=True)
def ask(id):
    call(id)
    if id in finished:
        finished[id].set()


@app.get("/delay")
def delay():
    id = request.args["id"]
    finished[id] = threading.Event()
    ask.delay(id)
    assert finished[id].wait(60)
    return "done"


@app.get("/eager")
def eager():
    ask.apply(args=[request.args["id"]], throw=True)
    return "done"


@app.get("/queue")
def in_queue():
    done = threading.Event()
    waiting.put((request.args["id"], done))
    done.wait()
    return "done"


@app.get("/pool")
def in_pool():
    pool.submit(call, request.args["id"]).result()
    return "done"


def work():
    while True:
        id, done = waiting.get()
        call(id)
        done.set()


class Server(ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


def main():
    for _ in range(4):
        threading.Thread(target=work, daemon=True).start()
    quiet = {"without_heartbeat": True, "without_mingle": True, "without_gossip": True}
    worker = tasks.WorkController(pool_cls="threads", concurrency=8, **quiet)
    threading.Thread(target=worker.start, daemon=True).start()
    server = simple_server.make_server("127.0.0.1", 0, app, Server, Quiet)
    print(server.server_port, flush=True)
    web_calls.ends_with_input(server.shutdown)
    server.serve_forever()


if __name__ == "__main__":
    main()
