"""Checks the provider stand-in with the real openai package, one scenario after the other.

    python check_provider.py PORT CA

Ends with 0 when the SDK understands every answer as it should.
"""

import asyncio
import http.client
import json
import os
import ssl
import sys

import openai

SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def user(text="Why is the sky blue?"):
    return [{"role": "user", "content": text}]


def tool(name):
    properties = {"city": {"type": "string", "examples": ["Hangzhou"]}, "days": {"type": "integer"}}
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def expect(actual, expected):
    if actual != expected:
        raise AssertionError(f"{actual!r} is not {expected!r}")


def expect_error(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


@scenario
def plain_chat(client):
    answer = client.chat.completions.create(model="m", messages=user(), metadata={"chunks": "4"})
    expect(answer.choices[0].message.content, "The sky is blue")
    expect((answer.usage.prompt_tokens, answer.usage.completion_tokens), (5, 4))
    expect(answer.choices[0].finish_reason, "stop")


@scenario
def choices(client):
    answer = client.chat.completions.create(model="length", messages=user(), n=3)
    expect([c.finish_reason for c in answer.choices], ["length"] * 3)
    stream = client.chat.completions.create(model="m", messages=user(), n=2, stream=True)
    expect({chunk.choices[0].index for chunk in stream}, {0, 1})


@scenario
def streamed_chat(client):
    stream = client.chat.completions.create(
        model="m",
        messages=user(),
        stream=True,
        stream_options={"include_usage": True},
        metadata={"chunks": "30", "delay_ms": "1", "chunk_chars": "40"},
    )
    chunks = list(stream)
    expect(len(chunks), 33)
    expect(chunks[-1].usage.completion_tokens, 30)
    expect(min(len(chunk.choices[0].delta.content) for chunk in chunks[1:31]), 40)


@scenario
def tools(client):
    offered = [tool("one"), tool("two")]
    answer = client.chat.completions.create(model="m", messages=user(), tools=offered)
    calls = answer.choices[0].message.tool_calls
    expect([c.function.name for c in calls], ["one", "two"])
    expect(json.loads(calls[0].function.arguments), {"city": "Hangzhou", "days": 3})
    stream = client.chat.completions.create(
        model="m", messages=user(), tools=offered, stream=True
    )
    arguments = {}
    for chunk in stream:
        for part in chunk.choices[0].delta.tool_calls or []:
            text = part.function.arguments
            arguments[part.index] = arguments.get(part.index, "") + text
    expect(arguments, {0: calls[0].function.arguments, 1: calls[1].function.arguments})
    answer = client.chat.completions.create(
        model="m", messages=user(), tools=offered, parallel_tool_calls=False
    )
    expect(len(answer.choices[0].message.tool_calls), 1)


@scenario
def refusal_and_reasoning(client):
    answer = client.chat.completions.create(model="refusal", messages=user())
    expect(answer.choices[0].message.refusal, "I cannot help with that.")
    answer = client.chat.completions.create(model="reasoning", messages=user())
    expect(answer.choices[0].message.reasoning_content, "Light and air: think.")


@scenario
def responses(client):
    if not hasattr(client, "responses"):
        return
    answer = client.responses.create(model="m", input="Hello", reasoning={"effort": "low"})
    expect(answer.output[0].type, "reasoning")
    expect(answer.output_text.split()[:2], ["The", "sky"])
    expect(client.responses.retrieve(answer.id).output_text, answer.output_text)
    events = list(client.responses.create(model="m", input="Hello", stream=True))
    expect(events[0].type, "response.created")
    expect(events[-1].type, "response.completed")
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    expect(events[-1].response.output_text, text)
    flat = {"type": "function", **tool("one")["function"]}
    answer = client.responses.create(model="m", input="Hello", tools=[flat])
    expect(answer.output[0].type, "function_call")
    answer = client.responses.create(model="length", input="Hello")
    expect(answer.incomplete_details.reason, "max_output_tokens")
    events = list(client.responses.create(model="midstream-error", input="Hello", stream=True))
    expect(events[-1].type, "response.failed")
    expect_error(openai.NotFoundError, lambda: client.responses.retrieve("resp_none"))


@scenario
def legacy_completions(client):
    answer = client.completions.create(model="m", prompt=["a", "b"])
    expect(len(answer.choices), 2)
    chunks = list(client.completions.create(model="m", prompt="a", stream=True))
    expect(chunks[-1].choices[0].finish_reason, "stop")


@scenario
def embeddings(client):
    answer = client.embeddings.create(model="m", input=["a b", "c"], dimensions=16)
    floats = client.embeddings.create(
        model="m", input=["a b", "c"], dimensions=16, encoding_format="float"
    )
    expect([len(item.embedding) for item in answer.data], [16, 16])
    expect(list(answer.data[1].embedding), floats.data[1].embedding)
    expect(answer.usage.prompt_tokens, 3)


@scenario
def failures(client):
    def call(model, **more):
        return client.chat.completions.create(model=model, messages=user(), **more)

    expect(expect_error(openai.NotFoundError, lambda: call("error-404")).code, "model_not_found")
    expect_error(openai.BadRequestError, lambda: call("error-400"))
    expect_error(openai.AuthenticationError, lambda: call("error-401"))
    expect_error(openai.RateLimitError, lambda: call("error-429"))
    expect_error(openai.InternalServerError, lambda: call("error-html"))
    expect(call("error-429-then-ok").choices[0].finish_reason, "stop")
    expect(call("error-500-then-ok").choices[0].finish_reason, "stop")
    expect_error(openai.APIError, lambda: list(call("midstream-error", stream=True)))
    expect_error(Exception, lambda: list(call("cut", stream=True)))
    expect_error(openai.APIConnectionError, lambda: call("cut"))
    quick = client.with_options(timeout=0.3, max_retries=0)
    expect_error(
        openai.APITimeoutError,
        lambda: quick.chat.completions.create(model="hang", messages=user()),
    )


@scenario
def codings_and_framings(client):
    names = ["gzip", "deflate", "auto"]
    for module, name in (("brotli", "br"), ("zstandard", "zstd")):
        try:
            __import__(module)
            names.append(name)
        except ImportError:
            pass
    for name in names:
        for framing in ("length", "chunked", "close"):
            headers = {"x-test-encoding": name, "x-test-framing": framing, "x-test-split": "7"}
            answer = client.chat.completions.create(
                model="m", messages=user(), extra_headers=headers
            )
            expect(answer.choices[0].finish_reason, "stop")
            stream = client.chat.completions.create(
                model="m", messages=user(), stream=True, extra_headers=headers
            )
            expect(list(stream)[-1].choices[0].finish_reason, "stop")
    headers = {"x-test-trailers": "1", "x-test-split": "1"}
    stream = client.chat.completions.create(
        model="m", messages=user(), stream=True, extra_headers=headers
    )
    expect(list(stream)[-1].choices[0].finish_reason, "stop")


@scenario
def azure(client):
    azure_client = openai.AzureOpenAI(
        azure_endpoint=str(client.base_url).split("/v1")[0],
        azure_deployment="my-deployment",
        api_version="2024-10-21",
        api_key="sk-test",
    )
    answer = azure_client.chat.completions.create(model="m", messages=user())
    expect(answer.model, "m-2026")


@scenario
def many_at_once(client):
    async def run():
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key="sk-test") as many:

            async def one(number):
                stream = await many.chat.completions.create(
                    model="m",
                    messages=user(f"number {number}"),
                    stream=True,
                    extra_body={"metadata": {"chunks": "20", "delay_ms": "5"}},
                )
                return [chunk async for chunk in stream]

            return await asyncio.gather(*(one(number) for number in range(50)))

    expect([len(chunks) for chunks in asyncio.run(run())], [22] * 50)


