"""Objects of all kinds that stay as they are, and what the program itself says of them.

Prints one JSON line: `values`, `functions`, `stacks`, `version`, `modules`. Then waits for the end
of its input. Written for Python 3.8 and later.
"""

import dataclasses
import enum
import inspect
import json
import math
import sys
import threading
import types
import typing
import uuid


class Plain:
    """Attributes in a dict."""

    def __init__(self, number):
        self.name = "plain"
        self.number = number
        self.inner = None


class Late(Plain):
    """More attributes than its siblings, in another order."""

    def __init__(self):
        self.first = 1
        super().__init__(2)
        self.last = [1, 2]


class Slotted:
    __slots__ = ("a", "b", "__weakref__")

    def __init__(self, a, b=None):
        self.a = a
        if b is not None:
            self.b = b


class SlottedChild(Slotted):
    __slots__ = ("c",)

    def __init__(self):
        super().__init__("base", 2)
        self.c = (3,)


class SlotsAndDict(Slotted):
    """Slots of the base, and a dict of its own."""

    def __init__(self):
        super().__init__(1)
        self.free = "dict"


class ListWithDict(list):
    pass


class TupleWithDict(tuple):
    """Of variable size, with a dict."""


class IntWithDict(int):
    pass


@dataclasses.dataclass
class Data:
    text: str
    numbers: typing.List[int]
    nested: typing.Optional["Data"] = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    key: str
    value: float


class Colour(enum.Enum):
    RED = "red"


class Role(str, enum.Enum):
    USER = "user"


class Typed(typing.TypedDict):
    a: int


class Named(typing.NamedTuple):
    x: int
    y: str


class Trouble(ValueError):
    def __init__(self, text, code):
        super().__init__(text, code)
        self.code = code


class Outer:
    class Inner:
        def method(self, a, *rest, key=None, **more):
            def nested(b, c=1):
                return a, b, c

            return nested

        @staticmethod
        def still(x):
            return x

        @classmethod
        def of_class(cls, y):
            return y

        @property
        def prop(self):
            return 1

    def used_in_closure(self, value, other):
        return lambda: (value, self)

    async def coroutine(self, request):
        return request

    def generator(self, items):
        yield from items


def decorated(function):
    import functools

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@decorated
def behind_wrapper(first, second=2):
    return first, second


def bound(a, b=2, *args, **kwargs):
    return a


def keys_of_many_kinds():
    table = {i: str(i) for i in range(300)}
    for i in range(200):
        del table[i]
    return table


def materialised():
    thing = Plain(5)
    thing.__dict__["extra"] = "in the dict"
    return thing


def replaced():
    thing = Plain(6)
    thing.__dict__ = {"other": "dict"}
    return thing


def cycle():
    loop = [1]
    loop.append(loop)
    return loop


def object_cycle():
    thing = Plain(1)
    thing.inner = thing
    return thing


def pydantic_model():
    import pydantic

    class Model(pydantic.BaseModel):
        model: str
        temperature: float = 0.5
        tags: typing.List[str] = []
        inner: typing.Optional["Model"] = None

    Model.model_rebuild() if hasattr(Model, "model_rebuild") else Model.update_forward_refs()
    return Model(model="m", tags=["a", "b"], inner=Model(model="n"))


def msgspec_struct():
    import msgspec

    class Struct(msgspec.Struct):
        request_id: str
        tokens: typing.List[int]
        done: bool = False

    return Struct("r-1", [1, 2, 3])


def legacy_string():
    """A string whose characters are elsewhere (gone in 3.12, in practice)."""
    if sys.version_info >= (3, 12):
        return "no legacy strings"
    import ctypes

    make = ctypes.pythonapi.PyUnicode_FromUnicode
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
    text = make(None, 4)
    where = ctypes.pythonapi.PyUnicode_AsUnicode
    where.restype = ctypes.c_void_p
    where.argtypes = [ctypes.py_object]
    ctypes.memmove(where(text), "abc\u20ac".encode("utf-32-le"), 16)
    return text


