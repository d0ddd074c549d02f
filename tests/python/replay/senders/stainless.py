"""What the packages that Stainless generates have in common: openai, anthropic, groq, and others."""

import inspect

from drive import Unsupported, run


class Stainless:
    """A package whose methods take the members of the body."""

    # (end of the path, the package's method); what is before the end is the base URL.
    ROUTES = ()
    # Members of the body that say which form of the method is meant.
    KEY = "stand-in"

    def __init__(self, options, module, client, async_client):
        self.options = options
        self.name = module.__name__
        self.version = module.__version__
        self.kinds = {False: client, True: async_client}
        self.clients = {}
        self.via = None
        options.use_httpx_of(module.__name__)

    def make(self, kind, x, base):
        """A client for this request."""
        return kind(base_url=base, **self.settings(x.is_async))

    def settings(self, asynchronous):
        settings = {"api_key": self.KEY, "max_retries": 0, "timeout": 30}
        # Otherwise the package's own client.
        if self.options.http2:
            settings["http_client"] = self.options.client(asynchronous)
        return settings

    def route(self, x):
        for end, method in self.ROUTES:
            if x.method == "POST" and x.path.endswith(end):
                return x.path[: -len(end)], method
        raise Unsupported

    def send(self, x):
        if not isinstance(x.body, dict):
            raise Unsupported
        base, method = self.route(x)
        base = x.origin + base
        if x.is_async:
            # A client belongs to one event loop.
            return run(self.send_async(x, base, method))
        key = (base, self.variant(x))
        if key not in self.clients:
            self.clients[key] = self.make(self.kinds[False], x, base)
        function = lookup(self.clients[key], method)
        self.via = "%s.%s" % (self.name, method)
        answer = function(**self.arguments(function, x))
        if x.body.get("stream"):
            for _ in answer:
                pass
        return self.via

    async def send_async(self, x, base, method):
        client = self.make(self.kinds[True], x, base)
        try:
            function = lookup(client, method)
            self.via = "async %s.%s" % (self.name, method)
            answer = await function(**self.arguments(function, x))
            if x.body.get("stream"):
                async for _ in answer:
                    pass
        finally:
            await client.close()
        return self.via

    def variant(self, x):
        """What else than its base URL a client depends on."""
        return None

    def arguments(self, function, x):
        """The body as arguments; what the method does not know goes into the body unseen."""
        known = set(inspect.signature(function).parameters)
        given = dict(x.body)
        if "kwargs" in known or "args" in known:
            return given
        more = {name: given.pop(name) for name in list(given) if name not in known}
        if more:
            given["extra_body"] = more
        return given


def lookup(client, method):
    """The method by its dotted name."""
    found = client
    for part in method.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise Unsupported
    return found
