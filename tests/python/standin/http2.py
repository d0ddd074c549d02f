"""The server's side of HTTP/2: every stream answered on its own, all of them at once."""

import asyncio
import json
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from . import coding
from .http1 import Cut, Request

# How many connections there were: `/other/connections` answers with so many bytes.
_connections = 0


class Answer:
    """Writes one answer: as that of HTTP/1.1 does."""

    def __init__(self, connection, stream, request):
        self.connection = connection
        self.stream = stream
        self.request = request
        self.status = 0
        self.split = int(request.headers.get("x-test-split", "0"))
        self.padding = int(request.headers.get("x-test-padding", "0")) or None
        self.encoder = None

    async def send(self, status, body, content_type="application/json", headers=()):
        """A whole answer; `body` is bytes, or something for JSON."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        encoder, coding_headers = self._encoder()
        if encoder:
            body = encoder.piece(body) + encoder.end()
        empty = self.request.method == "HEAD" or status in (204, 304) or not body
        length = [] if status in (204, 304) else [("content-length", str(len(body)))]
        self._head(status, content_type, [*headers, *coding_headers, *length], empty)
        if not empty:
            await self._data(body, True)

    async def begin(self, content_type="text/event-stream; charset=utf-8", headers=()):
        """Starts a streamed answer."""
        self.encoder, coding_headers = self._encoder()
        self._head(200, content_type, [*headers, *coding_headers], False)

    async def piece(self, data):
        """The next part of a streamed answer."""
        if self.encoder:
            data = self.encoder.piece(data)
        if data:
            await self._data(data, False)

    async def end(self, trailers=()):
        """The end of a streamed answer."""
        rest = self.encoder.end() if self.encoder else b""
        await self._data(rest, not trailers)
        if trailers:
            self.connection.state.send_headers(self.stream, list(trailers), end_stream=True)
            self.connection.flush()

    def _encoder(self):
        name = coding.chosen(self.request.headers)
        if name is None:
            return None, []
        header = "deflate" if name == "raw-deflate" else name
        return coding.encoder(name), [("content-encoding", header), ("vary", "accept-encoding")]

    def _head(self, status, content_type, headers, empty):
        self.status = status
        fields = [(":status", str(status))]
        if status not in (204, 304):
            fields.append(("content-type", content_type))
        self.connection.state.send_headers(self.stream, [*fields, *headers], end_stream=empty)
        self.connection.flush()

    async def _data(self, data, end):
        """As much at a time as the client takes."""
        state, padding = self.connection.state, self.padding
        while data or end:
            room = min(state.local_flow_control_window(self.stream), state.max_outbound_frame_size)
            room -= padding + 1 if padding else 0
            if room <= 0 and data:
                await self.connection.room()
                continue
            size = min(room, self.split or len(data), len(data))
            part, data = data[:size], data[size:]
            state.send_data(self.stream, part, end and not data, pad_length=padding)
            self.connection.flush()
            if not data:
                break
        await self.connection.writer.drain()


class Connection:
    """One connection and its streams under way."""

    def __init__(self, reader, writer, answer, record):
        self.reader, self.writer = reader, writer
        self.answer, self.record = answer, record
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.state = h2.connection.H2Connection(config=config)
        self.bodies, self.tasks = {}, {}
        self.changed = asyncio.Event()

    def flush(self):
        self.writer.write(self.state.data_to_send())

    async def room(self):
        """Waits until the client takes more."""
        self.changed.clear()
        await self.changed.wait()

    async def serve(self):
        self.state.initiate_connection()
        self.flush()
        while True:
            data = await self.reader.read(65536)
            if not data:
                return
            for event in self.state.receive_data(data):
                if isinstance(event, h2.events.ConnectionTerminated):
                    return
                self.happened(event)
            self.flush()

    def happened(self, event):
        if isinstance(event, h2.events.RequestReceived):
            fields = dict(event.headers)
            headers = {name: value for name, value in fields.items() if name[0] != ":"}
            headers["host"] = fields.get(":authority", "")
            request = Request(fields[":method"], fields[":path"], "HTTP/2", headers)
            if request.path == "/other/connections":
                request.query["bytes"] = str(_connections)
            self.bodies[event.stream_id] = (request, bytearray())
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id][1].extend(event.data)
            self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            request, body = self.bodies.pop(event.stream_id)
            request.body = bytes(body)
            reply = Answer(self, event.stream_id, request)
            self.tasks[event.stream_id] = asyncio.ensure_future(self.one(request, reply))
        elif isinstance(event, h2.events.StreamReset):
            task = self.tasks.get(event.stream_id)
            if task:
                task.cancel()
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self.changed.set()

    async def one(self, request, reply):
        entry = {"method": request.method, "path": request.path, "time": time.time()}
        try:
            await self.answer(request, reply, entry)
            entry["outcome"] = "done"
        except Cut:
            entry["outcome"] = "cut"
            self.state.reset_stream(reply.stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            self.flush()
        except (OSError, asyncio.CancelledError, h2.exceptions.ProtocolError):
            entry["outcome"] = "client gone"
        finally:
            self.tasks.pop(reply.stream, None)
            entry["status"] = reply.status
            self.record(entry)


async def serve_connection(reader, writer, answer, record):
    """Serves one connection until either side ends it."""
    global _connections
    _connections += 1
    connection = Connection(reader, writer, answer, record)
    try:
        await connection.serve()
    except (asyncio.CancelledError, OSError, h2.exceptions.ProtocolError):
        pass
    finally:
        for task in list(connection.tasks.values()):
            task.cancel()
        writer.close()
