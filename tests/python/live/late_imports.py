"""Imports modules when it is told to, and calls their functions soon after: late_imports.py

Prints `ready`. For each line on standard input (the name of a module, milliseconds to wait after its import,
how many calls, microseconds between them) it imports the module and makes the calls, and prints the record:
for every call its number, and after how many microseconds since the end of the import it was. `eval COUNT`
evaluates what is compiled already so many times, and prints nanoseconds for each.
"""

import importlib
import json
import os
import sys
import tempfile
import time

MODULES = {
    "late_plain": "def added(number):\n    return number\n",
    "late_class": (
        "class Bot:\n    class Inner:\n        @staticmethod\n        def added(number):\n"
        "            return number\nadded = Bot.Inner.added\n"
    ),
    # Its function is another one in the end.
    "late_replaced": (
        "def other(f):\n    def wrapper(number):\n        return f(number)\n    return wrapper\n"
        "@other\ndef added(number):\n    return number\n"
    ),
    # What calls it is the body itself.
    "late_own": (
        "import time\ndef added(number):\n    return number\ntime.sleep(0.02)\n"
        "for number in range(900, 905):\n    added(number)\n"
    ),
    "late_steps": "def added(number):\n    yield number\n",
    # It is the second time that it is imported to the end.
    "late_fails": "import builtins\ndef added(number):\n    return number\n"
    "if not hasattr(builtins, 'again'):\n    builtins.again = True\n    raise ImportError('not yet')\n",
    "late_never": "def added(number):\n    return number\n",
}


def write(place):
    """Modules, one in a package; the names of their files are no ASCII."""
    for name, source in MODULES.items():
        for at in range(4):
            with open(os.path.join(place, f"{name}{at}.py"), "w") as file:
                file.write(source)
    os.makedirs(os.path.join(place, "pack", "age"))
    for name in ("pack", os.path.join("pack", "age")):
        with open(os.path.join(place, name, "__init__.py"), "w") as file:
            file.write(MODULES["late_plain"])


def imported(name, wait, count, pause):
    try:
        module = importlib.import_module(name)
    except ImportError:
        time.sleep(0.05)
        module = importlib.import_module(name)
    begun = time.perf_counter_ns()
    while time.perf_counter_ns() < begun + wait * 1_000_000:
        pass
    truth = []
    for number in range(count):
        truth.append({"number": number, "after": (time.perf_counter_ns() - begun) // 1000})
        result = module.added(number)
        if not isinstance(result, int):
            list(result)
        until = time.perf_counter_ns() + pause * 1000
        while time.perf_counter_ns() < until:
            pass
    return truth


def evaluated(count):
    code = compile("1", "<string>", "eval")
    begun = time.perf_counter_ns()
    for _ in range(count):
        eval(code)
    return (time.perf_counter_ns() - begun) / count


def main():
    with tempfile.TemporaryDirectory(prefix="späte-模块-") as place:
        write(place)
        sys.path.insert(0, place)
        print("ready", flush=True)
        for line in iter(sys.stdin.readline, ""):
            name, *numbers = line.split()
            numbers = [int(number) for number in numbers]
            told = evaluated(*numbers) if name == "eval" else imported(name, *numbers)
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
