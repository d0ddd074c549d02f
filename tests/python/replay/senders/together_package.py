"""together."""

import together
from senders.stainless import Stainless


class Sender(Stainless):
    ROUTES = (
        ("/v1/chat/completions", "chat.completions.create"),
        ("/v1/completions", "completions.create"),
        ("/v1/embeddings", "embeddings.create"),
    )

    def __init__(self, options):
        super().__init__(options, together, together.Together, together.AsyncTogether)
