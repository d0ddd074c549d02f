"""A FastAPI application that calls a model in several ways for each request: app.py

Serves on a free port of loopback, prints it, and ends with its standard input. `/ask` makes six
calls: plain, streamed, one that offers a tool and one with what the tool gave, an embedding, and one
that the provider refuses.
"""

import asyncio
import os
import socket
import sys
import threading

import httpx
import uvicorn
from fastapi import FastAPI

BASE = os.environ["OPENAI_BASE_URL"]
HEADERS = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
MODEL = "gpt-backend"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "examples": ["Hangzhou"]}},
        },
    },
}

app = FastAPI()
client = httpx.AsyncClient(headers=HEADERS)


async def chat(messages, **options):
    body = {"model": MODEL, "messages": messages, **options}
    answer = await client.post(BASE + "/chat/completions", json=body)
    return answer.json()


async def plain(id):
    messages = [
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "user", "content": f"Why is the sky blue? “{id}”, 天空"},
    ]
    await chat(messages, temperature=0.2, max_tokens=100)


async def streamed(id):
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Tell {id} more about light."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "metadata": {"chunks": "20", "delay_ms": "5"},
    }
    async with client.stream("POST", BASE + "/chat/completions", json=body) as answer:
        async for _ in answer.aiter_bytes():
            pass


async def tools(id):
    messages = [{"role": "user", "content": f"What is the weather like, {id}?"}]
    first = await chat(messages, tools=[TOOL])
    message = first["choices"][0]["message"]
    messages.append(message)
    for call in message["tool_calls"]:
        result = {"role": "tool", "tool_call_id": call["id"], "content": "21 degrees, clear"}
        messages.append(result)
    await chat(messages, tools=[TOOL])


async def embedding(id):
    body = {"model": "embed-backend", "input": ["a blue sky", f"a red sunset, {id}"]}
    await client.post(BASE + "/embeddings", json=body)


async def refused(id):
    body = {"model": "error-404", "messages": [{"role": "user", "content": f"Anyone, {id}?"}]}
    answer = await client.post(BASE + "/chat/completions", json=body)
    assert answer.status_code == 404, answer.text


@app.get("/ask")
async def ask(id: str):
    await plain(id)
    await asyncio.gather(streamed(id), tools(id))
    await embedding(id)
    await refused(id)
    return id


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    def end():
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end, daemon=True).start()
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
