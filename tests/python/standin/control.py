"""What a request asks of the stand-in beyond OpenAI's API.

By the model's name:
  slow                 half a second to the first chunk, 50 ms between chunks
  error-STATUS         fails with this status (400, 401, 403, 404, 429, 500, 502, 503)
  error-STATUS-then-ok fails so the first time; the same request sent again is answered
  error-html           a gateway's 502 with an HTML page
  cut                  a stream ends in the middle with the connection; a plain answer does so too
  midstream-error      a stream tells an error in the middle
  hang                 never answers
  length, filtered     end with that finish reason
  refusal              refuses
  reasoning            thinks before it answers (`reasoning_content`)
  anything else        answers

By `metadata` (strings, as OpenAI has them) or by headers of the same names with `x-test-` before
and `-` for `_`:
  chunks               number of content chunks (and of output tokens)
  first_delay_ms       wait before the first byte
  delay_ms             wait between chunks
  chunk_chars          at least so many characters in each chunk
  answer               the text to answer with
  piece_chars          so many characters of the answer in each chunk
By headers alone:
  x-test-encoding      content coding of the answer: gzip, deflate, raw-deflate, br, zstd, auto
  x-test-framing       length, chunked or close
  x-test-split         most bytes in one write (so, in one TLS record)
  x-test-trailers      with a chunked stream: send a trailer
"""

import hashlib

WORDS = (
    "The sky is blue because air scatters short waves of light far more than long ones , so "
    "that what reaches us from every side is mostly the blue part of the sun ."
).split(" ")

# Requests that were refused once, by a hash of model and body.
_refused = set()


class Control:
    """How one request is to be answered."""

    def __init__(self, request, body):
        self.request = request
        metadata = body.get("metadata")
        self.metadata = metadata if isinstance(metadata, dict) else {}
        self.model = str(body.get("model") or "m-test")
        slow = self.model == "slow"
        self.first_delay = self._number("first_delay_ms", 500 if slow else 0) / 1000
        self.delay = self._number("delay_ms", 50 if slow else 0) / 1000
        self.chunk_chars = self._number("chunk_chars", 0)
        self.trailers = [("x-test-end", "1")] if request.headers.get("x-test-trailers") else []
        self._text = self._value("answer")
        self._chunks = self._number("chunks", 0)
        self.digest = hashlib.sha256(request.path.encode() + b"\n" + request.body).hexdigest()

    def _value(self, name):
        header = "x-test-" + name.replace("_", "-")
        return self.metadata.get(name) or self.request.headers.get(header)

    def _number(self, name, default):
        value = self._value(name)
        try:
            return int(value) if value is not None else default
        except (TypeError, ValueError):
            return default

    def pieces(self, default_words=12, salt=0):
        """The answer's text as the chunks that a stream has."""
        size = self._number("piece_chars", 0)
        if self._text and size:
            text = str(self._text)
            return [text[at : at + size] for at in range(0, len(text), size)]
        if self._text and not self._chunks:
            words = str(self._text).split(" ")
        else:
            source = str(self._text).split(" ") if self._text else WORDS
            count = self._chunks or default_words
            words = [source[(salt + i) % len(source)] for i in range(count)]
        pieces = [word if i == 0 else " " + word for i, word in enumerate(words)]
        if self.chunk_chars:
            pieces = [piece + "." * (self.chunk_chars - len(piece)) for piece in pieces]
        return pieces

    def failure(self):
        """The status to fail with, or `None`."""
        name = self.model
        if not name.startswith("error-"):
            return None
        parts = name.split("-")
        if parts[1] == "html":
            return 502
        if not parts[1].isdigit():
            return None
        if parts[2:] == ["then", "ok"]:
            if self.digest in _refused:
                _refused.discard(self.digest)
                return None
            _refused.add(self.digest)
        return int(parts[1])


ERRORS = {
    400: ("invalid_request_error", "invalid_value", "Invalid value for the request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Not here."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("service_unavailable", None, "The engine is currently overloaded."),
}


def error_body(status, model):
    """An error as OpenAI says it."""
    kind, code, message = ERRORS.get(status, ("server_error", None, "Something went wrong."))
    if status == 404:
        message = f"The model `{model}` does not exist or you do not have access to it."
    param = "model" if status == 404 else None
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def text_of(value):
    """All text in a message's content, an input, or a list of such."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(text_of(item) for item in value)
    if isinstance(value, dict):
        return " ".join(text_of(value[key]) for key in ("text", "content", "input") if key in value)
    return ""


def count_tokens(*values):
    """Tokens of an input, by a rule of our own: words."""
    return sum(len(text_of(value).split()) for value in values)


def example_arguments(parameters):
    """Arguments that fit a JSON schema, always the same ones."""
    result = {}
    for name, schema in (parameters or {}).get("properties", {}).items():
        kind = schema.get("type")
        if schema.get("examples"):
            result[name] = schema["examples"][0]
        elif schema.get("enum"):
            result[name] = schema["enum"][0]
        elif kind in ("integer", "number"):
            result[name] = 3
        elif kind == "boolean":
            result[name] = True
        elif kind == "array":
            result[name] = []
        elif kind == "object":
            result[name] = example_arguments(schema)
        else:
            result[name] = f"some {name}"
    return result
