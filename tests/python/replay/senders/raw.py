"""No package: the HTTP client sends what was recorded."""

from importlib.metadata import version

from drive import Unsupported


class Sender:
    via = None

    def __init__(self, options):
        options.use("httpx")
        self.name = "httpx"
        self.version = version("httpx")

    def send(self, x):
        raise Unsupported
