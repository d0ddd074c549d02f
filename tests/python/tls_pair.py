"""Reads and writes TLS in memory, without a network: for measuring what probes on it cost.

For each line on standard input, a size in bytes, that much goes there and back many times, as
requests and answers do; the answer is the CPU time of one read or write in nanoseconds.

    python tls_pair.py [DIR]      DIR holds server.pem and server.key; made with openssl if not there
"""

import os
import ssl
import subprocess
import sys
import tempfile
import time

ROUND_TRIPS = 2000


def certificate(folder):
    cert, key = os.path.join(folder, "server.pem"), os.path.join(folder, "server.key")
    if not os.path.exists(cert):
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        subject = ["-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert]
        subprocess.run(command.split() + subject, check=True, stderr=subprocess.DEVNULL)
    return cert, key


def connected(folder):
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(*certificate(folder))
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    waiting = [client, server]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    return client, server


def main():
    with tempfile.TemporaryDirectory() as own:
        client, server = connected(sys.argv[1] if len(sys.argv) > 1 else own)
    print("ready", flush=True)
    for line in sys.stdin:
        size = int(line)
        payload = b"x" * size
        start = time.thread_time_ns()
        for _ in range(ROUND_TRIPS):
            client.write(payload)
            server.read(size)
            server.write(payload)
            client.read(size)
        print((time.thread_time_ns() - start) / (4 * ROUND_TRIPS), flush=True)


main()
