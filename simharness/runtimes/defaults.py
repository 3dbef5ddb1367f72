"""What Python makes of an object's address by default, its hash and its `repr`: made of a number that is the same in each execution.

So sets of such objects, and what else is ordered by hashes or by texts, have the same order in each execution and in a fresh process. It
holds for classes of instrumented modules. An object that was there before the first execution keeps its hash and its text, as it keeps its
`id` (`simharness.runtimes.identities`): tables may hold it under those. For other classes `asked` says whose defaults were asked for, where
two runs of one schedule differ.

A class is given methods of its own, as long as explorations last, that look for the method that it would have without them; so a subclass
that inherits another hash, such as that of `str`, has that one. An object's number lasts as long as the object.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, FunctionType, WrapperDescriptorType
from typing import Any
from zlib import crc32

from simharness.engine.kernel import Kernel, current
from simharness.instrument.marks import is_instrumented
from simharness.places import Place, place_of
from simharness.runtimes.bindings import is_users
from simharness.runtimes.identities import BEFORE, DRAWER, Identified, number_of

_hash: Any = object.__hash__
_repr: Any = object.__repr__
_address = id
_known: dict[int, int] = {}
"""Hashes by address, for as long as the objects live."""
_held: dict[int, weakref.ref[Any]] = {}
_changed: list[tuple[type, str]] = []
_asked: dict[tuple[str, type], Place | None] = {}
"""Where the default hash or `repr` of objects of a class was asked for first."""
COUNTS = "hashes given"
"""In a kernel's context: how many each actor has given."""
_LEFT_ALONE = (type, BaseException)
"""Classes are asked for their hash by C code while they are made; exceptions are kept by the harness."""
_ON_BEHALF = "simharness.runtimes.memory."
"""Where functions are called in place of instrumented code."""
_FOR_PEOPLE = frozenset({"_pytest", "pytest", "pluggy", "logging", "traceback", "warnings", "unittest", "simharness"})
"""Who shows texts to people, where an address does not matter."""


def _hash_for(owner: type) -> Callable[[Any], int]:
    def hashed(self: Any) -> int:
        genuine = _genuine(owner, type(self), "__hash__", _hash)
        if genuine is not _hash:
            if genuine is None:
                raise TypeError(f"unhashable type: '{type(self).__name__}'")
            return int(genuine.__get__(self, type(self))())
        number = _known.get(_address(self))
        if number is not None:
            return number
        kernel = current()
        return int(_hash(self)) if kernel is None else _given(kernel, self)

    return hashed


def _repr_for(owner: type) -> Callable[[Any], str]:
    def shown(self: Any) -> str:
        kind = type(self)
        genuine = _genuine(owner, kind, "__repr__", _repr)
        if genuine is not _repr:
            return str(genuine.__get__(self, kind)())
        kernel = current()
        if kernel is None or not _for_the_program(sys._getframe(1)):
            return str(_repr(self))
        _note("repr", kind)
        return f"<{kind.__module__}.{kind.__qualname__} object at {number_of(kernel, self):#x}>"

    return shown


_OURS = frozenset({_hash_for(object).__code__, _repr_for(object).__code__})
_MADE: dict[str, tuple[Any, Callable[[type], Any]]] = {"__hash__": (_hash, _hash_for), "__repr__": (_repr, _repr_for)}


def _genuine(owner: type, cls: type, name: str, default: Any) -> Any:
    """Return the method that the objects of a class would have in place of ours of this owner."""
    bases = type.__dict__["__mro__"].__get__(cls)
    after = next((number for number, base in enumerate(bases) if base is owner), len(bases))
    for base in bases[after + 1 :]:
        method = type.__dict__["__dict__"].__get__(base).get(name, default)
        if method is not default and not _is_ours(method):
            return method
    return default


def _is_ours(method: Any) -> bool:
    return type(method) is FunctionType and method.__code__ in _OURS


def _for_the_program(frame: FrameType | None) -> bool:
    """Whether it is the program that asks, not who shows texts to people."""
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_ON_BEHALF):
        frame = frame.f_back
    return frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] not in _FOR_PEOPLE


