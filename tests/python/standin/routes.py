"""Which path is answered by what."""

import asyncio

from . import chat, coding, control, dashscope, embeddings, responses

MODEL_CALLS = {
    "chat/completions": chat.chat,
    "completions": chat.completions,
    "responses": responses.create,
    "embeddings": embeddings.embeddings,
    "text-generation/generation": dashscope.generation,
    "text-embedding/text-embedding": dashscope.embedding,
}


async def answer(request, reply, entry):
    """Answers one request; `entry` is told what it was."""
    try:
        coding.chosen(request.headers) and coding.encoder(coding.chosen(request.headers))
    except coding.Missing as missing:
        request.headers.pop("x-test-encoding")
        await reply.send(501, {"error": {"message": str(missing), "type": "standin"}})
        return
    path = request.path.rstrip("/")
    if path.startswith("/other"):
        await other(request, reply)
    elif path.endswith("/models"):
        models = [{"id": "m-test", "object": "model", "created": 1, "owned_by": "standin"}]
        await reply.send(200, {"object": "list", "data": models})
    else:
        await model_call(request, reply, entry, path)


async def model_call(request, reply, entry, path):
    body = request.json()
    if body is None:
        error = {"message": "We could not parse the JSON body.", "type": "invalid_request_error"}
        await reply.send(400, {"error": {**error, "param": None, "code": None}})
        return
    operation, deployment = recognise(path)
    if deployment and not body.get("model"):
        body["model"] = deployment
    ctl = control.Control(request, body)
    entry["model"] = ctl.model
    entry["operation"] = operation
    entry["stream"] = bool(body.get("stream"))
    entry["attempt"] = request.headers.get("x-stainless-retry-count")
    headers = [
        ("x-request-id", "req_" + ctl.digest[:16]),
        ("openai-processing-ms", "7"),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-remaining-requests", "9999"),
    ]
    if request.method == "GET" and operation.startswith("responses/"):
        await responses.retrieve(request, ctl, reply, headers, operation.split("/")[1])
        return
    handler = MODEL_CALLS.get(operation)
    if handler is None or request.method != "POST":
        message = f"Invalid URL ({request.method} {request.path})"
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        await reply.send(404, {"error": error}, headers=headers)
        return
    if ctl.model == "hang":
        await asyncio.sleep(3600)
    status = ctl.failure()
    if status is None:
        await handler(request, body, ctl, reply, headers)
    elif ctl.model == "error-html":
        page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
        await reply.send(status, page, "text/html", headers)
    else:
        if status == 429:
            headers += [("retry-after-ms", "50"), ("retry-after", "0")]
        await reply.send(status, control.error_body(status, ctl.model), headers=headers)


def recognise(path):
    """What is asked for, and Azure's deployment if the path has one. Any base path will do."""
    parts = [part for part in path.split("/") if part]
    deployment = None
    if "deployments" in parts[:-1]:
        deployment = parts[parts.index("deployments") + 1]
    if "/".join(parts[-2:]) in MODEL_CALLS:
        return "/".join(parts[-2:]), deployment
    if len(parts) > 1 and parts[-2] == "responses":
        return "responses/" + parts[-1], deployment
    return (parts[-1] if parts else ""), deployment


async def other(request, reply):
    """What is no model's: `/other?bytes=N` has a body of that size, `/other/empty` none,
    `/other/echo` the request's."""
    if request.path.startswith("/other/empty"):
        await reply.send(204, b"")
    elif request.path.startswith("/other/unchanged"):
        await reply.send(304, b"")
    elif request.path.startswith("/other/echo"):
        await reply.send(200, request.body, request.headers.get("content-type", "text/plain"))
    else:
        size = int(request.query.get("bytes", "64"))
        body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
        await reply.send(200, body, "application/octet-stream")
