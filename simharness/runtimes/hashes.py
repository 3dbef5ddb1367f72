"""The hash of objects that have Python's default one: a number that is the same in each execution, not one made of an address.

So sets of such objects, and what else is ordered by hashes, have the same order in each execution and in a fresh process. It holds for
classes of instrumented modules. An object that was there before the first execution keeps its hash, as it keeps its `id`
(`simharness.runtimes.identities`): tables may hold it under that one.

A class is given a `__hash__` of its own, as long as explorations last, that looks for the method that the class would have without it; so
a subclass that inherits another hash, such as that of `str`, has that one. An object's number lasts as long as the object.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from simharness.engine.kernel import Kernel, current
from simharness.instrument.marks import is_instrumented
from simharness.runtimes.identities import BEFORE, DRAWER, Identified

_default: Any = object.__hash__
_address = id
_known: dict[int, int] = {}
"""Hashes by address, for as long as the objects live."""
_held: dict[int, weakref.ref[Any]] = {}
_changed: list[type] = []
COUNTS = "hashes given"
"""In a kernel's context: how many each actor has given."""
_LEFT_ALONE = (type, BaseException)
"""Classes are asked for their hash by C code while they are made; exceptions are kept by the harness."""


def stable_hash(self: Any) -> int:
    """Return the hash of an object: its class's own, if it has one, else its number."""
    genuine = _genuine(type(self))
    if genuine is not _default:
        if genuine is None:
            raise TypeError(f"unhashable type: '{type(self).__name__}'")
        return int(genuine.__get__(self, type(self))())
    number = _known.get(_address(self))
    if number is not None:
        return number
    kernel = current()
    return int(_default(self)) if kernel is None else _given(kernel, self)


stable_hash.__name__ = stable_hash.__qualname__ = "__hash__"


def _genuine(cls: type) -> Any:
    """Return the method that a class would have without this module."""
    for base in type.__dict__["__mro__"].__get__(cls):
        method = type.__dict__["__dict__"].__get__(base).get("__hash__", stable_hash)
        if method is not stable_hash:
            return method
    return _default


def _given(kernel: Kernel, thing: Any) -> int:
    """Give an object the next number of the actor that asks first, if it was made in the execution."""
    before = kernel.context.get(BEFORE)
    if before is None:
        kernel.learned.learn(Identified())
    address = _address(thing)
    if before is None or address in before.addresses or not gc.is_tracked(thing):
        return int(_default(thing))
    try:
        reference = weakref.ref(thing, lambda gone: _forget(address, gone))
    except TypeError:
        return int(_default(thing))
    actor = kernel.context.get(DRAWER) or (kernel.actor.name if kernel.actor is not None else "a check")
    counts: dict[str, int] = kernel.context.setdefault(COUNTS, {})
    counts[actor] = counts.get(actor, 0) + 1
    _held[address] = reference
    number = _known[address] = (crc32(str(actor).encode(errors="surrogatepass")) >> 8) + counts[actor] * 0x9E3779B1
    return number


def _forget(address: int, gone: weakref.ref[Any]) -> None:
    if _held.get(address) is gone:
        del _held[address], _known[address]


def adopt() -> None:
    """Have objects of the instrumented modules' classes, as there are now, hashed by their numbers."""
    instrumented: dict[str, bool] = {}
    for cls in _classes():
        module = str(cls.__module__)
        if module not in instrumented:
            instrumented[module] = is_instrumented(module)
        if instrumented[module] and made(cls):
            _changed.append(cls)


def made(cls: type) -> bool:
    """Have objects of a class hashed by their numbers, if its hash is the default one; return whether it is.

    Protocols are left alone: what they list is what is asked of others.
    """
    if cls.__hash__ is _default and not issubclass(cls, _LEFT_ALONE) and not getattr(cls, "_is_protocol", False):
        type.__setattr__(cls, "__hash__", stable_hash)
        return True
    return False


def release() -> None:
    """Explorations are over: classes are as they were, but for those of objects that live on, which tables may hold by their numbers."""
    living = {base for reference in list(_held.values()) for base in type(reference()).__mro__}
    kept = [cls for cls in _changed if cls in living]
    for cls in _changed:
        if cls not in living and vars(cls).get("__hash__") is stable_hash:
            type.__delattr__(cls, "__hash__")
    _changed[:] = kept


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
