"""What a client saw of a call, in one form for every client: to be held against the span."""

import json


def events(text):
    """The JSON documents of a stream of server-sent events."""
    documents = []
    for line in text.split("\n"):
        if line.startswith("data:"):
            data = line[5:].strip()
            if data and data != "[DONE]":
                documents.append(json.loads(data))
    return documents


def summary(operation, body, documents):
    """One call's answer: a document, or all events of a stream."""
    streamed = bool(body.get("stream"))
    seen = {
        "operation": operation,
        "request_model": body.get("model"),
        "stream": streamed,
        "chunks": len(documents) if streamed else 0,
        "texts": [],
        "tools": [],
        "finish": [],
        "input": None,
        "output": None,
        "id": None,
        "model": None,
    }
    if operation == "responses":
        responses(seen, documents, streamed)
    elif operation == "embeddings":
        embeddings(seen, documents)
    else:
        choices(seen, documents)
    return seen


def choices(seen, documents):
    texts, tools, finish = {}, {}, {}
    for document in documents:
        seen["id"] = document.get("id") or seen["id"]
        seen["model"] = document.get("model") or seen["model"]
        usage(seen, document.get("usage"), "prompt_tokens", "completion_tokens")
        for choice in document.get("choices") or []:
            index = choice["index"]
            part = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
            text = part.get("content") or part.get("refusal") or ""
            texts[index] = texts.get(index, "") + text
            for place, call in enumerate(part.get("tool_calls") or []):
                key = (index, call.get("index") if call.get("index") is not None else place)
                function = call.get("function") or {}
                old = tools.get(key, ["", ""])
                tools[key] = [
                    old[0] or function.get("name") or "",
                    old[1] + (function.get("arguments") or ""),
                ]
            if choice.get("finish_reason"):
                finish[index] = choice["finish_reason"]
    seen["texts"] = [texts[index] for index in sorted(texts)]
    seen["tools"] = [[name, json.loads(text)] for _, (name, text) in sorted(tools.items())]
    seen["finish"] = [finish[index] for index in sorted(finish)]


def responses(seen, documents, streamed):
    if streamed:
        ends = [d for d in documents if d["type"] in ("response.completed", "response.incomplete")]
        documents = [ends[-1]["response"]] if ends else []
    for document in documents:
        seen["id"], seen["model"] = document["id"], document["model"]
        usage(seen, document.get("usage"), "input_tokens", "output_tokens")
        text = ""
        for item in document["output"]:
            if item["type"] == "message":
                text += "".join(part.get("text") or part.get("refusal") for part in item["content"])
            elif item["type"] == "function_call":
                seen["tools"].append([item["name"], json.loads(item["arguments"])])
        seen["texts"] = [text]


def embeddings(seen, documents):
    for document in documents:
        seen["model"] = document["model"]
        seen["input"] = document["usage"]["prompt_tokens"]
        seen["dimensions"] = len(document["data"][0]["embedding"])


def usage(seen, counts, prompt, output):
    if counts:
        seen["input"], seen["output"] = counts[prompt], counts[output]
