"""Deterministic randomness and identity: `random`, `secrets`, `os.urandom`, `uuid`, process ids, temporary names.

In a simulation each actor draws from streams of its own, which live for one execution and are seeded from the exploration's
seed and the actor's name. So an actor's draws do not depend on which actor moved before it, draws of different actors commute, and
drawing is not a scheduling point. Two kinds are kept apart: `random.seed(5)` makes the module's functions repeat themselves, as it
really does, but not `os.urandom` and what is built on it (`secrets`, `uuid4`, `SystemRandom`, `Random()` without a seed).

A process has a stable virtual id made from its name. Temporary files whose folder is not given go to a folder that is empty at
the start of every execution, so that names left behind by one execution cannot collide with those of the next.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import uuid
import weakref
from collections.abc import Callable
from typing import Any
from zlib import crc32

from simharness.engine.clock import EPOCH
from simharness.engine.clock_steps import sees_time
from simharness.engine.folders import Folder
from simharness.engine.kernel import Kernel, current
from simharness.engine.phases import INSPECTING, RUNNING
from simharness.engine.record import VERSIONED
from simharness.runtimes.identities import DRAWER
from simharness.runtimes.patching import Patches

PARENT = 999
"""What `os.getppid` returns in a simulation."""
NODE = 0x0315_6861_726E
"""What `uuid.getnode` returns in a simulation; the multicast bit marks it as no real hardware address."""
_GREGORIAN = 0x01B2_1DD2_1381_4000
_RFC_VARIANT = 1 << 63

_shared: random.Random = random._inst
_seed = random.Random.seed
_urandom = os.urandom
_getrandom: Any = getattr(os, "getrandom", None)
_getpid = os.getpid
_getppid = os.getppid
_uuid1 = uuid.uuid1
_uuid6: Any = getattr(uuid, "uuid6", None)
_uuid7: Any = getattr(uuid, "uuid7", None)
_getnode = uuid.getnode
_ON_BEHALF = ("simharness.runtimes.memory.", "simharness.runtimes.files.")
"""Modules of the harness that call for the code under test."""
_names: Any = tempfile._RandomNameSequence  # type: ignore[attr-defined]  # makes the names of all temporary files
_next_name: Callable[[Any], str] = _names.__next__
_gettempdir: Callable[[], Any] = tempfile._gettempdir  # type: ignore[attr-defined]  # what both public functions ask
_folders: weakref.WeakKeyDictionary[Kernel, Folder] = weakref.WeakKeyDictionary()


# Streams


class _Stream(random.Random):
    """A generator that is seeded by its maker, not by the code under test."""

    def __init__(self, seed: bytes) -> None:
        _seed(self, seed)


def _drawer(kernel: Kernel) -> str:
    if DRAWER in kernel.context:
        return str(kernel.context[DRAWER])
    if kernel.phase == INSPECTING:
        return "checks"
    return kernel.actor.name if kernel.actor is not None else "main"


def stream(kernel: Kernel, kind: str) -> random.Random:
    """Return the current actor's stream of this kind, "random" or "entropy"."""
    key = (kind, _drawer(kernel))
    generator = kernel.context.get(key)
    if generator is None:
        if kind == "random":
            kernel.context.setdefault(VERSIONED, "random numbers")
        seed = f"{kernel.context.get('seed', 0)} {kind} {key[1]}".encode(errors="surrogatepass")
        generator = kernel.context[key] = _Stream(seed)
    assert isinstance(generator, _Stream)
    return generator


def _function(name: str) -> Callable[..., Any]:
    """Return the stand-in for the function `name` of the random module."""

    def draw(*arguments: Any, **options: Any) -> Any:
        kernel = current()
        if kernel is not None:
            _shares(kernel, name)
        source = _shared if kernel is None else stream(kernel, "random")
        return getattr(source, name)(*arguments, **options)

    draw.__name__ = draw.__qualname__ = name
    return draw


def _shares(kernel: Kernel, name: str) -> None:
    """In reality all threads share the generator: where one seeds it and another uses it, the verdict says that this is not explored."""
    if kernel.phase == RUNNING:
        users = kernel.context.setdefault("users of random", set())
        users.add(_drawer(kernel))
        if name in ("seed", "setstate", "getstate"):
            kernel.context["seeds random"] = True
        if len(users) > 1 and "seeds random" in kernel.context:
            kernel.learned.leaves_out("the generator of random")


def virtual_seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    """Seed an instance; without a seed, from the actor's stream."""
    kernel = current()
    if kernel is not None:
        kernel.context.setdefault(VERSIONED, "random numbers")
        if a is None:
            a = stream(kernel, "entropy").getrandbits(256)
    _seed(self, a, version)


def virtual_urandom(size: int, /) -> bytes:
    """Return bytes from the actor's stream."""
    kernel = current()
    return _urandom(size) if kernel is None else stream(kernel, "entropy").randbytes(size)


def virtual_getrandom(size: int, flags: int = 0) -> bytes:
    """Return bytes from the actor's stream."""
    kernel = current()
    return bytes(_getrandom(size, flags)) if kernel is None else stream(kernel, "entropy").randbytes(size)


# Identity


def virtual_pid(process: str) -> int:
    """Return the id of the process with this name."""
    return 1000 + crc32(process.encode(errors="surrogatepass")) % 30000


def virtual_getpid() -> int:
    """Return the id of the current actor's process."""
    kernel = current()
    if kernel is None:
        return _getpid()
    return virtual_pid(kernel.actor.process if kernel.actor is not None else "main")


