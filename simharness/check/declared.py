"""From a class, or its address, to the target of a check."""

from __future__ import annotations

import ast
import inspect
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from simharness.authoring.loading import module_at
from simharness.check.checking import How
from simharness.check.specifications import SERIALIZABLE, chosen
from simharness.check.targets import ASYNCIO, MARK, TRIO, Target, call_of, calls_of, made_by, namespace_of
from simharness.errors import Misuse
from simharness.instrument.project import root_of
from simharness.places import is_foreign, is_installed, without_addresses, words_of
from simharness.search import named
from simharness.settings import Settings
from simharness.visible import shortened

_SETTINGS = ("preemptions", "max_executions", "races", "allowed_races", "atomicity")
OPTIONS = (*("faults", "instrument", "max_seconds", "process", "spec", "strategy", "workers"), *_SETTINGS)
"""What a decorator takes besides the bounds."""
MAX_SECONDS = 60.0
"""Of a check, where nobody says."""


def declare(cls: type[Any], threads: int, calls: int, options: Mapping[str, Any]) -> None:
    """Mark a class as the target of a check.

    Raises:
        Misuse: an option is wrong, or this is no class.
    """
    if not isinstance(cls, type):
        raise Misuse(f"@simharness.check.target marks a class, not {shortened(repr(cls))}")
    _check_options(cls.__name__, options, OPTIONS)
    _check_bounds(threads, calls)
    setattr(cls, MARK, {"threads": threads, "calls": calls, **options})


