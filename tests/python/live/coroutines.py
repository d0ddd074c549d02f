"""Runs coroutines and generators in many ways, and keeps its own record of each: coroutines.py

Prints `ready`. For each word on standard input it does what the word says and prints the record: for
every call its number, function, caller in the same task (another number), error, and between which
times it was.
"""

import asyncio
import contextvars
import gc
import itertools
import json
import os
import sys
import threading
import time

NUMBERS = itertools.count(1)
TRUTH = []
KEPT = []
KEEP = False
AROUND = contextvars.ContextVar("around", default=None)


class Odd(Exception):
    pass


class Service:
    async def handle(self, number, text, share=0.5, then=(), *, flag=True, nothing=None):
        """Awaits what it is told to; some of what it is given is in cells."""
        for step in then:
            await step()
        return [text for _ in range(3) if share and (flag or nothing is None)]


async def inner(number, then=None):
    """The first thing that it does is to wait, if it is told what for."""
    while then is not None:
        return await then()
    return number


def numbers(number, count, kind=None):
    """A generator."""
    for value in range(count):
        yield value
    if kind is not None:
        raise kind("no")


async def stream(number, count, then=None):
    """An asynchronous generator."""
    for value in range(count):
        yield value
        if then is not None:
            await then()


def record(function):
    told = {"number": next(NUMBERS), "name": function.__name__, "around": AROUND.get(), "error": None}
    TRUTH.append(told)
    return told


async def call(function, *arguments, least=0, **more):
    """The call, and what is to be seen of it."""
    told = record(function)
    token = AROUND.set(told["number"])
    told["least"] = int(least * 1e9)
    kept = len(KEPT)
    told["start"] = time.time_ns()
    try:
        return await function(told["number"], *arguments, **more)
    except BaseException as error:
        told["error"] = type(error).__name__
        # Its traceback, and with it the frame, lives on.
        if KEEP:
            KEPT.append(error)
        raise
    finally:
        told["end"] = time.time_ns()
        # A frame that is kept keeps those that called it.
        told["kept"] = len(KEPT) > kept and not told["error"]
        AROUND.reset(token)


async def task(step):
    """What a task of its own does is in nobody's frames."""
    AROUND.set(None)
    return await step()


def nap(seconds=0.002):
    return lambda: asyncio.sleep(seconds)


async def fail(kind):
    raise kind("no")


async def passing(kind):
    """The exception passes blocks that let it go on, after a wait."""
    try:
        with threading.Lock():
            await asyncio.sleep(0)
            await fail(kind)
    finally:
        hash(kind)


async def caught(function, *arguments, **more):
    try:
        await call(function, *arguments, **more)
    except (Odd, ValueError, asyncio.CancelledError, asyncio.TimeoutError):
        pass


async def deep(levels):
    if levels:
        await asyncio.sleep(0)
        await call(inner, lambda: deep(levels - 1))


async def plain():
    for _ in range(100):
        await call(inner)
        await call(inner, nap(0))
    handle = Service().handle
    await call(handle, "grüße", 0.25, [lambda: call(inner), nap(0.01)], least=0.009)
    await call(handle, "a" * 3000, share=1.5, flag=False)
    await call(handle, 5, share=-7, nothing=2**40)
    # Looked at, not run.
    for _ in range(20):
        hash(inner), inner.__code__.co_code, [inner for _ in range(3)]
        await call(inner, lambda: asyncio.sleep(0, inner))


async def kept():
    global KEEP
    KEEP = True
    await errors()
    KEEP = False


async def errors():
    handle = Service().handle
    for _ in range(15):
        await caught(inner, lambda: fail(ValueError))
        await caught(inner, lambda: passing(Odd))
        await caught(handle, "x", then=[lambda: call(inner, lambda: passing(Odd))])
        # One that does not leave.
        await call(inner, lambda: caught(inner, lambda: fail(Odd)))
        await call(inner)
    # Those that leave a task: code in C takes them.
    for kind in (Odd, ValueError):
        alone = [asyncio.ensure_future(task(lambda: caught(inner, lambda: passing(kind)))) for _ in range(5)]
        await asyncio.gather(*alone)
    # The coroutine is the task itself.
    for _ in range(5):
        told = record(inner)
        told["around"] = None
        told["error"] = "Odd"
        alone = asyncio.ensure_future(inner(told["number"], lambda: passing(Odd)))
        await asyncio.wait([alone])
        if KEEP:
            KEPT.append(alone)
        alone.exception()
        told["end"] = time.time_ns()
    for _ in range(5):
        alone = asyncio.ensure_future(task(lambda: call(inner, nap(5))))
        await asyncio.sleep(0.003)
        alone.cancel()
        await asyncio.wait([alone])
        with_limit = asyncio.wait_for(task(lambda: caught(inner, nap(5))), 0.002)
        await asyncio.wait([asyncio.ensure_future(with_limit)])


