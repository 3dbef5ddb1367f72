"""Instruments modules at their import or, if they have been imported already, by giving their functions the rewritten code.

A name stands for that module and all below it. An instrumented module has the hooks among its globals. Rewritten code is compiled under
the original file name, and nodes keep their positions: tracebacks, coverage and debuggers show the original lines.
"""

from __future__ import annotations

import ast
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType, ModuleType

from simharness.errors import Misuse
from simharness.instrument.marks import HOOKS, announces
from simharness.instrument.rewriting import CELL, instrumented, rewrite


def compiled(source: str | bytes, filename: str) -> CodeType:
    """Return the code of a module with its accesses announced.

    Raises:
        SyntaxError: as compiling the source would.
    """
    code: CodeType = compile(rewrite(source, filename), filename, "exec", dont_inherit=True)
    return code


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a source file with its accesses announced; byte code is neither read nor written."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the rewritten code."""
        path = self.get_filename(fullname)
        return compiled(self.get_data(path), path)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that the other finders find, and has the wanted ones rewritten."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = wanted

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the specification of a wanted module."""
        if not is_wanted(fullname, self._wanted):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = Loader(fullname, spec.loader.path)
        return spec


@contextmanager
def importing(names: Sequence[str]) -> Iterator[None]:
    """Instrument the modules of these names and those below them: at once if they are imported, else at their import.

    Raises:
        Misuse: there is no such module, or it has no source to rewrite.
    """
    if not names:
        yield
        return
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        for name in names:
            _have(name)
        yield
    finally:
        sys.meta_path.remove(finder)


def is_wanted(module: str, names: Sequence[str]) -> bool:
    """Whether a module is among those of these names, or below one of them."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def _have(name: str) -> None:
    """Import a module; rewrite it and those below it if they had been imported before."""
    if name.partition(".")[0] == "simharness":
        raise Misuse(f"instrument={name!r}: the harness itself cannot be instrumented")
    if name not in sys.modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise Misuse(f"instrument={name!r}: there is no module of this name ({error}); write it as in `import {name}`") from error
    for module in [imported for imported in list(sys.modules) if is_wanted(imported, (name,))]:
        _convert(sys.modules[module], required=module == name)


def _convert(module: ModuleType, required: bool) -> None:
    try:
        convert(module)
    except (OSError, SyntaxError, ValueError) as error:
        if required:
            raise Misuse(f"instrument={module.__name__!r}: it has no Python source to rewrite ({error}); leave it out") from error


def convert(module: ModuleType) -> None:
    """Give the functions of an imported module the code that rewriting at import would have given them.

    Functions that its own code makes afterwards, as it may be running, are given theirs the next time. Asserts that pytest has rewritten
    still explain themselves.

    Raises:
        OSError, SyntaxError, ValueError: its source is not available.
    """
    space = vars(module)
    codes = _converted.get(module)
    if not announces(space):
        codes = _converted[module] = Codes(module)
    elif codes is None or not codes.unfinished:
        return
    for function, _, new in functions_of({id(space): codes}):
        function.__code__ = new
    space[HOOKS] = importlib.import_module("simharness.runtimes.memory.hooks")


_converted: weakref.WeakKeyDictionary[ModuleType, Codes] = weakref.WeakKeyDictionary()
"""The codes of modules whose functions were given rewritten code after the import."""


def functions_of(codes: Mapping[int, Codes]) -> list[tuple[FunctionType, CodeType, CodeType]]:
    """Return the functions of modules, each with its code and the rewritten code, in one look through all objects.

    Args:
        codes: by the identity of the module's globals; each says from here on whether it is unfinished.
    """
    for known in codes.values():
        known.unfinished = known.are_running()
    found = []
    for thing in gc.get_objects():
        if type(thing) is FunctionType:
            own = codes.get(id(thing.__globals__))
            new = None if own is None else own.rewritten(thing.__code__)
            if new is not None:
                found.append((thing, thing.__code__, new))
    return found


class Codes:
    """The code objects of a module, and what rewriting makes of them.

    Attributes:
        unfinished: whether the module's own code was running when its functions were looked for, and may make more that have it.

    Raises:
        OSError, SyntaxError, ValueError: the source is not available.
    """

    def __init__(self, module: ModuleType) -> None:
        self._file = file = getattr(module, "__file__", None) or ""
        with open(file, "rb") as stream:
            source = stream.read()
        before: CodeType = compile(_as_imported(module, source, file), file, "exec", dont_inherit=True)
        after: CodeType = compile(instrumented(_as_imported(module, source, file)), file, "exec", dont_inherit=True)
        self._same: dict[CodeType, CodeType] = {}
        self._alike: dict[tuple[str, int], list[CodeType]] = {}
        _pair(before, after, self._same, self._alike)
        self._new = {after, *self._same.values()}
        self.unfinished = False

    def rewritten(self, code: CodeType) -> CodeType | None:
        """Return what a function's code becomes; None if it is not known, or cannot take its place."""
        others = self._alike.get((code.co_qualname, code.co_firstlineno), [])
        new = self._same.get(code) or (others[0] if len(others) == 1 and code.co_filename == self._file else None)
        return new if new is not None and new.co_freevars == code.co_freevars else None

    def are_running(self) -> bool:
        """Whether a frame of any thread runs the module's own code, not the rewritten one, and may make functions."""
        for frame in sys._current_frames().values():
            running: FrameType | None = frame
            while running is not None:
                if running.f_code.co_filename == self._file and running.f_code not in self._new:
                    return True
                running = running.f_back
        return False


def _as_imported(module: ModuleType, source: bytes, file: str) -> ast.Module:
    """Return the syntax tree that a module was compiled from."""
    tree = ast.parse(source, file)
    loader = getattr(module.__spec__, "loader", None)
    if type(loader).__module__ == "_pytest.assertion.rewrite":
        rewriting = sys.modules["_pytest.assertion.rewrite"]
        rewriting.rewrite_asserts(tree, source, file, vars(loader).get("config"))
    return tree


def _pair(before: CodeType, after: CodeType, same: dict[CodeType, CodeType], alike: dict[tuple[str, int], list[CodeType]]) -> None:
    """Pair each code object of a module with its rewritten one."""
    ours = [code for code in after.co_consts if isinstance(code, CodeType) and CELL not in code.co_varnames]
    for old, new in zip([code for code in before.co_consts if isinstance(code, CodeType)], ours, strict=True):
        same[old] = new
        alike.setdefault((old.co_qualname, old.co_firstlineno), []).append(new)
        _pair(old, new, same, alike)