OBJECTS = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "minus": -5,
    "two_digits": 2**30,
    "small_min": -(2**63),
    "small_max": 2**63 - 1,
    "large": 2**63,
    "larger": -(10**50) + 7,
    "two_hundred": 2**200 - 1,
    "float": 1.5,
    "tiny": 5e-324,
    "minus_zero": -0.0,
    "nan": math.nan,
    "infinite": -math.inf,
    "empty": "",
    "ascii": "plain text",
    "latin": "café",
    "latin_end": "\xff",
    "ucs2": "日本語 €",
    "ucs4": "a😀b",
    "surrogate": "x\ud800y",
    "long_text": "ab" * 5000,
    "with_zero": "a\0b",
    "bytes": b"\x00\x01",
    "tuple": (1, "two", (3.0, None)),
    "empty_tuple": (),
    "list": [1, [2, [3]], {}],
    "empty_list": [],
    "grown_list": list(range(50)),
    "dict": {"a": 1, "b": {"c": [None, True]}},
    "empty_dict": {},
    "mixed_dict": {1: "int", "two": 2, (3, 4): "tuple"},
    "deleted": keys_of_many_kinds(),
    "set": {3, 1, 2},
    "frozen_set": frozenset("abc"),
    "empty_set": set(),
    "instance": Plain(4),
    "late": Late(),
    "materialised": materialised(),
    "replaced": replaced(),
    "slots": Slotted("x", "y"),
    "unset_slot": Slotted("x"),
    "child_slots": SlottedChild(),
    "slots_and_dict": SlotsAndDict(),
    "list_subclass": ListWithDict([1, 2]),
    "tuple_subclass": TupleWithDict((1, 2, 3)),
    "int_subclass": IntWithDict(77),
    "data": Data("t", [1, 2], Data("inner", [])),
    "frozen": Frozen("k", 2.5),
    "enum": Colour.RED,
    "string_enum": Role.USER,
    "typed_dict": Typed(a=1),
    "named_tuple": Named(1, "y"),
    "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "uuid_zero": uuid.UUID(int=0),
    "uuid_ones": uuid.UUID(int=2**128 - 1),
    "bound": inspect.signature(bound).bind(1, 2, 3, k=4),
    "namespace": types.SimpleNamespace(a=1, b="two"),
    "proxy": types.MappingProxyType({"a": 1}),
    "exception": ValueError("wrong", 3),
    "own_exception": Trouble("text", 42),
    "bare_exception": KeyError(),
    "class": Outer.Inner,
    "builtin_class": dict,
    "function": bound,
    "method": Outer().used_in_closure,
    "module": json,
    "cycle": cycle(),
    "object_cycle": object_cycle(),
    "legacy": legacy_string(),
}
MISSING = []
for maker in (pydantic_model, msgspec_struct):
    try:
        OBJECTS[maker.__name__] = maker()
    except ImportError:
        MISSING.append(maker.__name__)
OBJECTS["tuple_subclass"].note = "dict of a tuple"


def class_name(cls):
    return cls.__qualname__ if cls.__module__ == "builtins" else cls.__module__ + "." + cls.__qualname__


def slots_of(thing):
    found = {}
    for cls in type(thing).__mro__:
        if cls.__flags__ & 1 << 9 == 0:
            break
        for name, member in vars(cls).items():
            if type(member) is types.MemberDescriptorType and hasattr(thing, name):
                found[name] = getattr(thing, name)
    return found


def shown(thing, around=()):
    """What the reader should make of it, as JSON."""
    if thing is None or isinstance(thing, bool):
        return thing
    if isinstance(thing, int):
        value = int(thing)
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else str(thing)
    if isinstance(thing, str):
        text = str.__str__(thing)
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    if isinstance(thing, bytes):
        return "<%d bytes>" % len(thing)
    if isinstance(thing, uuid.UUID):
        return str(thing)
    if isinstance(thing, type):
        return "<class %s>" % class_name(thing)
    if isinstance(thing, types.FunctionType):
        return "<function %s>" % thing.__qualname__
    if isinstance(thing, types.MethodType):
        return "<function %s>" % thing.__func__.__qualname__
    if isinstance(thing, types.ModuleType):
        return "<module %s>" % thing.__name__
    if id(thing) in around:
        return "<cycle>"
    around = around + (id(thing),)
    if isinstance(thing, (list, tuple)):
        return [shown(item, around) for item in thing]
    if isinstance(thing, (set, frozenset)):
        return sorted(shown(item, around) for item in thing)
    if isinstance(thing, (dict, types.MappingProxyType)):
        texts = ((shown(key, around), value) for key, value in thing.items())
        return {k if isinstance(k, str) else json.dumps(k, separators=(",", ":")): shown(v, around) for k, v in texts}
    if isinstance(thing, BaseException):
        texts = [shown(arg, around) for arg in thing.args]
        texts = [t if isinstance(t, str) else json.dumps(t) for t in texts]
        return ": ".join([class_name(type(thing))] + ([", ".join(texts)] if texts else []))
    found = {}
    found.update(slots_of(thing))
    found.update(vars(thing) if hasattr(thing, "__dict__") else {})
    found = {n: v for n, v in found.items() if not (n.startswith("__") and n.endswith("__"))}
    if not found:
        return "<%s>" % class_name(type(thing))
    return {name: shown(value, around) for name, value in found.items()}


