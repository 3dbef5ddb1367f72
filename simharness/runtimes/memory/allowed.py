"""Which classes that are not instrumented have objects whose state needs no location, each with the reason.

Any other object of such a class, of the standard library or of a package, is one coarse location (`opaque.py`).
"""

from __future__ import annotations

import sys
from types import FunctionType, MemberDescriptorType, SimpleNamespace
from typing import Any
from weakref import CallableProxyType, ProxyType

from simharness.instrument.marks import announces

_POINTS = (
    "simharness threading _thread queue _queue sqlite3 _sqlite3 concurrent asyncio _asyncio contextvars _contextvars greenlet _greenlet"
)
"""Their operations are scheduling points already, with footprints of their own."""
_VALUES = "datetime _datetime zoneinfo re decimal _decimal numbers fractions uuid ipaddress pathlib string struct _struct types typing"
"""Their objects do not change, or only what they are made of does, which has locations of its own."""
_STATELESS = "operator _operator abc _abc enum dataclasses json copy copyreg"
"""Their objects are descriptions or helpers without state that a second actor could find changed."""
_FOR_PEOPLE = "logging warnings traceback unittest doctest pdb"
"""What they keep is read by people, not by the program."""
_TOOLS = "_pytest pytest pluggy hypothesis coverage xdist execnet pydevd debugpy py exceptiongroup importlib _frozen_importlib"
"""The tools around a test."""
_FILES = "io _io os posix nt tempfile shutil genericpath dbm shelve mmap"
"""What they do is system calls, which are scheduling points; code that uses them is called strange (`locations.STRANGE`)."""
_REASONS = (_POINTS, _VALUES, _STATELESS, _FOR_PEOPLE, _TOOLS, _FILES)
ALLOWED = frozenset(root for names in _REASONS for root in names.split())
TRANSPARENT = frozenset({"trio", "anyio", "outcome", "sniffio", "pytest_trio", "attr", "attrs"})
"""Their objects' attributes are locations, but what their methods change is a scheduling point, or known to the runtime."""
TOOLS = frozenset(_TOOLS.split())
_NAMED: frozenset[tuple[str, str]] = frozenset(
    {("unittest", "mock"), ("_io", "StringIO"), ("_io", "BytesIO"), ("io", "StringIO"), ("_io", "TextIOWrapper"), ("_io", "FileIO")}
    | {("_io", "BufferedReader"), ("_io", "BufferedWriter"), ("_io", "BufferedRandom"), ("tempfile", "_TemporaryFileWrapper")}
    | {
        ("_contextvars", "Context"),
        ("decimal", "Context"),
        ("mmap", "mmap"),
        ("_pytest", "CaptureIO"),
        ("_pytest", "TeeCaptureIO"),
        ("_pytest", "EncodedFile"),
    }
)
"""Exceptions from the above: parts of a module whose objects have state like any other."""
_WITH_ATTRIBUTES = frozenset({"threading", "queue", "concurrent"})
_KEEPING_NOTHING = frozenset({("contextlib", "nullcontext"), ("contextlib", "suppress"), ("random", "SystemRandom")})
"""Classes that keep nothing, of modules whose others do."""
_BUILTINS = frozenset({"memoryview"})
_FUNCTOOLS = frozenset({"_lru_cache_wrapper"})
PROXIES = frozenset({ProxyType, CallableProxyType})
"""Weak proxies: operations on them are operations on what they stand for."""
_WEAK = frozenset({"WeakKeyDictionary", "WeakValueDictionary", "WeakSet"})


def is_controlled(cls: type) -> bool:
    """Whether the objects of a class need no location for what their own methods do, but may have attributes of the user's."""
    return is_exempt(cls) and cls is not FunctionType and (cls.__dictoffset__ != 0 or any(map(_has_slots, cls.__mro__)))


def _has_slots(cls: type) -> bool:
    return cls.__flags__ & _HEAP != 0 and any(type(member) is MemberDescriptorType for member in vars(cls).values())


def leads_on(cls: type) -> bool:
    """Whether names are looked for in the attributes of such an object, too."""
    return str(cls.__module__).partition(".")[0] in _WITH_ATTRIBUTES or not is_exempt(cls)


def is_internal(name: str) -> bool:
    """Whether an attribute of such an object is one that its own methods use, which announce nothing."""
    return name.startswith("_")


def is_opaque(cls: type) -> bool:
    """Whether the objects of a class have state that only code which is not instrumented sees: one of its classes is such code."""
    if issubclass(cls, BaseException | SimpleNamespace | FunctionType):
        return False
    return any(_is_opaque(base) for base in cls.__mro__[:-1])


def is_exempt(cls: type) -> bool:
    """Whether the objects of a class need no location at all."""
    root, _, rest = str(cls.__module__).partition(".")
    name = cls.__name__
    if (root, rest.partition(".")[0]) in _NAMED or (root, name) in _NAMED:
        return False
    if (root, name) in _KEEPING_NOTHING:
        return True
    if root == "builtins":
        return cls in PROXIES or (not hasattr(cls, "__next__") and name not in _BUILTINS and not issubclass(cls, BaseException))
    if root in ("functools", "_functools"):
        return name not in _FUNCTOOLS
    if root in ("weakref", "_weakref", "_weakrefset"):
        return name not in _WEAK
    if root == "simharness":
        return vars(sys.modules.get(cls.__module__, sys)).get(name) is cls  # or made by a call in C that went through the harness
    return root in ALLOWED and cls is not SimpleNamespace and not issubclass(cls, BaseException)


def _is_opaque(cls: type) -> bool:
    if is_exempt(cls) or str(cls.__module__).partition(".")[0] in TRANSPARENT:
        return False
    for member in vars(cls).values():
        if type(member) is FunctionType and member.__code__.co_filename != "<string>":
            return not announces(member.__globals__)
    module = sys.modules.get(str(cls.__module__))
    return module is not None and not announces(vars(module)) and _does_something(cls)


def _does_something(cls: type) -> bool:
    """Whether a class of a module that is not instrumented has code at all: in C, or generated."""
    return not cls.__flags__ & _HEAP or cls.__itemsize__ != 0 or any(callable(member) for member in vars(cls).values())


_HEAP = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: the class was made at run time."""


def root_of(thing: Any) -> str:
    """Return the name of the package that a class or function belongs to."""
    return str(getattr(thing, "__module__", None) or "").partition(".")[0]


def is_package(root: str) -> bool:
    """Whether a module of this root is neither the standard library's nor a tool's nor a runtime's, so its memory is somebody's."""
    return bool(root) and root not in sys.stdlib_module_names and root not in ALLOWED and root not in TRANSPARENT and root != "__main__"