async def nested():
    await deep(6)
    for _ in range(10):
        await deep(2)
        await call(Service().handle, "x", then=[lambda: deep(1), lambda: call(inner)])


async def many():
    """Many at a time in one thread, each stopping where another goes on."""

    def step(index):
        async def run():
            for _ in range(3):
                await call(
                    Service().handle,
                    "x",
                    then=[nap(0.001 * (index % 4)), lambda: call(inner, nap(0.001)), lambda: caught(inner, lambda: passing(Odd))],
                )

        return run

    await asyncio.gather(*[task(step(index)) for index in range(30)])


async def work():
    for _ in range(10):
        await call(inner, nap(0))
        await caught(Service().handle, "thread", then=[lambda: call(inner, nap(0.001)), lambda: passing(Odd)])


def run(step):
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(step)
    finally:
        loop.close()


def threads():
    new = [threading.Thread(target=lambda: run(work())) for _ in range(4)]
    for thread in new:
        thread.start()
    for thread in new:
        thread.join()
    # Begun on one thread, ended on another.
    for error in (None, "Odd"):
        told = record(inner)
        told["error"] = error
        coroutine = inner(told["number"], lambda: passing(Odd) if error else asyncio.sleep(0))
        told["start"] = time.time_ns()
        coroutine.send(None)

        def end():
            try:
                coroutine.send(None)
            except (StopIteration, Odd):
                pass
            told["end"] = time.time_ns()

        thread = threading.Thread(target=end)
        thread.start()
        thread.join()


def closed():
    """Never run, closed before the end, let go of before the end."""
    coroutine = inner(next(NUMBERS))
    coroutine.close()
    for way in range(6):
        told = record(inner)
        told["closed"] = True
        coroutine = inner(told["number"], nap(0) if way % 2 else lambda: passing(Odd))
        coroutine.send(None)
        if way < 4:
            coroutine.close()
        del coroutine
        gc.collect()
        told["end"] = time.time_ns()
    run(call(inner))


def generators():
    for way in range(8):
        for _ in range(5):
            told = record(numbers)
            told["closed"] = way in (1, 5)
            told["error"] = {2: "Odd", 3: "KeyError"}.get(way)
            made = numbers(told["number"], 4, Odd if way == 2 else None)
            told["start"] = time.time_ns()
            try:
                if way == 1:
                    next(made)
                elif way == 3:
                    next(made)
                    made.throw(KeyError("no"))
                elif way == 4:
                    list(made)
                elif way == 5:
                    for _ in made:
                        break
                    made.close()
                elif way == 6:
                    sum(value for value in made)
                else:
                    for _ in made:
                        pass
            except (Odd, KeyError):
                pass
            del made
            told["end"] = time.time_ns()
    run(streams())


async def streams():
    for way in range(4):
        for _ in range(5):
            told = record(stream)
            told["closed"] = way == 1
            told["error"] = "Odd" if way == 2 else None
            made = stream(told["number"], 3, [nap(0), nap(0), lambda: passing(Odd), None][way])
            told["start"] = time.time_ns()
            try:
                async for value in made:
                    if way == 1 and value == 1:
                        break
                await made.aclose()
            except Odd:
                pass
            del made
            told["end"] = time.time_ns()


def forks():
    """In a child, some of them when somebody can know of it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        del TRUTH[:], KEPT[:]
        for _ in range(5000):
            next(NUMBERS)
        run(nested())
        sys.stdin.readline()
        run(work())
        os.write(write, (json.dumps(TRUTH) + "\n").encode())
        os._exit(0)
    os.close(write)
    with open(read) as lines:
        TRUTH.extend(json.loads(lines.read()))
    os.waitpid(child, 0)


def main():
    print("ready", flush=True)
    steps = {
        "plain": lambda: run(plain()),
        "errors": lambda: run(errors()),
        "kept": lambda: run(kept()),
        "nested": lambda: run(nested()),
        "many": lambda: run(many()),
        "threads": threads,
        "closed": closed,
        "generators": generators,
        "forks": forks,
    }
    for line in iter(sys.stdin.readline, ""):
        del TRUTH[:], KEPT[:]
        steps[line.strip()]()
        print(json.dumps(TRUTH), flush=True)


if __name__ == "__main__":
    main()
