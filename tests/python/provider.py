"""A provider stand-in: OpenAI's API over TLS on loopback, with fixed answers.

Needs nothing but Python 3.8's standard library; `br` and `zstd` bodies need the `brotli` and
`zstandard` packages, HTTP/2 the `h2` package. The first line printed is the port.

    python provider.py --certs DIR

DIR holds `server.pem` and `server.key`, and `ca.pem` for clients to trust. If they are missing
they are made with the `openssl` command. What an answer is like is said by the model's name, by
`metadata` and by `x-test-…` headers: see `standin/control.py`.
"""

import argparse
import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import threading

from standin import http1, routes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--certs", required=True, help="directory of server.pem and server.key")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--tls12", action="store_true", help="nothing newer than TLS 1.2")
    parser.add_argument("--plain", action="store_true", help="no TLS at all")
    parser.add_argument("--http2", action="store_true", help="HTTP/2 too (needs the h2 package)")
    parser.add_argument("--log", help="write a JSON line for each exchange to this file")
    parser.add_argument("--ready-fd", type=int, help="also write the port to this descriptor")
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when stdin is closed")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options))
    except KeyboardInterrupt:
        pass


async def serve(options):
    log = open(options.log, "a", buffering=1) if options.log else None

    def record(entry):
        if log:
            log.write(json.dumps(entry) + "\n")

    async def connection(reader, writer):
        tls = writer.get_extra_info("ssl_object")
        serve_connection = http1.serve_connection
        if tls and tls.selected_alpn_protocol() == "h2":
            from standin import http2

            serve_connection = http2.serve_connection
        await serve_connection(reader, writer, routes.answer, record)

    context = None if options.plain else tls_context(options)
    server = await asyncio.start_server(
        connection, options.host, options.port, ssl=context, limit=http1.HEAD_LIMIT, backlog=512
    )
    port = server.sockets[0].getsockname()[1]
    print(port, flush=True)
    if options.ready_fd is not None:
        os.write(options.ready_fd, b"%d\n" % port)
        os.close(options.ready_fd)

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.stop_with_stdin:
        threading.Thread(target=watch_stdin, args=(loop, stop), daemon=True).start()
    await stop.wait()
    server.close()


def watch_stdin(loop, stop):
    while sys.stdin.buffer.read1(4096):
        pass
    loop.call_soon_threadsafe(stop.set)


def tls_context(options):
    certificate = os.path.join(options.certs, "server.pem")
    key = os.path.join(options.certs, "server.key")
    if not (os.path.exists(certificate) and os.path.exists(key)):
        make_certificate(options.certs, certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2", "http/1.1"] if options.http2 else ["http/1.1"])
    if options.tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def make_certificate(directory, certificate, key):
    """A certificate that is its own authority."""
    os.makedirs(directory, exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"no certificate in {directory}, and openssl could not make one: {error}")
    with open(certificate) as source, open(os.path.join(directory, "ca.pem"), "w") as copy:
        copy.write(source.read())


if __name__ == "__main__":
    main()