def virtual_getppid() -> int:
    """Return the id of the parent of every process."""
    return _getppid() if current() is None else PARENT


def virtual_getnode() -> int:
    """Return the hardware address of the one virtual machine."""
    return _getnode() if current() is None else NODE


def _later_than_last(kernel: Kernel, kind: str, value: int) -> int:
    """Return `value`, or if that is later one more than the last result for this actor."""
    key = (kind, _drawer(kernel))
    later: int = max(value, kernel.context.get(key, -1) + 1)
    kernel.context[key] = later
    return later


def _gregorian(kernel: Kernel) -> int:
    sees_time(kernel)
    return _later_than_last(kernel, "gregorian", (EPOCH + kernel.clock.now) // 100 + _GREGORIAN)


def virtual_uuid1(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    """Return a UUID made of the virtual wall clock, read without a step, and 14 bits from the actor's stream."""
    kernel = current()
    if kernel is None:
        return _uuid1(node, clock_seq)
    moment = _gregorian(kernel)
    sequence = stream(kernel, "entropy").getrandbits(14) if clock_seq is None else clock_seq
    fields = (
        moment & 0xFFFF_FFFF,
        moment >> 32 & 0xFFFF,
        moment >> 48 & 0x0FFF,
        sequence >> 8 & 0x3F,
        sequence & 0xFF,
        NODE if node is None else node,
    )
    return uuid.UUID(fields=fields, version=1)


def virtual_uuid6(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    """Return a version 6 UUID, `uuid1` with its fields in order of time."""
    kernel = current()
    if kernel is None:
        genuine = _uuid6(node, clock_seq)
        assert isinstance(genuine, uuid.UUID)
        return genuine
    moment = _gregorian(kernel)
    sequence = stream(kernel, "entropy").getrandbits(14) if clock_seq is None else clock_seq & 0x3FFF
    last = NODE if node is None else node & 0xFFFF_FFFF_FFFF
    return uuid.UUID(int=(moment >> 12) << 80 | 6 << 76 | (moment & 0xFFF) << 64 | _RFC_VARIANT | sequence << 48 | last)


def virtual_uuid7() -> uuid.UUID:
    """Return a version 7 UUID: milliseconds, a counter of the actor's UUIDs within one, and 32 random bits."""
    kernel = current()
    if kernel is None:
        genuine = _uuid7()
        assert isinstance(genuine, uuid.UUID)
        return genuine
    source = stream(kernel, "entropy")
    sees_time(kernel)
    milliseconds = (EPOCH + kernel.clock.now) // 1_000_000
    ordered = _later_than_last(kernel, "uuid7", milliseconds << 42 | source.getrandbits(41))
    high, low = ordered >> 30, ordered & 0x3FFF_FFFF
    return uuid.UUID(int=(high >> 12) << 80 | 7 << 76 | (high & 0xFFF) << 64 | _RFC_VARIANT | low << 32 | source.getrandbits(32))


# Temporary files


def virtual_name(self: Any) -> str:
    """Return the next name to try for a temporary file."""
    if current() is None:
        return _next_name(self)
    kernel = _asked_by_user()
    if kernel is None:
        return _urandom(6).hex()
    source = stream(kernel, "entropy")
    return "".join(source.choice("abcdefghijklmnopqrstuvwxyz0123456789_") for _ in range(8))


def virtual_tempdir() -> Any:
    """Return the folder for temporary files: the execution's own, unless the user has set `tempfile.tempdir` in it."""
    kernel = _asked_by_user()
    real = _gettempdir()
    if kernel is None:
        return real
    if "temporary folder" not in kernel.context:
        kernel.context["temporary folder"] = real, _empty_folder(kernel, os.fsdecode(real))
    before, folder = kernel.context["temporary folder"]
    return folder if before == real else real


def _asked_by_user() -> Kernel | None:
    """Return the current kernel, unless the harness itself wants a temporary file."""
    kernel = current()
    if kernel is None:
        return None
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__") == "tempfile":
        frame = frame.f_back
    name = str(frame.f_globals.get("__name__"))
    return None if name.startswith("simharness.") and not name.startswith(_ON_BEHALF) else kernel


def _empty_folder(kernel: Kernel, parent: str) -> str:
    made = _folders.get(kernel)
    if made is None:
        made = _folders[kernel] = Folder(parent)
    folder = os.path.join(made.path, "tmp")
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder, 0o700)
    return folder


def forget(kernel: Kernel) -> None:
    """Remove the folder for temporary files of an exploration that is over."""
    made = _folders.pop(kernel, None)
    if made is not None:
        made.remove()


def install(patches: Patches) -> None:
    """Plan the replacement of every source of randomness and identity named above."""
    _gettempdir()  # looks for a folder that can be written to, once, under a random name: not in an execution
    for name, value in list(vars(random).items()):
        if getattr(value, "__self__", None) is _shared:
            patches.everywhere(value, _function(name))
    for original, replacement in (
        (_urandom, virtual_urandom),
        (_getrandom, virtual_getrandom),
        (_getpid, virtual_getpid),
        (_getppid, virtual_getppid),
        (_getnode, virtual_getnode),
        (_uuid1, virtual_uuid1),
        (_uuid6, virtual_uuid6),
        (_uuid7, virtual_uuid7),
    ):
        if original is not None:
            patches.everywhere(original, replacement)
    patches.attribute(random.Random, "seed", virtual_seed)
    patches.attribute(_names, "__next__", virtual_name)
    patches.attribute(tempfile, "_gettempdir", virtual_tempdir)
