"""HTTP clients of every kind behind one function: `send(method, path, headers, data, stop_after)`
gives status, headers and body; with `stop_after` the client hangs up after so many events.
"""

import gzip
import json
import os
import zlib
from urllib.parse import urlsplit

BASE = urlsplit(os.environ["OPENAI_BASE_URL"])


def context():
    """TLS that trusts SSL_CERT_FILE."""
    import ssl

    return ssl.create_default_context()


def decoded(coding, body):
    """A body without its content coding, for clients that leave that to the program."""
    if coding == "gzip":
        return gzip.decompress(body)
    if coding == "deflate":
        return zlib.decompress(body)
    if coding == "br":
        import brotli

        return brotli.decompress(body)
    if coding == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body


class Stdlib:
    """http.client, one connection kept."""

    def __init__(self):
        self.connection = None

    def send(self, method, path, headers, data, stop_after):
        import http.client

        if self.connection is None:
            if BASE.scheme == "https":
                self.connection = http.client.HTTPSConnection(
                    BASE.hostname, BASE.port, context=context(), timeout=30
                )
            else:
                self.connection = http.client.HTTPConnection(
                    BASE.hostname, BASE.port, timeout=30
                )
        try:
            self.connection.request(method, path, data, headers)
            answer = self.connection.getresponse()
            body = enough(iter(answer.readline, b""), stop_after) if stop_after else answer.read()
        except Exception:
            self.connection.close()
            self.connection = None
            raise
        if stop_after:
            self.connection.close()
            self.connection = None
        return answer.status, decoded(answer.headers.get("content-encoding"), body)


class Urllib:
    """urllib.request: a connection for each call."""

    def send(self, method, path, headers, data, stop_after):
        import urllib.error
        import urllib.request

        url = f"{BASE.scheme}://{BASE.netloc}{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            answer = urllib.request.urlopen(request, context=context(), timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            body = enough(answer, stop_after) if stop_after else answer.read()
            return answer.status, decoded(answer.headers.get("content-encoding"), body)


class Requests:
    """requests, one session."""

    def __init__(self):
        import requests

        self.session = requests.Session()
        self.session.verify = os.environ["SSL_CERT_FILE"]

    def send(self, method, path, headers, data, stop_after):
        url = f"{BASE.scheme}://{BASE.netloc}{path}"
        answer = self.session.request(
            method, url, headers=headers, data=data, stream=True, timeout=30
        )
        with answer:
            if stop_after:
                return answer.status_code, enough(lines(answer.iter_content(64)), stop_after)
            # Not all codings are known to every version of it.
            body = answer.raw.read(decode_content=False)
            return answer.status_code, decoded(answer.headers.get("content-encoding"), body)


class Httpx:
    """httpx, synchronous."""

    http2 = False

    def __init__(self):
        import httpx

        self.client = httpx.Client(verify=context(), timeout=30, http2=self.http2)

    def send(self, method, path, headers, data, stop_after):
        url = f"{BASE.scheme}://{BASE.netloc}{path}"
        with self.client.stream(method, url, headers=headers, content=data) as answer:
            if stop_after:
                return answer.status_code, enough(lines(answer.iter_bytes()), stop_after)
            return answer.status_code, answer.read()


class HttpxAsync:
    """httpx, asynchronous."""

    http2 = False

    def __init__(self):
        import httpx

        self.client = httpx.AsyncClient(verify=context(), timeout=30, http2=self.http2)

    async def send(self, method, path, headers, data, stop_after):
        url = f"{BASE.scheme}://{BASE.netloc}{path}"
        async with self.client.stream(method, url, headers=headers, content=data) as answer:
            if not stop_after:
                return answer.status_code, await answer.aread()
            body = b""
            async for piece in answer.aiter_bytes():
                body += piece
                if body.count(b"\n\n") >= stop_after:
                    break
            return answer.status_code, body


class HttpxHttp2(Httpx):
    """httpx, synchronous, over HTTP/2."""

    http2 = True


class HttpxAsyncHttp2(HttpxAsync):
    """httpx, asynchronous, over HTTP/2."""

    http2 = True


class Aiohttp:
    """aiohttp, one session."""

    def __init__(self):
        self.session = None

    async def send(self, method, path, headers, data, stop_after):
        import aiohttp

        if self.session is None:
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context()), auto_decompress=False
            )
        url = f"{BASE.scheme}://{BASE.netloc}{path}"
        async with self.session.request(method, url, headers=headers, data=data) as answer:
            if not stop_after:
                body = await answer.read()
                return answer.status, decoded(answer.headers.get("content-encoding"), body)
            body = b""
            async for piece in answer.content.iter_any():
                body += piece
                if body.count(b"\n\n") >= stop_after:
                    answer.close()
                    break
            return answer.status, body


class CurlCffi:
    """curl_cffi, one session: libcurl with BoringSSL, without Python's `ssl`."""

    def __init__(self):
        from curl_cffi import requests

        self.session = requests.Session(verify=os.environ["SSL_CERT_FILE"], timeout=30)

    def send(self, method, path, headers, data, stop_after):
        url = f"{BASE.scheme}://{BASE.netloc}{path}"
        # What is to be decoded it is told apart from the headers.
        coding = headers.get("accept-encoding", "identity")
        answer = self.session.request(
            method, url, headers=headers, data=data, stream=True, accept_encoding=coding
        )
        try:
            pieces = answer.iter_content()
            body = enough(lines(pieces), stop_after) if stop_after else b"".join(pieces)
            return answer.status_code, body
        finally:
            answer.close()


def lines(pieces):
    """Pieces of any size as lines."""
    rest = b""
    for piece in pieces:
        rest += piece
        while b"\n" in rest:
            line, rest = rest.split(b"\n", 1)
            yield line + b"\n"
    yield rest


def enough(source, count):
    """The lines up to and with event number `count`."""
    body = b""
    for line in source:
        body += line
        if body.count(b"\n\n") >= count:
            break
    return body


def headers(extra):
    """What every call sends; the secrets are looked for where they must not be."""
    return {
        "authorization": "Bearer " + os.environ["OPENAI_API_KEY"],
        "content-type": "application/json",
        "cookie": "session=cookie-secret-0123456789",
        **extra,
    }


def encoded(body):
    return json.dumps(body).encode()


CLIENTS = {
    "stdlib": Stdlib,
    "urllib": Urllib,
    "requests": Requests,
    "httpx": Httpx,
    "httpx-async": HttpxAsync,
    "httpx-http2": HttpxHttp2,
    "httpx-async-http2": HttpxAsyncHttp2,
    "aiohttp": Aiohttp,
    "curl-cffi": CurlCffi,
}
