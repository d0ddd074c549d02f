"""Coroutines that call a model, many at a time in one thread, by themselves, by other tasks and by
other threads: coroutine_tree.py

Prints `ready`. For each number on standard input so many are gathered, each with a question of its
own, and prints how many were answered.
"""

import asyncio

# Otherwise it is loaded with its first use.
import concurrent.futures.thread  # noqa: F401
import json
import sys

import clients


async def awaited(question):
    return await ask(question)


async def gathered(question):
    return (await asyncio.gather(ask(question), asyncio.sleep(0)))[0]


async def in_task(question):
    return await asyncio.create_task(ask(question))


async def in_thread(question):
    return await asyncio.to_thread(asyncio.run, ask(question))


async def in_executor(question):
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, asyncio.run, ask(question))


async def in_group(question):
    async with asyncio.TaskGroup() as group:
        done = group.create_task(ask(question))
    return done.result()


WAYS = [awaited, gathered, in_task, in_thread, in_executor]
if sys.version_info >= (3, 11):
    WAYS.append(in_group)


async def answer(question):
    """The call, after a wait and before another one, with others going on meanwhile."""
    await asyncio.sleep(0.001 * (len(question) % 5))
    said = await WAYS[len(question) % len(WAYS)](question)
    await asyncio.sleep(0.001 * (len(question) % 3))
    return said


def sent(writer, question):
    body = json.dumps({"model": "in-coroutine", "messages": [{"role": "user", "content": question}]})
    head = (
        f"POST {clients.BASE.path}/chat/completions HTTP/1.1\r\nHost: {clients.BASE.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write((head + body).encode())


async def ask(question):
    tls = clients.context() if clients.BASE.scheme == "https" else None
    reader, writer = await asyncio.open_connection(clients.BASE.hostname, clients.BASE.port, ssl=tls)
    sent(writer, question)
    said = await reader.read()
    writer.close()
    return said


async def alone(question):
    """Not watched."""
    return await ask(question)


async def round_of(count):
    questions = [f"question {number} {'x' * number}" for number in range(count)]
    steps = [answer(question) for question in questions]
    steps += [alone(f"nobody's {number}") for number in range(count)]
    return await asyncio.gather(*steps)


def main():
    print("ready", flush=True)
    loop = asyncio.new_event_loop()
    for line in sys.stdin:
        said = loop.run_until_complete(round_of(int(line)))
        print(sum(b" 200 " in one.split(b"\r\n")[0] for one in said), flush=True)


if __name__ == "__main__":
    main()
