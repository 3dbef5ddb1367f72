"""Whether a scenario states any property: an exploration of one that cannot fail proves nothing, however many orderings it runs.

Nothing is run to decide it: what counts are assert statements in the code that a scenario's function leads to, by name, in the user's own
files only. Names lead to too much rather than too little, so that no scenario with a property is reported to have none.
"""

from __future__ import annotations

import ast
import dis
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from simharness.errors import Misuse
from simharness.places import is_foreign
from simharness.runtimes.memory.locations import shown

_SITE = ("site-packages", "dist-packages")
MOST = 2_000
"""How many functions are examined; a scenario that leads to more is assumed to assert something."""
_ASSERTING = ("assert", "fail", "raises", "expect", "check", "verify", "exit", "ensure")
"""How the names of functions begin that assert on behalf of their caller: `assertEqual`, `pytest.raises`, `fail`, `sys.exit`."""


def refuse_without_asserts(module: str) -> None:
    """Refuse a scenario whose assert statements Python has removed: everything would hold.

    Args:
        module: the scenario's own. If it has no asserts, the user's modules from which its globals come are examined.

    Raises:
        Misuse: they are removed.
    """
    if not sys.flags.optimize:
        return
    own = sys.modules.get(module)
    if own is None:
        return
    asserts = _asserts(own)
    candidates = [own] if asserts is not False else _users_modules(own)
    for candidate in candidates:
        if not _is_rewritten(candidate) and _asserts(candidate) is not False:
            raise Misuse(
                f"python -O removes assert statements, also those of {shown(candidate.__name__)}, and everything would hold: "
                "run without -O and PYTHONOPTIMIZE"
            )


def asserts_something(roots: Iterable[Any]) -> bool:
    """Whether the code that functions lead to may assert something, or one of the functions itself may raise."""
    first = [code for root in roots for code in _codes(root)]
    own = set(_nested(first))
    known = _by_name({str(getattr(_plain(root), "__module__", "")) for root in roots})
    seen: set[CodeType] = set()
    waiting = list(first)
    while waiting:
        code = waiting.pop()
        if code in seen:
            continue
        seen.add(code)
        if len(seen) > MOST or _asserts_here(code, code in own):
            return True
        waiting.extend(inner for inner in code.co_consts if type(inner) is CodeType)
        waiting.extend(called for name in code.co_names for called in known.get(name, ()))
    return False


def _asserts_here(code: CodeType, is_own: bool) -> bool:
    if any(name.lower().lstrip("_").startswith(_ASSERTING) for name in code.co_names):
        return True
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_ASSERTION_ERROR" or (instruction.opname == "RAISE_VARARGS" and is_own):
            return True
        if instruction.opname == "LOAD_COMMON_CONSTANT" and "AssertionError" in instruction.argrepr:
            return True
    return False


def _plain(thing: Any) -> Any:
    """Return the function behind a partial, a method or a decorator."""
    for _ in range(20):
        inner = vars(thing).get("__wrapped__") if type(thing) is FunctionType else None
        inner = thing.func if type(thing) is partial else thing.__func__ if type(thing) is MethodType else inner
        if inner is None:
            break
        thing = inner
    return thing


def _codes(thing: Any) -> Iterator[CodeType]:
    """Yield the code of a function, of what it closes over, of a class's methods, of a callable object."""
    waiting, seen = [thing], 0
    while waiting and seen < MOST:
        thing, seen = _plain(waiting.pop()), seen + 1
        if type(thing) is FunctionType:
            yield thing.__code__
            for cell in thing.__closure__ or ():
                try:
                    held = cell.cell_contents
                except ValueError:
                    continue
                if (type(held) in (FunctionType, MethodType, partial) and _plain(held) is not thing) or issubclass(type(held), type):
                    waiting.append(held)
        elif issubclass(type(thing), type):
            waiting.extend(_members(thing))
        elif type(call := getattr(type(thing), "__call__", None)) is FunctionType:  # noqa: B004  # the class's, not whether it can be called
            waiting.append(call)


def _members(cls: type) -> Iterator[Any]:
    for member in vars(cls).values():
        if type(member) in (staticmethod, classmethod):
            yield member.__func__
        elif type(member) is property:
            yield from filter(None, (member.fget, member.fset, member.fdel))
        elif type(member) is FunctionType:
            yield member


def _nested(codes: Iterable[CodeType]) -> Iterator[CodeType]:
    for code in codes:
        yield code
        yield from _nested(inner for inner in code.co_consts if type(inner) is CodeType)


def _by_name(modules: Iterable[str]) -> dict[str, list[CodeType]]:
    """Return the code of the functions, classes and methods of these modules, and of the user's modules to which they refer, by name."""
    known: dict[str, list[CodeType]] = {}
    waiting = [sys.modules[name] for name in modules if name in sys.modules]
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module.__name__ in seen:
            continue
        seen.add(module.__name__)
        for name, value in list(vars(module).items()):
            plain = _plain(value)
            if type(plain) is FunctionType or issubclass(type(plain), type):
                known.setdefault(name, []).extend(_codes(plain))
            if issubclass(type(plain), type):
                for method, member in list(vars(plain).items()):
                    parts = (member.fget, member.fset) if type(member) is property else (getattr(member, "__func__", member),)
                    known.setdefault(method, []).extend(code for part in parts for code in _codes(part))
        waiting.extend(_users_modules(module))
    return known


def _users_modules(module: ModuleType) -> list[ModuleType]:
    """Return the user's own modules from which the globals of a module come, except itself."""
    names = set()
    for value in list(vars(module).values()):
        plain = _plain(value)
        if issubclass(type(plain), ModuleType):
            names.add(plain.__name__)
        elif type(plain) is FunctionType or issubclass(type(plain), type):
            names.add(plain.__module__)
    others = [sys.modules[name] for name in sorted(names) if name in sys.modules and name != module.__name__]
    files = [(other, getattr(other, "__file__", None) or "<") for other in others]
    return [other for other, file in files if not is_foreign(file) and not any(site in file for site in _SITE)]


def _asserts(module: ModuleType) -> bool | None:
    """Whether a module's source has assert statements; None if the source is not available."""
    try:
        with open(module.__file__ or "", "rb") as stream:
            return any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(stream.read())))
    except (OSError, SyntaxError, ValueError, AttributeError):
        return None


def _is_rewritten(module: ModuleType) -> bool:
    """Whether pytest has replaced a module's asserts by code of its own, which stays under -O."""
    loader = getattr(module.__spec__, "loader", None) if hasattr(module, "__spec__") else None
    return type(loader).__module__ == "_pytest.assertion.rewrite" and "PYTEST_DONT_REWRITE" not in (module.__doc__ or "")
