"""Objects whose state only code that is not instrumented sees: iterators, generators, `random.Random`, `array`, objects of packages.

An *opaque* object is one location. A call on it writes the object (or only reads it, where the method is known to) in every step until the
call returns: it may run instrumented code or wait inside. Its attributes are locations of their own, beside which each access reads the
object.

An opaque object leads to others: an iterator to its list, a `UserDict` to its dictionary. As long as such an object is used through a
single opaque one, that stands for it. Once it is used in another way, too (`Followed`), a call touches it as well. A package's object is
not followed: where something that it leads to is used in another way, the verdict names the package.

Where calls on a package's object have steps of their own (SQL, locks), those are what is known of it. Such an object becomes no location,
and the verdict names its package; so it does a package whose code several actors call: nothing between two points inside is seen.
"""

from __future__ import annotations

import gc
import types
from collections import deque
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from simharness.engine.phases import SETUP
from simharness.instrument.marks import announces
from simharness.runtimes.memory.accesses import ATTRIBUTES, BULK, DEEP, IN_C, WALK, Part
from simharness.runtimes.memory.allowed import PROXIES, root_of
from simharness.runtimes.memory.deaths import WEAK, into
from simharness.runtimes.memory.facts import Followed
from simharness.runtimes.memory.kinds import LIST, SIMPLE, own_attributes
from simharness.runtimes.memory.shared import Memory
from simharness.runtimes.memory.tracked import DIRECT, Spot, TrackedObject

_CARRIERS: tuple[type, ...] = (tuple, frozenset, types.CellType, types.MethodType, *IN_C)
_CARRIERS += tuple(map(type, (*gc.get_referents(memoryview(b"")), BytesIO().getbuffer().obj)))
"""What leads to other objects without being one that is changed."""
MOST = 200
"""Objects that an opaque one leads to; what leads to more is named beside the verdict, and counts for itself alone."""
_ENDS = (types.FunctionType, types.ModuleType, types.CodeType, types.FrameType, types.TracebackType, type, BaseException)
_READS = frozenset(
    {"__len__", "__contains__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__repr__", "__str__", "__bool__", "__hash__"}
    | {"__iter__", "__format__", "__reversed__", "__bytes__", "__length_hint__", "__sizeof__", "__copy__", "__reduce_ex__", "__reduce__"}
    | {"__add__", "__mul__", "__or__", "__and__", "__sub__", "__xor__"}
)
"""Methods that change nothing, whoever has written them."""
_LIBRARY_READS = _READS | frozenset(
    {"__getitem__", "get", "keys", "values", "items", "copy", "index", "count", "tolist", "tobytes", "buffer_info", "getvalue", "getbuffer"}
    | {"getstate", "hexdigest", "digest", "tell", "hex", "cast", "keyrefs", "valuerefs", "has_section", "has_option", "sections", "options"}
    | {"cache_info", "cache_parameters", "empty", "find", "findall", "findtext", "iterfind", "itertext", "iter"}
)
"""Methods that change nothing in the standard library."""


class Through:
    """An opaque object in an access: it is touched, and what it leads to."""

    __slots__ = ("thing", "write")

    def __init__(self, thing: Any, write: bool) -> None:
        self.thing = thing
        self.write = write

    def touch(self, memory: Memory, touched: list[tuple[Spot, bool]], seen: int) -> str:
        """Add the locations; what it leads to counts once it has its turn itself."""
        thing = self.thing
        tracked = memory.tracked(thing)
        if tracked is None or memory.kernel.phase == SETUP:
            return ""
        if isinstance(thing, WEAK):
            into(memory, thing)
        tracked.steps = memory.rules(type(thing)).steps
        memory.uses(tracked, DIRECT)
        base = memory.base_of(tracked)
        touched.append((base, self.write))
        if not self.write:
            memory.locate((thing, ATTRIBUTES, None), touched)
        if not base.bit & ~seen and not _is_named(memory, tracked):
            for inner, kind in _within(memory, thing):
                self._follow(memory, tracked, inner, kind, touched)
        return tracked.label

    def _follow(self, memory: Memory, outer: TrackedObject, inner: Any, kind: int, touched: list[tuple[Spot, bool]]) -> None:
        tracked = memory.tracked(inner)
        if tracked is None or tracked is outer:
            return
        memory.uses(tracked, outer)
        if outer.steps or Followed(tracked.name) not in memory.kernel.learned:
            return
        tracked.steps = memory.rules(type(inner)).steps
        if kind >= LIST:
            memory.locate((inner, BULK if self.write else WALK, None), touched)
        else:
            touched.append((memory.base_of(tracked), self.write))


def _is_named(memory: Memory, tracked: TrackedObject) -> bool:
    """Whether an object is a package's that the verdict names already: nothing more is asked of what it leads to."""
    return bool(tracked.steps) and tracked.steps.partition(".")[0] in memory.kernel.learned.unseen


def _within(memory: Memory, thing: Any) -> Iterator[tuple[Any, int]]:
    """Yield the containers and opaque objects that an opaque one leads to, each with its kind."""
    if type(thing) is types.GeneratorType and (thing.gi_frame is None or announces(thing.gi_frame.f_globals)):
        return
    waiting = deque(_referents(thing))
    met = {id(thing)}
    while waiting:
        inner = waiting.popleft()
        cls = type(inner)
        if cls in SIMPLE or id(inner) in met or issubclass(cls, _ENDS):
            continue
        met.add(id(inner))
        if len(met) > MOST:
            memory.kernel.learned.leaves_out(root_of(type(thing)) or type(thing).__name__)
            return
        rules = memory.rules(cls)
        if rules.kind >= LIST or rules.opaque:
            yield inner, rules.kind
        if rules.kind >= LIST or rules.opaque or issubclass(cls, _CARRIERS):
            waiting.extend(_referents(inner))


def _referents(thing: Any) -> list[Any]:
    """Return what an object refers to, the values of its attributes in place of their dictionary."""
    held = gc.get_referents(thing)
    if any(type(one) is dict for one in held):
        names = own_attributes(thing)
        held = [part for one in held for part in (names.values() if one is names else (one,))]
    return held


def writes(memory: Memory, owner: Any, name: str) -> bool:
    """Whether a method of an opaque object may change it."""
    return name not in (_READS if memory.rules(type(owner)).steps else _LIBRARY_READS)


def parts(owner: Any, write: bool) -> list[Part]:
    """Return the parts of an access to an opaque object."""
    return [(Through(owner, write), DEEP, None)]


def is_iterator(value: Any) -> bool:
    """Whether a value is consumed by iterating over it."""
    return hasattr(type(value), "__next__") and type(value) not in PROXIES