def _given(kernel: Kernel, thing: Any) -> int:
    """Give an object the next number of the actor that asks first, if it was made in the execution."""
    before = kernel.context.get(BEFORE)
    if before is None:
        kernel.learned.learn(Identified())
    address = _address(thing)
    if before is None or address in before.addresses or not gc.is_tracked(thing):
        return int(_hash(thing))
    try:
        reference = weakref.ref(thing, lambda gone: _forget(address, gone))
    except TypeError:
        return int(_hash(thing))
    _note("hash", type(thing))
    actor = kernel.context.get(DRAWER) or (kernel.actor.name if kernel.actor is not None else "a check")
    counts: dict[str, int] = kernel.context.setdefault(COUNTS, {})
    counts[actor] = counts.get(actor, 0) + 1
    _held[address] = reference
    number = _known[address] = (crc32(str(actor).encode(errors="surrogatepass")) >> 8) + counts[actor] * 0x9E3779B1
    return number


def _forget(address: int, gone: weakref.ref[Any]) -> None:
    if _held.get(address) is gone:
        del _held[address], _known[address]


def _note(what: str, cls: type) -> None:
    if (what, cls) not in _asked:
        _asked[what, cls] = place_of(sys._getframe(2))


def adopt() -> None:
    """Have objects of the instrumented modules' classes, as there are now, hashed and shown by their numbers."""
    instrumented: dict[str, bool] = {}
    for cls in _classes():
        module = str(cls.__module__)
        if module not in instrumented:
            instrumented[module] = is_instrumented(module)
        if instrumented[module]:
            _changed.extend((cls, name) for name in made(cls))


def made(cls: type) -> list[str]:
    """Have objects of a class hashed and shown by their numbers, where that is Python's default; return which methods it was given.

    Protocols are left alone: what they list is what is asked of others.
    """
    if issubclass(cls, _LEFT_ALONE) or getattr(cls, "_is_protocol", False):
        return []
    names = [name for name, (default, _) in _MADE.items() if getattr(cls, name) is default]
    for name in names:
        method = _MADE[name][1](cls)
        method.__name__, method.__qualname__ = name, f"{cls.__qualname__}.{name}"
        _in_c(cls, "__setattr__")(cls, name, method)
    return names


@contextmanager
def asked() -> Iterator[dict[tuple[str, type], Place | None]]:
    """A block in which objects of all classes but the standard library's are hashed and shown by their numbers.

    Yields where each class of a module that is not instrumented was asked for the "hash" or the "repr" of its objects first.
    """
    changed: list[tuple[type, str]] = []
    found: dict[tuple[str, type], Place | None] = {}
    for cls in _classes():
        if is_users(cls.__module__) and not is_instrumented(cls.__module__):
            with suppress(TypeError, AttributeError):  # written in C, or a metaclass refuses
                changed += [(cls, name) for name in made(cls)]
    _asked.clear()
    others = {cls for cls, _ in changed}
    try:
        yield found
    finally:
        found.update({about: place for about, place in _asked.items() if others.intersection(about[1].__mro__)})
        for cls, name in changed:
            _in_c(cls, "__delattr__")(cls, name)


def release() -> None:
    """Explorations are over: classes are as they were, but for those of objects that live on, which tables may hold by their numbers."""
    living = {base for reference in list(_held.values()) for base in type(reference()).__mro__}
    kept = [(cls, name) for cls, name in _changed if cls in living and name == "__hash__"]
    for cls, name in _changed:
        if (cls, name) not in kept and _is_ours(vars(cls).get(name)):
            _in_c(cls, "__delattr__")(cls, name)
    _changed[:] = kept
    _asked.clear()


def _in_c(cls: type, name: str) -> Any:
    """Return the innermost such method of a class's metaclass written in C: not the program's own, and not always that of `type`."""
    for base in type.__dict__["__mro__"].__get__(type(cls)):
        method = type.__dict__["__dict__"].__get__(base).get(name)
        if type(method) is WrapperDescriptorType:
            return method
    return getattr(type, name)


def _classes() -> Iterator[type]:
    """Yield all classes."""
    seen: set[type] = {object}
    waiting = [object]
    while waiting:
        for cls in type.__subclasses__(waiting.pop()):
            if cls not in seen:
                seen.add(cls)
                waiting.append(cls)
                yield cls
