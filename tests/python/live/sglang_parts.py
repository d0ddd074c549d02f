"""Has the modules of an SGLang that is installed without what it needs: everything else that they import is made up,
but for tensors, which are lists. What plans its requests needs no more.
"""

import asyncio
import importlib.abc
import importlib.machinery
import os
import sys
import types

# What of SGLang is its own; pydantic and what names processes are real as well.
REAL = ("sglang.srt.managers", "sglang.srt.mem_cache", "sglang.srt.sampling", "sglang.global_config")
ALSO = ("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "setproctitle", "msgspec")
# Which `copy` of the standard library and others ask for, and do without.
ABSENT = ("org", "java", "_typeshed")


def made_up(name):
    return Kind(name, (Nothing,), {}) if name[:1].isupper() else Nothing()


class Kind(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = made_up(name)
        setattr(cls, name, made)
        return made

    def __getitem__(cls, _):
        return cls

    def __or__(cls, _):
        return Nothing

    __ror__ = __or__

    def __iter__(cls):
        return iter(())


class Nothing(metaclass=Kind):
    """Stands for anything: as a decorator it does nothing, as a number it is none."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, *given, **named):
        if len(given) == 1 and not named and callable(given[0]) and not isinstance(given[0], (Nothing, Kind)):
            return given[0]
        return Nothing()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return made_up(name)

    def __mro_entries__(self, _):
        return (Nothing,)

    def __getitem__(self, _):
        return Nothing()

    def __iter__(self):
        return iter(())

    def __bool__(self):
        return False

    def __int__(self):
        return 0

    def __lt__(self, _):
        return False

    __gt__ = __le__ = __ge__ = __lt__

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def __or__(self, _):
        return Nothing

    __ror__ = __or__


class MadeUp(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = made_up(name)
        setattr(self, name, made)
        return made


class Tensor(list):
    """A row of numbers."""

    def __getitem__(self, at):
        found = super().__getitem__(at)
        return Tensor(found) if isinstance(at, slice) else found

    def clone(self):
        return Tensor(self)

    def to(self, *_, **__):
        return Tensor(self)

    def numel(self):
        return len(self)


class Table:
    """Rows of numbers."""

    def __init__(self, shape):
        self.rows = [[0] * shape[1] for _ in range(shape[0])]

    def __getitem__(self, at):
        row, part = at
        return Tensor(self.rows[row][part])

    def __setitem__(self, at, values):
        row, part = at
        self.rows[row][part] = list(values)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        first = name.split(".")[0]
        is_known = first in sys.stdlib_module_names or first in ALSO or first in ABSENT or first.startswith("__")
        if is_known or name.startswith(REAL):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        made = MadeUp(spec.name)
        made.__version__ = "9.9.9"
        parts = spec.name.split(".")
        made.__path__ = [os.path.join(place, *parts) for place in sys.path] if parts[0] == "sglang" else []
        return made

    def exec_module(self, module):
        pass


def begin():
    """From here on modules are made up."""
    sys.meta_path.insert(0, Finder())
    loop = sys.modules["uvloop"] = types.ModuleType("uvloop")
    loop.EventLoopPolicy = asyncio.DefaultEventLoopPolicy
    import torch

    torch.zeros = lambda shape, **_: Table(shape)
    torch.empty = lambda *_, **__: Tensor()
    torch.tensor = lambda values, **_: Tensor(values)
    torch.concat = torch.cat = lambda rows, **_: Tensor(one for row in rows for one in row)
    torch.Tensor = Tensor
