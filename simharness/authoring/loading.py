"""Addresses: from what a command line names to the scenarios there.

An address is a file, a folder or a dotted module name, with `::NAME` for one scenario of it. Each loaded scenario carries the address that
loads it alone, in this process or another: FILE::NAME, or MODULE::NAME if a module was named. Modules with scenarios are imported once
and instrumented.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from simharness.authoring.scenario import Scenario
from simharness.errors import Misuse
from simharness.instrument.loader import Loader, convert
from simharness.instrument.project import of_root, root_of
from simharness.places import is_installed, is_ours, last_place, words_of

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_IMPORTS_US = re.compile(rb"^\s*(?:import|from)\b.*\bsimharness\b", re.MULTILINE)
CONTROLLED = frozenset(
    {"asyncio", "collections", "concurrent", "functools", "logging", "os", "queue", "random", "sqlite3", "threading", "time"}
)
"""Modules of the standard library whose classes are under control, or written in C."""
_MARK = "mark a function with @simharness.scenario"


def load(address: str) -> list[Scenario]:
    """Import what an address names and return its scenarios.

    Args:
        address: `PATH` of a file, of a folder (all files below it), or a dotted `MODULE`; with `::NAME` for one scenario of it.

    Raises:
        Misuse: there is nothing at the address, or no scenario, or none of that name; or a file cannot be imported.
    """
    scenarios = _loaded(address)
    for scenario in scenarios:
        file = getattr(sys.modules.get(scenario.__module__), "__file__", None)
        if file is not None and not scenario.project:
            scenario.project = root_of(file)
    return scenarios


def module_at(place: str) -> ModuleType:
    """Import a file, or a module by its dotted name, and instrument it.

    Of a module of the standard library that is written in Python a copy is instrumented, as the harness uses it, too; those that are
    under control are left as they are.

    Raises:
        Misuse: there is none, or it cannot be imported.
    """
    if os.path.isfile(place):
        return _import_file(place)
    if place.partition(".")[0] in sys.stdlib_module_names:
        module = importlib.import_module(place)
        file = getattr(module, "__file__", None) or ""
        return _import_file(file) if file.endswith(".py") and place.partition(".")[0] not in CONTROLLED else module
    spec = _spec(place)
    if spec is None:
        raise Misuse(f"{place}: no such file or module; give a Python file, or a dotted module name")
    if is_installed(spec.origin):
        try:
            return importlib.import_module(place)
        except Exception as error:
            raise _not_importable(place, error) from error
    return _import_module(place, spec)


def _loaded(address: str) -> list[Scenario]:
    place, _, name = address.partition("::")
    if os.path.isfile(place):
        return _named(_import_file(place), place, name)
    if os.path.isdir(place):
        modules = {file: _import_file(file) for file in _files(place)}  # all files first: one may load scenarios of another
        return _chosen([scenario for file, module in modules.items() for scenario in _own(module, file)], place, name)
    spec = _spec(place)
    if spec is None:
        raise Misuse(f"{place}: no such file, folder or module; give a Python file, with ::NAME for one scenario of it")
    if spec.submodule_search_locations is None:
        return _named(_import_module(place, spec), place, name)
    return _chosen(list(_of_package(place, spec.submodule_search_locations)), place, name)


def only_of(scenarios: Sequence[Scenario], address: str, token_names: str | None) -> Scenario:
    """Return the scenario that was loaded from an address; if there are several, the one that a token names.

    Raises:
        Misuse: there are several, and the token (if any) fits none of them, or more than one.
    """
    fitting = list(scenarios) if len(scenarios) == 1 else [scenario for scenario in scenarios if scenario.name == token_names]
    if len(fitting) == 1:
        return fitting[0]
    fits = "" if token_names is None else "the token fits none of them: " if not fitting else f"the token fits {len(fitting)} of them: "
    raise Misuse(f"{address} has {len(scenarios)} scenarios; {fits}name one, {(fitting or scenarios)[0].address}")


def _named(module: ModuleType, place: str, name: str) -> list[Scenario]:
    """Return a module's scenarios in the order of its source, or the one with this name, which need not be marked."""
    marked = {key: value for key, value in vars(module).items() if isinstance(value, Scenario)}
    if name:
        chosen = marked.get(name)
        if chosen is None and callable(getattr(module, name, None)):
            chosen = Scenario(getattr(module, name))
        if chosen is None:
            raise Misuse(f"{place} has no scenario {name!r}; it has: {', '.join(marked) or 'none'}")
        chosen.address = f"{place}::{name}"
        return [chosen]
    if not marked:
        raise Misuse(f"{place} has no scenario: {_MARK}, or name one: {place}::FUNCTION")
    return _addressed(marked, place)


def _addressed(marked: dict[str, Scenario], place: str) -> list[Scenario]:
    for key, value in reversed(marked.items()):
        value.address = f"{place}::{key}"
    return list(dict.fromkeys(marked.values()))


# Folders and packages


