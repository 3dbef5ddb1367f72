"""Replaces objects of the standard library wherever they are bound, and restores them.

`Patches.everywhere` covers names bound before (`from time import sleep`), default arguments, closures, class attributes, attributes of
objects and factories of default dictionaries, by asking the garbage collector for references to the originals. A replacement in a class
stays a plain callable, as the builtin was. References inside tuples, lists and sets are not covered.
"""

from __future__ import annotations

import ctypes
import gc
from collections import defaultdict
from collections.abc import Callable
from types import CellType, FrameType, FunctionType, ModuleType
from typing import Any

from simharness.errors import HarnessBug

_MISSING = object()


class Patches:
    """A set of replacements; `apply` makes them, `undo` reverts them, also after an error."""

    def __init__(self) -> None:
        self._originals: list[Any] = []
        self._swaps: dict[int, Any] = {}
        self._attributes: list[tuple[Any, str, Any]] = []
        self._methods: list[tuple[type, str, Any]] = []
        self._changes: list[tuple[Callable[[], Any], Callable[[], Any]]] = []
        self._undo: list[Callable[[], None]] = []

    def everywhere(self, original: Any, replacement: Any) -> None:
        """Plan to replace every reference to `original` that the interpreter can find."""
        self._originals.append(original)
        self._swaps[id(original)] = replacement

    def planned(self, original: Any) -> bool:
        """Whether a replacement of `original` everywhere is planned."""
        return id(original) in self._swaps

    def holds(self, thing: Any) -> bool:
        """Whether a thing is one in which the plan is kept."""
        return thing is self._originals

    def attribute(self, owner: Any, name: str, value: Any) -> None:
        """Plan to set one attribute of a class, module or object."""
        self._attributes.append((owner, name, value))

    def method(self, cls: type, name: str, function: Any) -> None:
        """Plan to replace a method of a class that is written in C and takes no attributes: for all its instances, whoever holds them."""
        self._methods.append((cls, name, function))

    def change(self, make: Callable[[], Any], restore: Callable[[], Any]) -> None:
        """Plan a change of another kind."""
        self._changes.append((make, restore))

    def afterwards(self, restore: Callable[[], None]) -> None:
        """Have `restore` called when the replacements are undone."""
        self._undo.append(restore)

    def apply(self) -> None:
        """Make the planned replacements."""
        try:
            for owner, name, value in self._attributes:
                self._set(owner, name, value)
            self._set_methods()
            for make, restore in self._changes:
                make()
                self._undo.append(restore)
            self._swap_references()
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Revert everything, last change first; what is raised in between (an interrupt) is raised when all is reverted."""
        raised: BaseException | None = None
        while self._undo:
            for _ in range(2):  # once more, if the first was interrupted
                try:
                    self._undo[-1]()
                    break
                except BaseException as error:
                    raised = error
            self._undo.pop()
        if raised is not None:
            raise raised

    def _set(self, owner: Any, name: str, value: Any) -> None:
        before = vars(owner).get(name, _MISSING)
        setattr(owner, name, value)
        self._undo.append(lambda: delattr(owner, name) if before is _MISSING else setattr(owner, name, before))

    def _set_methods(self) -> None:
        """Change the dictionaries behind classes, which only the garbage collector shows, and have the interpreter look there again.

        The classes are told once, not for each method: Python 3.13 caches nothing of a class that has changed a thousand times.
        """
        spaces = {cls: next(space for space in gc.get_referents(vars(cls)) if type(space) is dict) for cls, _, _ in self._methods}
        before = [(cls, name, spaces[cls][name]) for cls, name, _ in self._methods]

        def put(methods: list[tuple[type, str, Any]]) -> None:
            for cls, name, function in methods:
                spaces[cls][name] = function
            for cls in spaces:
                ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))

        self._undo.append(lambda: put(before))
        put(self._methods)
        for cls, name, function in self._methods:
            if getattr(cls, name) is not function:
                raise HarnessBug(f"{cls.__name__}.{name} cannot be replaced in this version of Python")

    def _swap_references(self) -> None:
        """Swap the references to originals, each according to the type of its holder."""
        if not self._originals:
            return
        mine = {id(self._originals), id(self.__dict__)}
        class_dicts: list[dict[Any, Any]] = []
        tuples: list[tuple[Any, ...]] = []
        for holder in gc.get_referrers(*self._originals):
            kind = type(holder)
            if id(holder) in mine or kind is FrameType:
                continue
            if kind is dict:
                if "__module__" in holder and "__doc__" in holder and "__spec__" not in holder:
                    class_dicts.append(holder)
                else:
                    self._swap_in_dict(holder)
            elif kind is tuple:
                tuples.append(holder)
            elif kind is CellType:
                self._swap_in_cell(holder)
            elif kind is FunctionType:
                self._swap_in_dict(holder.__kwdefaults__ or {}, _ours(holder))
            elif issubclass(kind, defaultdict):
                self._swap_factory(holder)
            elif not issubclass(kind, type | ModuleType | Patches) and kind.__dictoffset__:
                self._swap_in_object(holder)
        self._swap_behind(class_dicts, tuples)

    def _swap_behind(self, class_dicts: list[dict[Any, Any]], tuples: list[tuple[Any, ...]]) -> None:
        """Swap in the classes that own these dictionaries and the functions whose defaults these tuples are."""
        if not class_dicts and not tuples:
            return
        known = {id(holder) for holder in tuples}
        owned: set[int] = set()
        for owner in gc.get_referrers(*class_dicts, *tuples):
            if issubclass(type(owner), type):
                for name, value in list(vars(owner).items()):
                    if id(value) in self._swaps and not owner.__module__.startswith("simharness."):
                        replacement = self._swaps[id(value)]
                        self._set(owner, name, staticmethod(replacement) if callable(replacement) else replacement)
                owned.update(id(holder) for holder in class_dicts if holder.items() >= dict(vars(owner)).items())
            elif type(owner) is FunctionType and id(owner.__defaults__) in known and not _ours(owner):
                self._swap_defaults(owner)
        for holder in class_dicts:
            if id(holder) not in owned:
                self._swap_in_dict(holder)

    def _swap_in_dict(self, holder: dict[Any, Any], ours: bool = False) -> None:
        if ours or str(holder.get("__name__", "")).split(".")[0] == "simharness":
            return
        for name, value in list(holder.items()):
            if id(value) in self._swaps:
                holder[name] = self._swaps[id(value)]
                self._undo.append(lambda name=name, value=value: holder.__setitem__(name, value))  # type: ignore[misc]  # default arguments

    def _swap_in_object(self, holder: Any) -> None:
        """An object whose attributes are kept without a dictionary of their own (from Python 3.11 on)."""
        if type(holder).__module__.split(".")[0] == "simharness":
            return
        for name, value in list(vars(holder).items()):
            if id(value) in self._swaps:
                vars(holder)[name] = self._swaps[id(value)]
                self._undo.append(lambda name=name, value=value: vars(holder).__setitem__(name, value))  # type: ignore[misc]  # default arguments

    def _swap_factory(self, holder: defaultdict[Any, Any]) -> None:
        before = holder.default_factory
        if id(before) in self._swaps:
            holder.default_factory = self._swaps[id(before)]
            self._undo.append(lambda: setattr(holder, "default_factory", before))

    def _swap_defaults(self, function: FunctionType) -> None:
        before = function.__defaults__
        assert before is not None
        function.__defaults__ = tuple(self._swaps.get(id(value), value) for value in before)
        self._undo.append(lambda: setattr(function, "__defaults__", before))

    def _swap_in_cell(self, holder: CellType) -> None:
        value = holder.cell_contents
        if id(value) in self._swaps:
            holder.cell_contents = self._swaps[id(value)]
            self._undo.append(lambda: setattr(holder, "cell_contents", value))


def _ours(function: FunctionType) -> bool:
    return function.__module__ is not None and function.__module__.split(".")[0] == "simharness"
