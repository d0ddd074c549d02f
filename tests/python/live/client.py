"""A program that makes the calls that it is told to make.

    client.py CLIENT [--uvloop] [--late]

CLIENT is one of `clients.CLIENTS`, `openai`, `openai-async` or `openai-async-http2`. It prints `ready`, then reads a
JSON document from each line of standard input, does what it says, and prints one line with what
the client saw. With --late nothing that has to do with TLS is imported before the first of them.

    {"do": "chat", "body": {…}, "headers": {…}}     also responses, embeddings, completions, retrieve
        "stop_after": N                             hang up after N events
        "client": {"max_retries": 0, …}             options of the SDK
        "times": N                                  so often, one after the other
        "at_once": N                                so often at the same time (asynchronous clients);
                                                    `{}` in the user's message becomes the number
        "mixed": true                               of these, every second one streamed
    {"do": "request", "method": "GET", "path": "/other"}
    {"do": "run", "command": [...]}                 another program, until it ends
    {"do": "children", "count": 60}                 so many children that do nothing and end
    {"do": "exec", "command": [...]}                another program in place of this one
    {"do": "exit", "code": 3}
"""

import json
import os
import sys

PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "responses": "/responses",
}


def main():
    name = sys.argv[1]
    late = "--late" in sys.argv
    if late:
        print("ready", flush=True)
    if "async" in name or name == "aiohttp":
        import asyncio

        if "--uvloop" in sys.argv:
            import uvloop

            uvloop.run(run_async(name, late))
        else:
            asyncio.run(run_async(name, late))
    else:
        run(name, late)


def run(name, late):
    client = None
    if not late:
        client = make(name)
        print("ready", flush=True)
    for line in sys.stdin:
        step = json.loads(line)
        client = client or make(name)
        answer = aside(step)
        if answer is None:
            try:
                for _ in range(step.get("times", 1)):
                    answer = once(client, step)
            except Exception as error:
                answer = failure(error)
        print(json.dumps(answer), flush=True)


async def run_async(name, late):
    import asyncio

    client = None
    if not late:
        client = make(name)
        print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        step = json.loads(line)
        client = client or make(name)
        answer = aside(step)
        if answer is None:
            count = step.get("at_once")
            try:
                if count:
                    steps = [numbered(step, number) for number in range(count)]
                    answer = await asyncio.gather(*(once_async(client, one) for one in steps))
                else:
                    for _ in range(step.get("times", 1)):
                        answer = await once_async(client, step)
            except Exception as error:
                answer = failure(error)
        print(json.dumps(answer), flush=True)


def numbered(step, number):
    one = json.loads(json.dumps(step).replace("{}", str(number)))
    if one.get("mixed"):
        one["body"]["stream"] = number % 2 == 1
    return one


def make(name):
    import clients

    # Where it is not to be late, TLS is there before the first call.
    import ssl  # noqa: F401

    if name in clients.CLIENTS:
        return clients.CLIENTS[name]()
    import openai

    sdk = openai.AsyncOpenAI if "async" in name else openai.OpenAI
    options = {}
    if name.endswith("-http2"):
        import httpx

        options["http_client"] = httpx.AsyncClient(http2=True, timeout=30)
    # The oldest SDK does not look at OPENAI_BASE_URL.
    return sdk(
        **options,
        base_url=os.environ["OPENAI_BASE_URL"],
        default_headers={"cookie": "session=cookie-secret-0123456789"},
    )


def aside(step):
    """Steps that are no calls."""
    if step["do"] == "run":
        import subprocess

        done = subprocess.run(step["command"], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout)
    if step["do"] == "children":
        return children(step["count"])
    if step["do"] == "exec":
        sys.stdout.flush()
        os.execv(step["command"][0], step["command"])
    if step["do"] == "exit":
        sys.exit(step.get("code", 0))
    return None


def children(count):
    """In turns forks that end, forks that execute a program, and Pythons."""
    import subprocess

    python = [sys.executable, "-S", "-E", "-c", "pass"]
    for number in range(count):
        if number % 3 == 0:
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
        else:
            # `preexec_fn` makes it a fork and not a `vfork`.
            command = ["true"] if number % 3 == 1 else python
            subprocess.run(command, check=True, preexec_fn=os.getpid)
    return count


def failure(error):
    cause = error.__cause__ or error.__context__
    return {
        "error": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "cause": repr(cause),
    }


def raw(step):
    """Method, path, headers, body and hang-up of a step for a client without an SDK."""
    import clients

    hang_up = step.get("stop_after")
    if step["do"] == "request":
        data = step["data"].encode() if "data" in step else None
        if "zeros" in step:
            data = b"0" * step["zeros"]
        return step["method"], step["path"], step.get("headers", {}), data, hang_up
    path = clients.BASE.path + PATHS[step["do"]]
    body = clients.encoded(filled(step["body"]))
    return "POST", path, clients.headers(step.get("headers", {})), body, hang_up


def filled(body):
    """A message's text made long here, not on the way here."""
    fill = body.get("metadata", {}).pop("fill", None)
    if fill:
        body["messages"][0]["content"] += "x" * int(fill)
    return body


def understood(step, status, data):
    from summary import events, summary

    if step["do"] == "request":
        return {"status": status, "bytes": len(data)}
    if status >= 400:
        return {"error": "status", "status": status}
    text = data.decode()
    body = step["body"]
    if step.get("stop_after"):
        text = text[: text.rindex("\n\n")]
    documents = events(text) if body.get("stream") else [json.loads(text)]
    return summary(step["do"], body, documents)


def once(client, step):
    if hasattr(client, "send"):
        return understood(step, *client.send(*raw(step)))
    from summary import summary

    if step["do"] == "retrieve":
        document = client.responses.retrieve(step["id"]).model_dump()
        return summary("responses", {}, [document])
    if "client" in step:
        client = client.with_options(**step["client"])
    answer = method(client, step["do"])(**step["body"], extra_headers=step.get("headers"))
    if not step["body"].get("stream"):
        return summary(step["do"], step["body"], [answer.model_dump()])
    documents = []
    for chunk in answer:
        documents.append(chunk.model_dump())
        if len(documents) == step.get("stop_after"):
            answer.response.close()
            break
    return summary(step["do"], step["body"], documents)


async def once_async(client, step):
    if hasattr(client, "send"):
        return understood(step, *await client.send(*raw(step)))
    from summary import summary

    if step["do"] == "retrieve":
        document = (await client.responses.retrieve(step["id"])).model_dump()
        return summary("responses", {}, [document])
    if "client" in step:
        client = client.with_options(**step["client"])
    answer = await method(client, step["do"])(**step["body"], extra_headers=step.get("headers"))
    if not step["body"].get("stream"):
        return summary(step["do"], step["body"], [answer.model_dump()])
    documents = []
    async for chunk in answer:
        documents.append(chunk.model_dump())
        if len(documents) == step.get("stop_after"):
            await answer.response.aclose()
            break
    return summary(step["do"], step["body"], documents)


def method(client, name):
    return {
        "chat": lambda: client.chat.completions.create,
        "completions": lambda: client.completions.create,
        "embeddings": lambda: client.embeddings.create,
        "responses": lambda: client.responses.create,
    }[name]()


if __name__ == "__main__":
    main()