@scenario
def not_a_models(client):
    url = client.base_url
    context = ssl.create_default_context()
    connection = http.client.HTTPSConnection(url.host, url.port, context=context)

    def ask(method, path, body=None, **headers):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    expect(len(ask("GET", "/other?bytes=3000000")[1]), 3000000)
    expect(ask("POST", "/other/echo", b"x" * 200000)[1], b"x" * 200000)
    expect(ask("GET", "/other/empty"), (204, b""))
    expect(ask("GET", "/other/unchanged"), (304, b""))
    expect(ask("HEAD", "/other?bytes=99"), (200, b""))
    body = json.dumps({"model": "m", "messages": user()})
    status, text = ask("POST", "/v1/chat/completions", body, Expect="100-continue")
    expect((status, json.loads(text)["object"]), (200, "chat.completion"))
    expect(ask("POST", "/v1/chat/completions", b"{")[0], 400)
    expect(ask("GET", "/v1/models")[0], 200)


def main():
    port, authority = sys.argv[1:]
    os.environ["SSL_CERT_FILE"] = authority
    failed = 0
    with openai.OpenAI(base_url=f"https://localhost:{port}/v1", api_key="sk-test") as client:
        for function in SCENARIOS:
            try:
                function(client)
                print(f"test {function.__name__} ... ok")
            except Exception as error:
                failed += 1
                print(f"test {function.__name__} ... FAILED: {type(error).__name__}: {error}")
    word = "FAILED" if failed else "ok"
    print(f"\ntest result: {word}. {len(SCENARIOS) - failed} passed; {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
