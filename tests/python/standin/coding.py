"""Content codings, one event at a time: each piece can be decoded when it arrives."""

import zlib

try:
    import brotli
except ImportError:
    brotli = None
try:
    import zstandard
except ImportError:
    zstandard = None


class Missing(Exception):
    """The package for a coding is not installed."""


def chosen(headers):
    """The coding that the request asks for: `x-test-encoding: gzip`, or `auto` for the first of
    its `accept-encoding` that is known here. Without the header there is none."""
    name = headers.get("x-test-encoding", "identity").lower()
    if name == "auto":
        accepted = [part.split(";")[0].strip() for part in headers.get("accept-encoding", "").split(",")]
        name = next((known for known in accepted if known in KNOWN), "identity")
    return None if name in ("", "identity") else name


def encoder(name):
    """An encoder with `piece(data)` and `end()`."""
    if name in ("gzip", "deflate", "raw-deflate"):
        return Zlib({"gzip": 31, "deflate": 15, "raw-deflate": -15}[name])
    if name == "br" and brotli:
        return Brotli()
    if name == "zstd" and zstandard:
        return Zstd()
    raise Missing(f"no encoder for {name} here")


class Zlib:
    def __init__(self, window):
        self.stream = zlib.compressobj(6, zlib.DEFLATED, window)

    def piece(self, data):
        return self.stream.compress(data) + self.stream.flush(zlib.Z_SYNC_FLUSH)

    def end(self):
        return self.stream.flush(zlib.Z_FINISH)


class Brotli:
    def __init__(self):
        self.stream = brotli.Compressor(quality=5)

    def piece(self, data):
        return self.stream.process(data) + self.stream.flush()

    def end(self):
        return self.stream.finish()


class Zstd:
    def __init__(self):
        self.stream = zstandard.ZstdCompressor().compressobj()

    def piece(self, data):
        return self.stream.compress(data) + self.stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self):
        return self.stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


KNOWN = ["gzip", "deflate"] + (["br"] if brotli else []) + (["zstd"] if zstandard else [])
