"""Calls functions in many ways, and keeps its own record of each call: functions.py

Prints `ready` with the ids of its threads. For each word on standard input it does what the word
says and prints the record: for every call its number, function, caller (another number), error, and
between which times it was.
"""

import concurrent.futures
import functools
import importlib
import itertools
import json
import os
import sys
import threading
import time

NUMBERS = itertools.count(1)
TRUTH = []
KEPT = []
LOCAL = threading.local()


class Odd(Exception):
    pass


class Service:
    def handle(self, number, text, share=0.5, then=(), *, flag=True, nothing=None):
        """Calls what it is told to, some of it enclosed in functions of its own."""
        for step in then:
            step()
        return [text for _ in range(3) if share and (flag or nothing is None)]


def inner(number, then=None):
    """Nothing of its own between it and its end."""
    return then() if then is not None else number


def call(function, *arguments, **more):
    """The call, and what is to be seen of it."""
    number = next(NUMBERS)
    around = getattr(LOCAL, "around", None)
    told = {"number": number, "name": function.__name__, "around": around, "error": None}
    TRUTH.append(told)
    LOCAL.around = number
    kept = len(KEPT)
    told["start"] = time.time_ns()
    try:
        return function(number, *arguments, **more)
    except BaseException as error:
        told["error"] = type(error).__name__
        # Its traceback, and with it the function's frame, lives on.
        KEPT.append(error)
        raise
    finally:
        told["end"] = time.time_ns()
        # To 3.11 a frame that is kept keeps those that called it.
        told["kept"] = sys.version_info < (3, 12) and len(KEPT) > kept and not told["error"]
        LOCAL.around = around


def from_c(numbers):
    """Called by something that is not Python."""
    around = getattr(LOCAL, "around", None)
    for number in numbers:
        TRUTH.append({"number": number, "name": "inner", "around": around, "error": None})
    return numbers


def fail(kind):
    raise kind("no")


def caught(function, *arguments, **more):
    try:
        call(function, *arguments, **more)
    except (Odd, ValueError):
        pass


def passing(kind):
    """The exception passes blocks that let it go on."""
    try:
        with threading.Lock():
            fail(kind)
    finally:
        KEPT.append(kind)


def deep(levels):
    return call(inner, lambda: deep(levels - 1)) if levels else None


def plain():
    for _ in range(300):
        call(inner)
    handle = Service().handle
    call(handle, "grüße, 你好 🦀", 0.25, [lambda: call(inner), lambda: time.sleep(0.01)])
    call(handle, "a" * 3000, share=1.5, flag=False)
    call(handle, 5, share=-7, nothing=2**40)
    call(handle, None, share=2**80, flag=Odd(), nothing="")


def errors():
    handle = Service().handle
    for _ in range(20):
        caught(inner, functools.partial(fail, ValueError))
        caught(inner, functools.partial(passing, Odd))
        caught(handle, "x", then=[lambda: call(inner, functools.partial(passing, Odd))])
        # One that does not leave its function.
        call(inner, functools.partial(caught, inner, functools.partial(fail, Odd)))
        call(inner)
        # Two around it, which its frame keeps to 3.11.
        call(inner, lambda: call(inner, functools.partial(caught, inner, functools.partial(fail, Odd))))
        call(inner)


def nested():
    deep(6)
    for _ in range(20):
        deep(2)
        call(Service().handle, "x", then=[lambda: deep(1), lambda: call(inner)])


def called_from_c():
    numbers = [next(NUMBERS) for _ in range(40)]
    sorted(from_c(numbers[:20]), key=inner)
    list(map(inner, from_c(numbers[20:])))
    call(Service().handle, "x", then=[lambda: list(map(inner, from_c([next(NUMBERS)])))])
    inside = [number for number in (next(NUMBERS) for _ in range(5)) if number]
    for _ in (inner(number) for number in from_c(inside)):
        pass


def looked_at():
    """What touches the code without calling the function."""
    codes = []
    for _ in range(50):
        codes.append(inner.__code__)
        hash(inner.__code__)
        assert inner.__code__ == codes[0] and inner.__code__.co_code
        call(inner, lambda: [inner.__code__ for _ in range(3)])
        call(inner, lambda: codes.clear() or codes.append(inner.__code__))
        type(inner)(inner.__code__, globals())


def work(count):
    for _ in range(count):
        call(inner)
        call(Service().handle, "thread", then=[lambda: call(inner)])


def threads(pool):
    done = [pool.submit(work, 40) for _ in range(4)]
    new = [threading.Thread(target=work, args=(40,)) for _ in range(4)]
    for thread in new:
        thread.start()
    for thread in new:
        thread.join()
    for one in done:
        one.result()


def forks():
    """In a child, and in a child of that, each once more when somebody can know of it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        del TRUTH[:]
        for _ in range(1000):
            next(NUMBERS)
        work(10)
        sys.stdin.readline()
        errors()
        del KEPT[:]
        grandchild = os.fork()
        if grandchild == 0:
            for _ in range(1000):
                next(NUMBERS)
            del TRUTH[:]
            work(5)
            sys.stdin.readline()
            errors()
        else:
            os.waitpid(grandchild, 0)
        os.write(write, (json.dumps(TRUTH) + "\n").encode())
        os._exit(0)
    os.close(write)
    with open(read) as lines:
        for line in lines:
            TRUTH.extend(json.loads(line))
    os.waitpid(child, 0)


def daemon():
    """Goes on in a child, of which it tells the id."""
    if os.fork():
        os._exit(0)
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    work(5)
    errors()


def late():
    """A module that was not there before."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    module = importlib.import_module("functions_late")
    sys.stdin.readline()
    for _ in range(10):
        call(module.added)


def storm():
    """Calls without end, each held against what it must give."""
    counts = {"calls": 0, "wrong": 0}

    def run():
        handle = Service().handle
        while True:
            wrong = handle(1, "s", then=[lambda: inner(2)]) != ["s"] * 3
            try:
                inner(3, lambda: fail(Odd))
                wrong = True
            except Odd:
                pass
            counts["calls"] += 3
            counts["wrong"] += wrong

    for _ in range(3):
        threading.Thread(target=run, daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps(counts), flush=True)


def main():
    pool = concurrent.futures.ThreadPoolExecutor(4)
    # So that its threads are there before anybody looks.
    barrier = threading.Barrier(5)
    for _ in range(4):
        pool.submit(barrier.wait)
    barrier.wait()
    print("ready", flush=True)
    steps = {
        "plain": plain,
        "errors": errors,
        "nested": nested,
        "called_from_c": called_from_c,
        "looked_at": looked_at,
        "threads": lambda: threads(pool),
        "forks": forks,
        "daemon": daemon,
        "late": late,
        "storm": storm,
    }
    for line in iter(sys.stdin.readline, ""):
        del TRUTH[:], KEPT[:]
        steps[line.strip()]()
        print(json.dumps(TRUTH), flush=True)


if __name__ == "__main__":
    main()