def code_of(path):
    """The code object of a name below this module, as `<locals>` paths have it."""
    thing = sys.modules[__name__]
    for part in path.split("."):
        if part == "<locals>":
            continue
        if isinstance(thing, types.CodeType):
            thing = [c for c in thing.co_consts if isinstance(c, types.CodeType) and c.co_name == part][-1]
            continue
        thing = inspect.getattr_static(thing, part)
        while not isinstance(thing, (types.FunctionType, type)):
            thing = thing.fget if isinstance(thing, property) else thing.__func__
        while hasattr(thing, "__wrapped__"):
            thing = thing.__wrapped__
        if isinstance(thing, types.FunctionType):
            thing = thing.__code__
    return thing


def described(path):
    code = code_of(path)
    arguments = inspect.getargs(code)
    names = list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    names += [name for name in (arguments.varargs, arguments.varkw) if name]
    return {
        "address": id(code),
        "arguments": names,
        "file": code.co_filename,
        "line": code.co_firstlineno,
        "name": code.co_name,
        "flags": code.co_flags,
    }


FUNCTIONS = [
    "bound",
    "behind_wrapper",
    "Outer.used_in_closure",
    "Outer.coroutine",
    "Outer.generator",
    "Outer.Inner.method",
    "Outer.Inner.still",
    "Outer.Inner.of_class",
    "Outer.Inner.prop",
    "Outer.Inner.method.<locals>.nested",
    "Outer.used_in_closure.<locals>.<lambda>",
    "decorated.<locals>.wrapper",
]

READY = threading.Semaphore(0)
GO_ON = threading.Event()


def deep(level, text):
    if level:
        # The call is on another line than the one before it.
        value = (
            deep(level - 1, text)
        )
        return value
    READY.release()
    GO_ON.wait()
    return text


def in_comprehension(text):
    return [
        item
        for item in (
            deep(n, text) for n in (2,)
        )
    ]


def many_lines(text):
    total = 0
    for i in range(3):
        total += i
    if total > 100:
        total = 1
    try:
        raise ValueError(text)
    except ValueError:
        return deep(0, str(total))


def stack_of(frame):
    frames = []
    while frame is not None:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        frames.append([name, code.co_filename, frame.f_lineno])
        frame = frame.f_back
    return frames


def subinterpreters():
    if "sub" not in sys.argv:
        return 1
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    OBJECTS_KEPT.append(interpreters.create())
    return 2


OBJECTS_KEPT = []


def main():
    threads = [
        threading.Thread(target=deep, args=(5, "a"), daemon=True),
        threading.Thread(target=in_comprehension, args=("b",), daemon=True),
        threading.Thread(target=many_lines, args=("c",), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        READY.acquire()
    # Until each waits where it will stay.
    import time

    time.sleep(0.2)
    current = sys._current_frames()
    told = {
        "version": "%d.%d.%d" % sys.version_info[:3],
        "interpreters": subinterpreters(),
        "missing": MISSING,
        "objects": id(OBJECTS),
        "values": {name: shown(value) for name, value in OBJECTS.items()},
        "functions": {path: described(path) for path in FUNCTIONS},
        "stacks": {str(t.ident): stack_of(current[t.ident]) for t in threads},
        "modules": sorted(sys.modules),
    }
    del current
    print(json.dumps(told), flush=True)
    sys.stdin.read()
    GO_ON.set()


if __name__ == "__main__":
    main()
