"""anthropic."""

import anthropic
from senders.stainless import Stainless


class Sender(Stainless):
    ROUTES = (("/v1/messages", "messages.create"), ("/v1/complete", "completions.create"))

    def __init__(self, options):
        super().__init__(options, anthropic, anthropic.Anthropic, anthropic.AsyncAnthropic)

    def arguments(self, function, x):
        given = super().arguments(function, x)
        beta = x.headers.get("anthropic-beta")
        if beta:
            given["extra_headers"] = {"anthropic-beta": beta}
        return given
