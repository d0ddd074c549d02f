"""A TLS client through the OpenSSL that the wheel of `cryptography` carries, as pyOpenSSL uses it.

    wheel_tls.py PORT

Prints `ready`, then for each line of standard input makes one chat call on a connection of its own
to localhost and prints the status line of the answer.
"""

import json
import socket
import sys

from cryptography.hazmat.bindings._rust import _openssl

LIB, FFI = _openssl.lib, _openssl.ffi


def call(context, port):
    with socket.create_connection(("127.0.0.1", port)) as plain:
        tls = LIB.SSL_new(context)
        LIB.SSL_set_fd(tls, plain.fileno())
        LIB.SSL_set_tlsext_host_name(tls, b"localhost")
        LIB.SSL_set_connect_state(tls)
        if LIB.SSL_do_handshake(tls) != 1:
            raise OSError("no TLS")
        body = json.dumps(
            {"model": "wheel", "messages": [{"role": "user", "content": "one two"}]}
        ).encode()
        request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        ) + body
        if LIB.SSL_write(tls, request, len(request)) != len(request):
            raise OSError("not written")
        answer = bytearray()
        buffer = FFI.new("char[]", 65536)
        while (got := LIB.SSL_read(tls, buffer, len(buffer))) > 0:
            answer += FFI.buffer(buffer, got)
        LIB.SSL_free(tls)
        return answer.split(b"\r\n")[0].decode()


def main():
    context = LIB.SSL_CTX_new(LIB.TLS_method())
    print("ready", flush=True)
    for _ in sys.stdin:
        print(call(context, int(sys.argv[1])), flush=True)


main()