def _chosen(scenarios: Sequence[Scenario], place: str, name: str) -> list[Scenario]:
    """Return the scenarios of a folder or a package, or the one with this name."""
    if not scenarios:
        raise Misuse(f"{place} has no scenario: no Python file below it has one; {_MARK}")
    if not name:
        return list(scenarios)
    chosen = [scenario for scenario in scenarios if scenario.address.partition("::")[2] == name]
    if len(chosen) > 1:
        raise Misuse(f"{place} has {len(chosen)} scenarios {name!r}: name one, {' or '.join(scenario.address for scenario in chosen)}")
    if not chosen:
        raise Misuse(f"{place} has no scenario {name!r}; it has: {', '.join(dict.fromkeys(scenario.name for scenario in scenarios))}")
    return chosen


def _own(module: ModuleType, place: str) -> list[Scenario]:
    """Return the scenarios that a module defines, without those that it imports."""
    marked = {key: value for key, value in vars(module).items() if isinstance(value, Scenario)}
    return _addressed({key: value for key, value in marked.items() if not _is_imported(value, module)}, place)


def _is_imported(scenario: Scenario, module: ModuleType) -> bool:
    home = sys.modules.get(scenario.__module__)
    return home is not None and home is not module and any(value is scenario for value in vars(home).values())


def _files(folder: str) -> list[str]:
    """Return the files below a folder that may have scenarios, sorted, without hidden folders and virtual environments.

    Importing a file runs it, so a file is left out unless it imports simharness and contains "scenario".
    """
    files = []
    for parent, folders, names in os.walk(os.path.normpath(folder)):
        folders[:] = [name for name in folders if not _is_skipped(os.path.join(parent, name))]
        files += [os.path.normpath(os.path.join(parent, name)) for name in names if name.endswith(".py") and not name.startswith(".")]
    return sorted(file for file in files if _may_have_scenarios(file))


def _is_skipped(folder: str) -> bool:
    name = os.path.basename(folder)
    return name.startswith(".") or name == "__pycache__" or os.path.isfile(os.path.join(folder, "pyvenv.cfg"))


def _may_have_scenarios(file: str) -> bool:
    if is_ours(os.path.realpath(file)) or not os.path.isfile(file):
        return False
    try:
        with open(file, "rb") as stream:
            source = stream.read()
    except OSError:
        return True  # importing it then gives the error
    return b"scenario" in source and _IMPORTS_US.search(source) is not None


def _of_package(package: str, locations: Sequence[str]) -> Iterator[Scenario]:
    for location in locations:
        for file in _files(location):
            parts = os.path.relpath(os.path.splitext(file)[0], location).split(os.sep)
            name = ".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])
            spec = _spec(name)
            if spec is not None:
                yield from _own(_import_module(name, spec), name)


# Importing


def _on_path(*folders: str) -> None:
    for folder in folders:
        if folder not in sys.path:
            sys.path.insert(0, folder)


def _import_file(path: str) -> ModuleType:
    full = os.path.abspath(path)
    name = "simharness_scenarios_" + os.path.splitext(os.path.basename(full))[0]
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == full:
        return loaded
    _on_path(os.getcwd(), os.path.dirname(full))
    spec = importlib.util.spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise Misuse(f"{path} is not a Python file")
    return _executed(spec, full, path)


def _spec(name: str) -> ModuleSpec | None:
    """Return the spec of a module, by its dotted name; None if there is none. Its parent packages are imported."""
    if _DOTTED.fullmatch(name) is None:
        return None
    _on_path(os.getcwd())
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise _not_importable(name, error) from error
    except Exception as error:
        raise _not_importable(name, error) from error


def _import_module(name: str, spec: ModuleSpec) -> ModuleType:
    """Import a module under its own name, so that relative imports work in it, and instrument it."""
    loaded = sys.modules.get(name)
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise Misuse(f"{name} has no Python source, so it cannot be instrumented; give a module with source")
    if loaded is not None:
        try:
            convert(loaded)
        except (OSError, SyntaxError, ValueError) as error:
            raise Misuse(f"{name} is imported already and cannot be instrumented: {error}; give its file instead") from error
        return loaded
    module = _executed(spec, spec.origin, name)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def _executed(spec: ModuleSpec, file: str, named: str) -> ModuleType:
    """Run a module's instrumented source; `named` is its name in an error."""
    spec.loader = loader = Loader(spec.name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        with of_root(root_of(file)).rewriting():
            loader.exec_module(module)
    except BaseException as error:
        del sys.modules[spec.name]
        if isinstance(error, KeyboardInterrupt | Misuse):
            raise
        raise _not_importable(named, error) from error
    return module


def _not_importable(named: str, error: BaseException) -> Misuse:
    where = error.lineno if isinstance(error, SyntaxError) else (last_place(error) or "?")
    return Misuse(f"{named} cannot be imported: {type(error).__name__}: {words_of(error)} (at {where})")
