"""How shared memory treats the instances of a class: as a container with items, an object with attributes, or nothing that is shared.

Immutable values, thread-locals and what `allowed.py` lists are exempt. An object of any other class that is not instrumented is *opaque*
(`opaque.py`): its attributes are locations, and its methods read or change it as a whole.
"""

from __future__ import annotations

import enum
import threading
import types
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from types import MemberDescriptorType
from typing import Any

from simharness.instrument.marks import announces
from simharness.runtimes.memory.allowed import PROXIES, is_controlled, is_exempt, is_opaque, is_package, root_of

EXEMPT, OBJECT, MODULE, CLASS, LIST, DICT, SET = range(7)
_CONTAINERS: tuple[tuple[type, int], ...] = (
    (list, LIST),
    (deque, LIST),
    (bytearray, LIST),
    (dict, DICT),
    (set, SET),
)
_GENUINE = frozenset({list, deque, bytearray, dict, OrderedDict, defaultdict, Counter, set})
OUTSIDE = frozenset({"_io", "array", "dbm", "genericpath", "io", "mmap", "os", "pathlib", "posix", "nt", "shelve", "shutil", "tempfile"})
"""Modules of the standard library whose functions and objects have state outside any location, above all files."""
_GENUINE_LOCAL = (threading.local,)
_BY_IDENTITY: Any = object.__eq__
_GENERATED = ("__eq__", "__lt__", "__repr__")
"""Methods that dataclasses and attrs write for a class, and that read its fields."""
LONGEST_KEY = 24
SIMPLE = frozenset({int, float, complex, str, bytes, bool, type(None)})
"""Types whose instances hold nothing."""


class ClassRules:
    """How accesses to the instances of one class are announced.

    Attributes:
        kind: one of the constants of this module.
        generated: whether generated methods compare and format its fields.
        thread_local: whether attributes are each thread's own, except those of the class.
        genuine: whether every operation on items is the container's own; then `native` is true of all.
        opaque: whether code that is not instrumented reads and changes the instance: all of it is also one location.
        steps: names the class, if it is opaque and a package's: its calls may have steps of their own.
        exempt: whether it is among the classes that are not instrumented and need no location.
        controlled: whether it is exempt, but its objects can have attributes of the user's.
        reads, writes: for each attribute met so far, whether reading or writing it touches memory, or only runs code that does.
    """

    __slots__ = (
        "_computes",
        "_foreign",
        "_native",
        "cls",
        "controlled",
        "exempt",
        "generated",
        "genuine",
        "kind",
        "opaque",
        "reads",
        "steps",
        "thread_local",
        "writes",
    )

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.kind = kind_of(cls)
        self.genuine = cls in _GENUINE
        self.exempt = is_exempt(cls)
        self.opaque = self.kind == OBJECT and not self.exempt and is_opaque(cls)
        self.steps = f"{cls.__module__}.{cls.__qualname__}" if self.opaque and is_package(root_of(cls)) else ""
        self.controlled = self.kind == OBJECT and is_controlled(cls)
        self.thread_local = issubclass(cls, _thread_locals())
        self.generated = self.kind == OBJECT and (issubclass(cls, types.SimpleNamespace) or any(map(self._is_generated, _GENERATED)))
        self.reads: dict[str, bool] = {}
        self.writes: dict[str, bool] = {}
        self._native: dict[str, bool] = {}
        self._computes: dict[str, bool] = {}
        self._foreign: dict[str, bool] = {}

    def _is_generated(self, method: str) -> bool:
        holder = _first(self.cls, method)
        function = None if holder is None else vars(holder)[method]
        function = own_attributes(function).get("__wrapped__", function)
        return type(function) is types.FunctionType and function.__code__.co_filename.startswith(("<string>", "<attrs"))

    def foreign(self, method: str) -> bool:
        """Whether a method of an opaque object is code that is not instrumented."""
        if not self.opaque:
            return False
        foreign = self._foreign.get(method)
        if foreign is None:
            holder = _first(self.cls, method)
            foreign = self._foreign[method] = holder not in (None, object) and not _is_instrumented(vars(holder)[method])
        return foreign

    def native(self, method: str) -> bool:
        """Whether a method of a container is the container's own, not overridden by a subclass."""
        if self.genuine:
            return True
        own = self._native.get(method)
        if own is None:
            own = self._native[method] = any(
                base in _GENUINE for base in self.cls.__mro__ if method in vars(base) and base is _first(self.cls, method)
            )
        return own

    def touches(self, name: str, write: bool) -> bool:
        """Whether an attribute is memory, and not a property or `__getattribute__` or `__setattr__` of instrumented code."""
        known = self.writes if write else self.reads
        touches = known.get(name)
        if touches is None:
            touches = known[name] = self._touches(name, write)
        return touches

    def computes(self, name: str) -> bool:
        """Whether an attribute of an opaque object is one that code computes, or sets: a property, or a descriptor of another kind."""
        computes = self._computes.get(name)
        if computes is None:
            holder = _first(self.cls, name)
            held = None if holder is None else type(vars(holder)[name])
            computes = held is not None and held is not MemberDescriptorType and hasattr(held, "__set__")
            self._computes[name] = computes
        return computes

    def slot_touches(self, name: str, write: bool) -> bool:
        """Whether an attribute is memory where `object`'s own method reads or writes it, past `__setattr__` of a class."""
        return self.touches(name, write) or self._touches(name, write, overridden=False)

    def _touches(self, name: str, write: bool, overridden: bool = True) -> bool:
        if self.kind in (MODULE, CLASS):
            return True
        if name in ("__dict__", "__class__"):
            return False
        own = _first(self.cls, "__setattr__" if write else "__getattribute__")
        if overridden and own is not object and _is_instrumented(vars(own)["__setattr__" if write else "__getattribute__"]):
            return False
        holder = _first(self.cls, name)
        if holder is None:
            return True
        held = vars(holder)[name]
        if self.controlled or is_controlled(holder):
            return type(held) is MemberDescriptorType or not hasattr(type(held), "__get__")
        if self.opaque and issubclass(type(held), _METHODS):
            return False
        if type(held) is types.GetSetDescriptorType:
            return True
        if issubclass(type(held), property):
            return not _is_instrumented(held.fset if write else held.fget)
        getter = vars(type(held)).get("__set__" if write else "__get__") if hasattr(type(held), "__set__") else None
        return not _is_instrumented(getter)


