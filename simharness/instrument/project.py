"""The project: the modules of the code under test, which announce their accesses without being named.

A module is the project's if its file lies below the root: not in an environment (`site-packages`, a folder with a `pyvenv.cfg`), and not
the harness itself. A package that is installed in editable form has its files there, too. Modules announce their accesses for the length of
an exploration; between explorations their functions have their own code again, as other tests run it, too.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any

from simharness.instrument.loader import Codes, Loader, functions_of
from simharness.instrument.marks import HOOKS, announces
from simharness.places import is_installed, is_ours

WORD = "test"
"""As a name of a module to instrument: not the project, only the module with the scenario or the test."""
_MARKERS = ("pyproject.toml", "setup.py", "setup.cfg", ".git", ".hg")


def root_of(file: str) -> str:
    """Return the project that a file is of: the nearest folder with a project's file, or the file's own folder."""
    own = folder = os.path.dirname(os.path.realpath(file))
    while True:
        if any(os.path.exists(os.path.join(folder, name)) for name in _MARKERS):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return own
        folder = parent


class Project:
    """The modules below a root. There is one for each root (`of_root`).

    Attributes:
        root: the folder, without symbolic links.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self._files: dict[str, bool] = {}
        self._folders: dict[str, bool] = {}
        self._codes: dict[str, Codes | None] = {}
        self._changed: list[tuple[FunctionType, CodeType, CodeType]] = []
        self._rewritten: set[str] = set()
        self._awaited = False
        self._blocks = 0

    def has(self, file: str | None) -> bool:
        """Whether a file is one of the project's."""
        if file is None:
            return False
        known = self._files.get(file)
        if known is None:
            known = self._files[file] = file.endswith(".py") and self._has_in(os.path.dirname(file))
        return known

    def _has_in(self, folder: str) -> bool:
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = self._has_folder(os.path.realpath(folder))
        return known

    def _has_folder(self, folder: str) -> bool:
        path = os.path.join(folder, "")
        if not path.startswith(os.path.join(self.root, "")) or is_installed(path) or is_ours(path):
            return False
        while folder != self.root:
            if os.path.exists(os.path.join(folder, "pyvenv.cfg")):
                return False
            folder = os.path.dirname(folder)
        return True

    def _imported(self) -> dict[str, ModuleType]:
        found = {}
        for name, module in list(sys.modules.items()):
            space = getattr(module, "__dict__", None)
            if space is not None and self.has(space.get("__file__")):
                found[name] = module
        return found

    def modules(self) -> list[str]:
        """Return the names of the imported modules of the project that announce their accesses now."""
        return [name for name, module in self._imported().items() if announces(vars(module))]

    @contextmanager
    def announcing(self, besides: Collection[str] = (), later: Callable[[Callable[[], None]], None] | None = None) -> Iterator[None]:
        """A block in which the project's modules announce their accesses, those that are imported in it, too.

        Args:
            besides: modules that do not, such as those of other tests.
            later: has a function called later, which gives the functions their own code again; default: at the end of the block. To look
                for all functions takes long, so it is done once for the blocks until then.
        """
        if self._blocks:
            yield
            return
        finder = _Finder(self, besides)
        announced = set(self.modules())
        self._blocks += 1
        sys.meta_path.insert(0, finder)
        try:
            self._begin(besides)
            yield
        finally:
            self._blocks -= 1
            sys.meta_path.remove(finder)
            for name in self.modules():
                if name not in announced:
                    vars(sys.modules[name])[HOOKS] = _hooks("silent")
            if later is None:
                self._restore()
            elif self._rewritten and not self._awaited:
                self._awaited = True
                later(self._restore)

    @contextmanager
    def rewriting(self) -> Iterator[None]:
        """A block in which modules of the project that are imported announce their accesses, from then on."""
        finder = _Finder(self, ())
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)

    def _begin(self, besides: Collection[str]) -> None:
        codes: dict[int, Codes] = {}
        for name, module in self._imported().items():
            space = vars(module)
            if name in besides or announces(space):
                continue
            known = self._codes_of(name, module) if HOOKS not in space or name in self._codes else None
            if known is not None and (name not in self._rewritten or known.unfinished):
                codes[id(space)] = known
                self._rewritten.add(name)
            if known is not None or HOOKS in space:
                space[HOOKS] = _hooks("hooks")
        for function, before, after in functions_of(codes) if codes else ():
            function.__code__ = after
            self._changed.append((function, before, after))

    def _restore(self) -> None:
        """Give the functions their own code again."""
        for function, before, after in self._changed:
            if function.__code__ is after:
                function.__code__ = before
        self._changed.clear()
        self._rewritten.clear()
        self._awaited = False

    def _codes_of(self, name: str, module: ModuleType) -> Codes | None:
        if name not in self._codes:
            self._codes[name] = None
            with contextlib.suppress(OSError, SyntaxError, ValueError):
                self._codes[name] = Codes(module)
        return self._codes[name]

    @contextmanager
    def silent(self, besides: Collection[str]) -> Iterator[None]:
        """A block in which the modules that announce do not, but for these."""
        with silenced([vars(sys.modules[name]) for name in self.modules() if name not in besides]):
            yield


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what the other finders find, and has the project's modules rewritten."""

    def __init__(self, project: Project, besides: Collection[str]) -> None:
        self._project = project
        self._besides = besides

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the specification of a module of the project."""
        if fullname.partition(".")[0] in sys.stdlib_module_names or fullname in self._besides:
            return None
        for finder in sys.meta_path:
            if finder is not self and not isinstance(finder, _Finder):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    if type(spec.loader) is not SourceFileLoader or not self._project.has(spec.origin):
                        return None
                    spec.loader = Loader(fullname, spec.loader.path)
                    return spec
        return None


@contextmanager
def silenced(spaces: Collection[dict[str, Any]]) -> Iterator[None]:
    """A block in which the modules of these globals, which announce their accesses, do not."""
    for space in spaces:
        space[HOOKS] = _hooks("silent")
    try:
        yield
    finally:
        for space in spaces:
            space[HOOKS] = _hooks("hooks")


@cache
def of_root(root: str) -> Project:
    """Return the project with this root."""
    return Project(root)


@cache
def _hooks(name: str) -> ModuleType:
    return importlib.import_module(f"simharness.runtimes.memory.{name}")
