"""The server's side of HTTP/1.1: requests in, answers out in any framing and coding."""

import asyncio
import json
import time
from urllib.parse import parse_qsl, unquote, urlsplit

from . import coding

HEAD_LIMIT = 256 * 1024


class Request:
    """A whole request."""

    def __init__(self, method, target, version, headers):
        parts = urlsplit(target)
        self.method = method
        self.path = unquote(parts.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.version = version
        self.headers = headers
        self.body = b""

    def json(self):
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def wants_close(self):
        token = self.headers.get("connection", "").lower()
        return token == "close" or (self.version == "HTTP/1.0" and token != "keep-alive")


class Cut(Exception):
    """Raised by an answer to drop the connection without another word."""


class Answer:
    """Writes one answer. `send` for a whole one; `begin`, `piece`…, `end` for a streamed one."""

    def __init__(self, request, writer):
        self.request = request
        self.writer = writer
        self.status = 0
        self.framing = request.headers.get("x-test-framing")
        self.split = int(request.headers.get("x-test-split", "0"))
        self.close = request.wants_close()
        self.encoder = None

    async def send(self, status, body, content_type="application/json", headers=()):
        """A whole answer; `body` is bytes, or something for JSON."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        encoder, coding_headers = self._encoder()
        if encoder:
            body = encoder.piece(body) + encoder.end()
        framing = self.framing or "length"
        if self.request.method == "HEAD" or status in (204, 304):
            self._head(status, content_type, framing, len(body), [*headers, *coding_headers])
        else:
            self._head(status, content_type, framing, len(body), [*headers, *coding_headers])
            await self._body(body, framing)
            if framing == "chunked":
                await self._write(b"0\r\n\r\n")
        await self.writer.drain()

    async def begin(self, content_type="text/event-stream; charset=utf-8", headers=()):
        """Starts a streamed answer."""
        self.encoder, coding_headers = self._encoder()
        self.framing = self.framing if self.framing == "close" else "chunked"
        self._head(200, content_type, self.framing, None, [*headers, *coding_headers])
        await self.writer.drain()

    async def piece(self, data):
        """The next part of a streamed answer."""
        if self.encoder:
            data = self.encoder.piece(data)
        if data:
            await self._body(data, self.framing)

    async def end(self, trailers=()):
        """The end of a streamed answer."""
        rest = self.encoder.end() if self.encoder else b""
        if rest:
            await self._body(rest, self.framing)
        if self.framing == "chunked":
            lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
            await self._write(b"0\r\n" + lines.encode() + b"\r\n")

    def _encoder(self):
        name = coding.chosen(self.request.headers)
        if name is None:
            return None, []
        header = "deflate" if name == "raw-deflate" else name
        return coding.encoder(name), [("content-encoding", header), ("vary", "accept-encoding")]

    def _head(self, status, content_type, framing, length, headers):
        self.status = status
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
        if status not in (204, 304):
            lines.append(f"content-type: {content_type}")
            if framing == "length":
                lines.append(f"content-length: {length}")
            elif framing == "chunked":
                lines.append("transfer-encoding: chunked")
        if framing == "close":
            self.close = True
        lines.extend(f"{name}: {value}" for name, value in headers)
        if self.close:
            lines.append("connection: close")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def _body(self, data, framing):
        if framing == "chunked":
            data = b"%x\r\n%s\r\n" % (len(data), data)
        await self._write(data)

    async def _write(self, data):
        step = self.split or len(data)
        for start in range(0, len(data), step or 1):
            # One write is one TLS record, as long as it is short enough.
            self.writer.write(data[start : start + step])
        await self.writer.drain()


async def serve_connection(reader, writer, answer, record):
    """Serves one connection until either side ends it."""
    try:
        while True:
            request = await read_request(reader, writer)
            if request is None:
                break
            reply = Answer(request, writer)
            entry = {"method": request.method, "path": request.path, "time": time.time()}
            try:
                await answer(request, reply, entry)
                entry["outcome"] = "done"
            except Cut:
                entry["outcome"] = "cut"
                # What was written goes out first; then the peer sees the connection end.
                await writer.drain()
                await asyncio.sleep(0.02)
                writer.transport.abort()
                return
            except (ConnectionError, asyncio.CancelledError):
                entry["outcome"] = "client gone"
                raise
            finally:
                entry["status"] = reply.status
                record(entry)
            if reply.close:
                break
    except (asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


async def read_request(reader, writer):
    """The next request, or `None` at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return None
    first, *rest = head.decode("latin-1").strip("\r\n").split("\r\n")
    try:
        method, target, version = first.split(" ")
    except ValueError:
        return None
    headers = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    request = Request(method, target, version, headers)
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        request.body = await read_chunked(reader)
    else:
        request.body = await reader.readexactly(int(headers.get("content-length", "0")))
    return request


async def read_chunked(reader):
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return bytes(body)
        body += await reader.readexactly(size)
        await reader.readexactly(2)


REASONS = {
    200: "OK",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
