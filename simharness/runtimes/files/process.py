"""What the threads of a process share besides memory and files: environment variables, the working folder, the umask.

Each is a location, and put back when the execution is over. Simulated processes run in one real process: where one of several changes
these, the others would see it, so the verdict names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from simharness.engine.phases import RUNNING
from simharness.runtimes.files import kinds
from simharness.runtimes.files.asking import asked
from simharness.runtimes.files.kept import genuine
from simharness.runtimes.files.parts import Location, Plan
from simharness.runtimes.files.paths import CURRENT, UMASK, absolute, find
from simharness.runtimes.files.state import Files

_Environ: Any = type(os.environ)
_METHODS = ("__getitem__", "__setitem__", "__delitem__", "__iter__", "__len__")
_own: dict[str, Any] = {name: vars(_Environ)[name] for name in _METHODS}
VARIABLES = "variables"
"""The key of the environment among the folders of an execution."""


def _changes(files: Files, what: str, key: str, put_back: Callable[[], Any]) -> None:
    """Something of the process is about to change: put it back at the end; name it if other processes would see it."""
    kernel = files.kernel
    if kernel.phase == RUNNING and len({actor.process for actor in kernel.cast.actors.values()}) > 1:
        kernel.learned.leaves_out(f"{what} of several processes")
    if key not in files.changed_settings:
        files.changed_settings.add(key)
        files.when_over.append(put_back)


# Environment variables


def _variable(files: Files, key: Any) -> Location:
    return files.setting(VARIABLES, "variable ", os.fsdecode(key) if isinstance(key, bytes) else str(key))


def _is_environment(thing: Any) -> bool:
    """Whether this is `os.environ` or `os.environb`, which have one dictionary."""
    return thing is os.environ or getattr(thing, "_data", None) is os.environ._data  # type: ignore[attr-defined]  # as both have it


def _get(self: Any, key: Any) -> Any:
    files = asked()
    if files is not None and _is_environment(self):
        place = _variable(files, key)
        files.turn(kinds.GET, lambda _: Plan([(place, False)]), place.name)
    return _own["__getitem__"](self, key)


def _changing(name: str) -> Callable[..., None]:
    def does(self: Any, key: Any, *value: Any) -> None:
        files = asked()
        if files is not None and _is_environment(self):
            place = _variable(files, key)
            files.turn(kinds.SET, lambda _: Plan([(place, True)]), place.name)
            _changes(files, "os.environ", VARIABLES, _environment())
        _own[name](self, key, *value)

    does.__name__ = name
    return does


def _environment() -> Callable[[], None]:
    """Return a function that gives the variables the values that they have now."""
    before = dict(os.environ._data)  # type: ignore[attr-defined]  # as the system has them

    def put_back() -> None:
        data = os.environ._data  # type: ignore[attr-defined]  # as the system has them
        if data == before:
            return
        decode = os.environ.decodekey
        for key in [*data]:
            if key not in before:
                _own["__delitem__"](os.environ, decode(key))
        for key, value in before.items():
            if data.get(key) != value:
                _own["__setitem__"](os.environ, decode(key), decode(value))

    return put_back


def _all(self: Any) -> None:
    """Make the step of a call that reads all variables."""
    files = asked(3)
    if files is not None and _is_environment(self):
        _variable(files, "")
        files.turn(kinds.GET, lambda _: Plan(files.listing(VARIABLES, files.kernel.actor)), "variables")


def _iterate(self: Any) -> Iterator[Any]:
    _all(self)
    iterator: Iterator[Any] = _own["__iter__"](self)
    return iterator


def _length(self: Any) -> int:
    _all(self)
    return int(_own["__len__"](self))


ENVIRONMENT: dict[str, Any] = {
    "__getitem__": _get,
    "__setitem__": _changing("__setitem__"),
    "__delitem__": _changing("__delitem__"),
    "__iter__": _iterate,
    "__len__": _length,
}
"""What replaces methods of `os.environ`."""


# The working folder and the umask


def _chdir(path: Any) -> None:
    files = asked()
    if files is not None:
        text = None if isinstance(path, int) else absolute(files, path)
        current = files.location(CURRENT)

        def plan(seen: int) -> Plan:
            found = None if text is None else find(files, text, True, seen)
            read = [] if found is None else [*found.read, *([] if found.entry is None else [(found.entry, False)])]
            return Plan([*read, (current, True)])

        files.turn(kinds.SET, plan, f"{CURRENT}: {path}")
        before = genuine["getcwd"]()
        _changes(files, "os.chdir", CURRENT, lambda: genuine["chdir"](before))
    genuine["chdir"](path)


def _fchdir(descriptor: Any) -> None:
    _chdir(descriptor if isinstance(descriptor, int) else descriptor.fileno())


def _getting(name: str) -> Callable[[], Any]:
    def does() -> Any:
        files = asked()
        if files is not None:
            place = files.location(CURRENT)
            files.turn(kinds.GET, lambda _: Plan([(place, False)]), CURRENT)
        return genuine[name]()

    does.__name__ = name
    return does


def _umask(mask: int, /) -> int:
    files = asked()
    before = int(genuine["umask"](mask))
    if files is None:
        return before
    genuine["umask"](before)
    place = files.location(UMASK)
    files.turn(kinds.SET, lambda _: Plan([(place, True)]), UMASK)
    before = int(genuine["umask"](mask))
    _changes(files, "os.umask", UMASK, lambda: genuine["umask"](before))
    return before


def replacements() -> dict[str, Any]:
    """Return what replaces functions of `os`, by their names."""
    made = {"chdir": _chdir, "fchdir": _fchdir, "getcwd": _getting("getcwd"), "getcwdb": _getting("getcwdb"), "umask": _umask}
    return {name: replacement for name, replacement in made.items() if name in genuine}
