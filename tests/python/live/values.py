"""Calls a function with objects of many kinds, and says what is inside of them: values.py

Prints `ready`; for each line on standard input calls `take` with every object and prints the record:
for each call its number and what is to be told of the argument. `take` spoils the object before
anybody else can look at it.
"""

import collections
import dataclasses
import enum
import json
import sys
import uuid

TEXT = 2048
ITEMS = 32


class Plain:
    """Attributes as they come."""

    def __init__(self, **more):
        self.first = "one"
        self.second = [1, 2]
        for name, value in more.items():
            setattr(self, name, value)

    def told(self):
        return self


class Slotted:
    __slots__ = ("left", "right", "unset")

    def __init__(self, left, right):
        self.left = left
        self.right = right


class Mixed(Slotted):
    """Slots and a dict."""

    def __init__(self):
        super().__init__("l", {"r": 1})
        self.own = (1, "two")


@dataclasses.dataclass
class Message:
    role: str
    content: str
    parts: list
    meta: dict


class Role(str, enum.Enum):
    USER = "user"


class Words(str):
    """A text of a class of its own."""


class Empty:
    pass


Pair = collections.namedtuple("Pair", "x y")


def take(number, value):
    """Nothing of the object is as it was when this is over."""
    if isinstance(value, (dict, list, set)):
        value.clear()
    elif isinstance(value, (Plain, Message)):
        vars(value).clear()
    return [bytes(size) for size in (40, 64, 200, 600) for _ in range(20)]


def shown(value, depth=0):
    """What is to be told of a value: JSON, where there is a word for it."""
    more = depth + 1
    if isinstance(value, str):
        text = str.__str__(value) if not isinstance(value, enum.Enum) else value.value
        widest = max(map(ord, text), default=0)
        width = 1 if widest < 256 else 2 if widest < 65536 else 4
        most = TEXT // width
        return text if len(text) <= most else f"{text[:most]}… <{len(text) - most} more>"
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, dict):
        entries = list(value.items())
        told = {key if isinstance(key, str) else json.dumps(key): shown(v, more) for key, v in entries[:ITEMS]}
        if len(entries) > ITEMS:
            told["<more>"] = len(entries) - ITEMS
        return {k: v for k, v in told.items() if "key" not in k or isinstance(v, int)}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = list(value)
        told = [shown(item, more) for item in items[:ITEMS]]
        return told + [f"<{len(items) - ITEMS} more>"] if len(items) > ITEMS else told
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {', '.join(map(str, value.args))}"
    if isinstance(value, type):
        return f"<class __main__.{value.__qualname__}>"
    if callable(value):
        return f"<function {value.__qualname__}>"
    if isinstance(value, Empty):
        return "<__main__.Empty>"
    names = [n for c in type(value).__mro__ for n in getattr(c, "__slots__", ()) if hasattr(value, n)]
    told = {name: shown(getattr(value, name), more) for name in names}
    told.update({name: shown(v, more) for name, v in getattr(value, "__dict__", {}).items()})
    return told


def thinned():
    """A dict of which entries are gone."""
    made = {f"k{n}": n for n in range(20)}
    for n in range(0, 20, 3):
        del made[f"k{n}"]
    made["late"] = "yes"
    return made


def looked_at():
    """An object whose dict somebody asked for."""
    made = Plain(third=3)
    assert vars(made)["third"] == 3
    return made


def objects():
    words = "".join(chr(n) for n in (71, 114, 252, 223, 101))
    yield {"a": 1, "b": [1, 2.5, None, True, "x"], "c": {"d": words, "e": {}}}
    yield [words, "你好", "🦀", "", "a" * 3000, "你" * 3000, "🦀" * 3000]
    yield (0, -1, 255, 256, -(2**31), 2**40, 2**62, 2**80, -(2**100), 1e300, -0.5)
    yield {f"name {n}": n for n in range(40)}
    yield list(range(1000, 1100))
    yield thinned()
    yield {1: "one", -2: "two", 3000: {4: []}}
    yield json.loads('{"x": {"dynamic %d": ["y"]}, "z": [{"q": null}]}' % len(words))
    yield Plain()
    yield [Plain(third={"k": (1, 2)}), Plain(other=Plain())]
    yield looked_at()
    yield Slotted(words, [Slotted(None, 1)])
    yield Mixed()
    yield [Message("user", "hello " * 20, ["p", {"type": "text"}], {"n": n}) for n in range(8)]
    yield [Role.USER.value, Words("wörds"), Words("plain"), Pair(1, [2])]
    yield [uuid.UUID(int=5), uuid.UUID(int=2**128 - 1), b"12345", b"x" * 5000]
    yield [ValueError("no", "no"), Plain, thinned, Empty()]
    yield [Plain().told, Plain.told, lambda: None]
    yield [{1}, frozenset({"one"}), set()]
    yield {"api_key": f"sk-{len('k')}", "max_key": 5, "kept": [{"key": "gone", "other": "kept"}]}
    yield vars(looked_at())
    yield []
    yield {}
    yield ()
    yield 2**90
    yield collections.OrderedDict([("b", 1), ("a", 2)])
    yield collections.defaultdict(list, {"d": [1]})


def hostile():
    """Objects that never end, or are larger than anybody wants to know."""
    ring = []
    ring.append([ring, {"ring": ring}])
    yield ring
    deep = []
    for n in range(1000):
        deep = [deep, n]
    yield deep
    yield [{f"{n}": [n] * 50 for n in range(50)} for _ in range(1000)]
    yield ["x" * 10_000_000, {"y" * 1_000_000: "z" * 1_000_000}]
    yield [[f"text {n} {m}" * 100 for m in range(100)] for n in range(100)]
    me = Plain()
    me.me = [me, me, {"me": me}]
    yield me


def main():
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        told = []
        given = {"objects": objects, "hostile": hostile}[line.strip()]
        for number, value in enumerate(given()):
            told.append(None if line.startswith("hostile") else shown(value))
            take(number, value)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