def _check_options(name: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for option in options:
        if option not in known:
            raise Misuse(f"check of {name}: there is no option {option!r}; there are: {', '.join(known)}")
    if "spec" in options:
        chosen(options["spec"])
    named.check(options.get("strategy") or named.DEFAULT, Settings())


def _check_bounds(threads: Any, calls: Any) -> None:
    if type(threads) is not int or threads < 0 or threads == 1 or threads > 6:
        raise Misuse(f"threads={threads!r}: programs have from 2 to 6 actors")
    if type(calls) is not int or not 1 <= calls <= 6:
        raise Misuse(f"calls={calls!r}: an actor makes from 1 to 6 calls")


def target_of(checked: Any, operations: Sequence[str] = (), options: Mapping[str, Any] | None = None) -> Target:
    """Return the target that a class, or an address, is.

    Raises:
        Misuse: there is no such class, it cannot be built, or an operation is not one.
    """
    given = dict(options or {})
    address = checked if isinstance(checked, str) else ""
    cls, make, how = _at(address) if address else (checked, None, "")
    if not isinstance(cls, type):
        raise Misuse(f'check takes a class, or its address "MODULE:CLASS", not {shortened(repr(cls))}')
    given = {**getattr(cls, MARK, {}), **{name: value for name, value in given.items() if value is not None}}
    threads, length = given.pop("threads", 0), given.pop("calls", 2)
    state = given.pop("state", None)
    _check_options(cls.__name__, given, OPTIONS)
    _check_bounds(threads, length)
    if make is None:
        make, how = made_by(cls, address)
    space = namespace_of(cls.__module__)
    calls, left = ([call_of(text, cls, space) for text in operations], []) if operations else calls_of(cls, _drawn)
    return Target(
        cls.__name__,
        address or f"{cls.__module__}:{cls.__qualname__}",
        cls.__module__,
        make,
        calls,
        _state(cls, state, space),
        _method(cls, "invariant"),
        getattr(cls, "model", None) if hasattr(cls, MARK) else None,
        threads,
        length,
        _tasks(cls) if any(inspect.iscoroutinefunction(getattr(cls, call.operation, None)) for call in calls) else "",
        {**given, "how": how, **_instrumented(cls, given)},
        tuple(left),
    )


def _instrumented(cls: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the project of a class, and the modules that are instrumented besides it."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    named = given.get("instrument") or ()
    modules = tuple(filter(None, named.split(",") if isinstance(named, str) else named))
    if is_installed(file):
        return {"instrument": (*modules, cls.__module__.partition(".")[0])}
    if file is None or is_foreign(file):
        return {"instrument": modules}
    return {"instrument": modules, "project": root_of(file)}


def _tasks(cls: type[Any]) -> str:
    """Return the library whose tasks call the coroutines of a class: the one that its module has imported, or else Trio."""
    package = cls.__module__.partition(".")[0]
    spaces = [vars(module) for name, module in list(sys.modules.items()) if name == cls.__module__ or name.partition(".")[0] == package]
    imported = {_library(value) for space in spaces for value in list(space.values())}
    return ASYNCIO if ASYNCIO in imported and TRIO not in imported else TRIO


def _library(value: Any) -> str:
    """Return the library that a global of a module is of."""
    name = getattr(value, "__name__", "") if isinstance(value, types.ModuleType) else getattr(value, "__module__", "")
    return str(name).partition(".")[0]


def _at(address: str) -> tuple[type[Any], Callable[[Mapping[str, Any]], Any] | None, str]:
    """Return the class at an address, and if the address says how one is made, what makes it."""
    place, _, text = address.partition(":")
    text = text.lstrip(":")
    if not text:
        raise Misuse(f"{shortened(address)!r} names no class: write MODULE:CLASS, or MODULE:CLASS(ARGUMENTS)")
    module = module_at(place)
    space = vars(module)
    try:
        tree = ast.parse(text, mode="eval").body
        code = compile(text, "<address>", "eval")
    except (SyntaxError, ValueError, RecursionError):
        raise Misuse(f"{shortened(text)!r} is not a class: write MODULE:CLASS, or MODULE:CLASS(ARGUMENTS)") from None
    name = ast.unparse(tree.func if isinstance(tree, ast.Call) else tree)
    try:
        found = eval(name, dict(space))
    except Exception:
        classes = [key for key, value in space.items() if isinstance(value, type) and value.__module__ == module.__name__]
        raise Misuse(f"{place} has no class {shortened(name)!r}; it has: {', '.join(classes) or 'none'}") from None
    if not isinstance(tree, ast.Call):
        if not isinstance(found, type):
            raise Misuse(
                f"{shortened(text)!r} is not a class: it is {shortened(without_addresses(repr(found)))}; "
                + (f'write a call that makes an object: "{place}:{text}(…)"' if callable(found) else "write MODULE:CLASS")
            )
        return found, None, ""

    def make(names: Mapping[str, Any]) -> Any:
        return eval(code, {**space, **names})

    if isinstance(found, type):
        return found, make, text
    try:
        return type(make({"path": lambda name="file": "/dev/null"})), make, text
    except Exception as error:
        raise Misuse(f"{shortened(text)} raises {type(error).__name__}: {shortened(words_of(error))}") from None


def _state(cls: type[Any], given: Any, space: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    if callable(given):
        return given  # type: ignore[no-any-return]  # whatever it returns is compared
    if isinstance(given, str):
        try:
            code = compile(given, "<state>", "eval")
        except SyntaxError:
            raise Misuse(f'state {shortened(given)!r} is not an expression: write one of self, as in "sorted(self)"') from None
        return lambda subject: eval(code, {**space, "self": subject})
    return _method(cls, "state")


def _method(cls: type[Any], name: str) -> Callable[[Any], Any] | None:
    """Return a method of a decorated class that says something about it."""
    found = getattr(cls, name, None)
    return found if hasattr(cls, MARK) and callable(found) else None


def _drawn(strategy: Any) -> Sequence[Any]:
    from simharness.hypothesis import values_of

    return values_of(strategy)


def how_of(target: Target, settings: Settings | None = None) -> How:
    """Return how a target is checked.

    Raises:
        Misuse: an option is wrong.
    """
    options = target.options
    settings = settings or Settings()
    for name in _SETTINGS:
        if options.get(name) is not None:
            settings = replace(settings, **{name: options[name]})
    workers = options.get("workers") or 1
    if type(workers) is not int or workers < 1:
        raise Misuse(f"workers={workers!r}: it must be a whole number, at least 1")
    most = options.get("max_seconds")
    strategy = options.get("strategy") or named.DEFAULT
    named.check(strategy, settings)
    return How(
        chosen(options.get("spec") or SERIALIZABLE),
        settings,
        options.get("faults"),
        strategy,
        MAX_SECONDS if most is None else most,
        workers,
    )
