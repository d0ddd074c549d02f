"""The program that is traced in a virtual machine: app.py

Asks a model at OPENAI_BASE_URL, over TLS or not, with Python's own HTTP client. Prints `ready`;
then makes a call for each line of standard input, which is its question, and prints as JSON what it
was answered.
"""

import http.client
import json
import os
import ssl
import sys
from urllib.parse import urlsplit

MODEL = "gpt-vm"


def connect(base):
    if base.scheme == "http":
        return http.client.HTTPConnection(base.hostname, base.port, timeout=60)
    # SSL_CERT_FILE is honoured by the default context.
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(base.hostname, base.port, timeout=60, context=context)


def answer(connection, path, question):
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}]}
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    return json.load(connection.getresponse())


def main():
    base = urlsplit(os.environ["OPENAI_BASE_URL"])
    connection = connect(base)
    print("ready", flush=True)
    for line in sys.stdin:
        said = answer(connection, base.path + "/chat/completions", line.strip())
        usage = said["usage"]
        told = {"id": said["id"], "port": base.port, "input": usage["prompt_tokens"]}
        print(json.dumps({**told, "output": usage["completion_tokens"]}), flush=True)


if __name__ == "__main__":
    main()
