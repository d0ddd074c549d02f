"""The demo's program for a machine without the openai package: the same kind of calls, made with
Python's own HTTP client.
"""

import http.client
import json
import os
import ssl
import threading
import time
from urllib.parse import urlsplit

MODEL = "gpt-demo"
BASE = urlsplit(os.environ["OPENAI_BASE_URL"])
HEADERS = {
    "authorization": "Bearer " + os.environ["OPENAI_API_KEY"],
    "content-type": "application/json",
}
CALLS = []
FUNCTION = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "examples": ["Hangzhou"]}},
    },
}


def connect():
    # SSL_CERT_FILE is honoured by the default context.
    return http.client.HTTPSConnection(
        BASE.hostname, BASE.port, context=ssl.create_default_context(), timeout=30
    )


def post(connection, path, body, operation="chat"):
    CALLS.append(operation)
    connection.request("POST", BASE.path + path, json.dumps(body), HEADERS)
    return connection.getresponse()


def chat(text, **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def pace(chunks, delay_ms):
    return {"chunks": str(chunks), "delay_ms": str(delay_ms), "first_delay_ms": "200"}


def stream(text, chunks, delay_ms, stop_after=None):
    connection = connect()
    options = {"include_usage": True}
    body = chat(text, stream=True, stream_options=options, metadata=pace(chunks, delay_ms))
    response = post(connection, "/chat/completions", body)
    for number, line in enumerate(response):
        if number == stop_after:
            break
        if line.startswith(b"data: [DONE]"):
            response.read()
            break
    connection.close()


def main():
    connection = connect()
    path = "/chat/completions"
    post(connection, path, chat("Why is the sky blue?", metadata=pace(20, 0))).read()
    time.sleep(0.1)
    stream("Tell me more about light, slowly.", 30, 40)
    tools = [{"type": "function", "function": FUNCTION}]
    post(connection, path, chat("What is the weather in Hangzhou?", tools=tools)).read()
    time.sleep(0.1)
    body = {"model": MODEL, "input": "And why is the sunset red?", "metadata": pace(12, 0)}
    post(connection, "/responses", body).read()
    body = {"model": "embed-demo", "input": ["a blue sky", "a red sunset"]}
    post(connection, "/embeddings", body, "embeddings").read()
    post(connection, path, {**chat("Are you there?"), "model": "error-404"}).read()
    stream("Tell me everything.", 200, 40, stop_after=16)
    threads = [
        threading.Thread(target=stream, args=arguments)
        for arguments in (("Name the colours of the rainbow.", 14, 60), ("What is a prism?", 24, 50))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connection.close()
    report = os.environ.get("DEMO_REPORT")
    if report:
        with open(report, "w") as file:
            json.dump({"calls": CALLS}, file)


if __name__ == "__main__":
    main()