_METHODS: tuple[type, ...] = (
    *(types.FunctionType, types.MethodDescriptorType, types.ClassMethodDescriptorType, types.WrapperDescriptorType),
    *(types.BuiltinFunctionType, classmethod, staticmethod),
)


def kind_of(cls: type) -> int:
    """Return which kind of memory the instances of a class are."""
    for base, kind in _CONTAINERS:
        if issubclass(cls, base):
            return kind if cls in _GENUINE or not is_opaque(cls) else OBJECT
    if issubclass(cls, types.ModuleType):
        return MODULE
    if issubclass(cls, type):
        return CLASS
    if cls is types.FunctionType:
        return OBJECT
    if issubclass(cls, _thread_locals()) or (is_exempt(cls) and not is_controlled(cls)):
        return EXEMPT
    if issubclass(cls, int | float | complex | str | bytes | tuple | frozenset) and not cls.__dictoffset__:
        return EXEMPT
    return OBJECT


def _thread_locals() -> tuple[type, ...]:
    """Return the class of thread-locals, and what stands in for it inside a simulation: subclasses are of the one or the other."""
    return (*_GENUINE_LOCAL, threading.local)


def _first(cls: type, name: str) -> type | None:
    """Return the first class of the method resolution order that has the attribute."""
    for base in cls.__mro__:
        if name in vars(base):
            return base
    return None


def _is_instrumented(function: Any) -> bool:
    """Whether a function's own accesses are announced."""
    while type(function) is types.MethodType:
        function = function.__func__
    function = own_attributes(function).get("__wrapped__", function)
    return type(function) is types.FunctionType and announces(function.__globals__)


def key_of(key: Any) -> Any:
    """Return a value that stands for a key of a container: equal keys give equal values, and their texts are the same in each process.

    OTHER stands for a key whose equality is decided by code, IDENTITY for an object that equals only itself.
    """
    kind: Any = type(key)
    if kind is str or kind is int:
        return key
    if issubclass(kind, str) and kind.__eq__ is str.__eq__:
        return str.__str__(key)
    if issubclass(kind, int) and kind.__eq__ is int.__eq__:
        return int.__int__(key)
    if kind is complex and not key.imag:
        return key_of(key.real)
    if kind is float and key.is_integer():
        return int(key)
    if kind in (float, bytes, complex, type(None)):
        return (kind.__name__, repr(key))
    if kind is tuple:
        parts = tuple(key_of(part) for part in key)
        return OTHER if OTHER in parts or IDENTITY in parts else ("tuple", *parts)
    if issubclass(kind, type):
        return ("class", key.__module__, key.__qualname__)
    if issubclass(type(kind), enum.EnumMeta) and _BY_IDENTITY is kind.__eq__:
        return (kind.__qualname__, key.name)
    return IDENTITY if _BY_IDENTITY is kind.__eq__ else OTHER


def key_text(known: Any) -> str:
    """Return the text of a key as facts in tokens can hold it: short, and without the token's own separators."""
    text = text_of(known[1:] if isinstance(known, tuple) and known[0] == "tuple" else known).replace("+", " plus ")
    return text if len(text) <= LONGEST_KEY else f"{text[:LONGEST_KEY]}…{zlib.crc32(text.encode(errors='replace')):08x}"


def text_of(known: Any) -> str:
    """Return the text of a simple value, or of a tuple of them."""
    try:
        return repr(known)
    except ValueError:  # Python refuses to write out a long number in decimal digits
        return hex(known) if isinstance(known, int) else f"({', '.join(map(text_of, known))})" if isinstance(known, tuple) else "?"


def own_attributes(thing: Any) -> Mapping[str, Any]:
    """Return an object's `__dict__` without running code of its class, which may have a property or a `__getattribute__` of its own."""
    for base in type(thing).__mro__:
        if "__dict__" in vars(base):
            getter = vars(base)["__dict__"]
            if type(getter) in (types.GetSetDescriptorType, MemberDescriptorType):
                names: Mapping[str, Any] = getter.__get__(thing)
                return names
    return {}


def referent_of(value: Any) -> Any:
    """Return what a weak proxy stands for, if that is still there; any other value stands for itself."""
    if type(value) not in PROXIES:
        return value
    try:
        return value.__reduce_ex__.__self__
    except (ReferenceError, AttributeError):
        return value


def instance_of(bound: super) -> Any:
    """Return the object that a `super()` stands for."""
    return vars(super)["__self__"].__get__(bound)


OTHER = ("?",)
IDENTITY = ("is",)


def attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an object, those in slots too, without running code of its class."""
    yield from ((name, value) for name, value in list(own_attributes(thing).items()) if not name.startswith("__"))
    for base in type(thing).__mro__:
        for name, member in vars(base).items():
            if type(member) is MemberDescriptorType and base.__module__ != "builtins":
                try:
                    held = member.__get__(thing)
                except AttributeError:
                    continue
                yield name, held
