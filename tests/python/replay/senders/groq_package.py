"""groq."""

import groq
from senders.stainless import Stainless


class Sender(Stainless):
    ROUTES = (("/openai/v1/chat/completions", "chat.completions.create"),)

    def __init__(self, options):
        super().__init__(options, groq, groq.Groq, groq.AsyncGroq)
