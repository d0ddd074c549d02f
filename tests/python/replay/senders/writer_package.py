"""writer-sdk."""

import writerai
from senders.stainless import Stainless


class Sender(Stainless):
    ROUTES = (("/v1/chat", "chat.chat"), ("/v1/completions", "completions.create"))

    def __init__(self, options):
        super().__init__(options, writerai, writerai.Writer, writerai.AsyncWriter)
        self.name = "writer-sdk"
