"""The provider stand-in's answers, served by a real server.

    served.py --certs DIR --server NAME [--plain]

NAME is `uvicorn` (asyncio and h11), `uvloop` (uvicorn with uvloop and httptools), `hypercorn` (asyncio),
`hypercorn-uvloop`, `gunicorn` (with a worker of uvicorn's: uvloop and httptools) or `gunicorn-asyncio`
(with one of asyncio and h11). The application is FastAPI's. The first line printed is the port.
"""

import argparse
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def listening():
    """A socket on loopback, and its port on standard output."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(512)
    sock.set_inheritable(True)
    return sock


def announce(sock):
    print(sock.getsockname()[1], flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certs", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--stop-with-stdin", action="store_true")
    options = parser.parse_args()
    certificate = os.path.join(options.certs, "server.pem")
    key = os.path.join(options.certs, "server.key")
    if not options.plain and not os.path.exists(certificate):
        import provider

        provider.make_certificate(options.certs, certificate, key)
    sock = listening()
    if options.stop_with_stdin and not options.server.startswith("gunicorn"):
        threading.Thread(target=until_closed, daemon=True).start()
    if options.server in ("uvicorn", "uvloop"):
        run_uvicorn(sock, options, certificate, key)
    elif options.server.startswith("hypercorn"):
        run_hypercorn(sock, options, certificate, key)
    else:
        run_gunicorn(sock, options, certificate, key)


def until_closed():
    while sys.stdin.buffer.read1(4096):
        pass
    os._exit(0)


def run_uvicorn(sock, options, certificate, key):
    import uvicorn

    loop, http = ("asyncio", "h11") if options.server == "uvicorn" else ("uvloop", "httptools")
    tls = {} if options.plain else {"ssl_certfile": certificate, "ssl_keyfile": key}
    config = uvicorn.Config("served_app:app", loop=loop, http=http, log_level="warning", **tls)
    server = uvicorn.Server(config)
    config.load()
    announce(sock)
    server.run(sockets=[sock])


def run_hypercorn(sock, options, certificate, key):
    import asyncio

    from served_app import app

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{sock.fileno()}"]
    config.loglevel = "WARNING"
    if not options.plain:
        config.certfile, config.keyfile = certificate, key
    announce(sock)
    if options.server == "hypercorn-uvloop":
        import uvloop

        uvloop.run(serve(app, config))
    else:
        asyncio.run(serve(app, config))


def run_gunicorn(sock, options, certificate, key):
    here = os.path.dirname(os.path.abspath(__file__))
    command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{sock.fileno()}"]
    asyncio = options.server == "gunicorn-asyncio"
    worker = "UvicornH11Worker" if asyncio else "UvicornWorker"
    command += ["--workers", "1", "--worker-class", f"uvicorn_worker.{worker}"]
    command += ["--log-level", "error", "--no-control-socket"]
    command += ["--pythonpath", here]
    if not options.plain:
        command += ["--certfile", certificate, "--keyfile", key]
    announce(sock)
    os.execv(command[0], [*command, "served_app:app"])


if __name__ == "__main__":
    main()
