"""Replaces what the standard library offers, wherever it is already bound, and puts it back.

`Patches.everywhere` covers names bound before (`from time import sleep`), default arguments, closures and class attributes, by
asking the garbage collector who refers to the original. A replacement in a class stays a plain callable, as the builtin was.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CellType, FrameType, FunctionType
from typing import Any

_MISSING = object()


class Patches:
    """A set of replacements; `apply` makes them, `undo` takes them back, also after an error."""

    def __init__(self) -> None:
        self._originals: list[Any] = []
        self._swaps: dict[int, Any] = {}
        self._attributes: list[tuple[Any, str, Any]] = []
        self._undo: list[Callable[[], None]] = []

    def everywhere(self, original: Any, replacement: Any) -> None:
        """Plan to replace every reference to `original` that the interpreter can find."""
        self._originals.append(original)
        self._swaps[id(original)] = replacement

    def attribute(self, owner: Any, name: str, value: Any) -> None:
        """Plan to set one attribute of a class, module or object."""
        self._attributes.append((owner, name, value))

    def apply(self) -> None:
        """Make the planned replacements."""
        try:
            for owner, name, value in self._attributes:
                self._set(owner, name, value)
            self._swap_references()
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Put everything back, last change first."""
        while self._undo:
            self._undo.pop()()

    def _set(self, owner: Any, name: str, value: Any) -> None:
        before = vars(owner).get(name, _MISSING)
        setattr(owner, name, value)
        self._undo.append(lambda: delattr(owner, name) if before is _MISSING else setattr(owner, name, before))

    def _swap_references(self) -> None:
        mine = {id(self._originals), id(self.__dict__)}
        for holder in gc.get_referrers(*self._originals) if self._originals else ():
            if id(holder) in mine or isinstance(holder, FrameType):
                continue
            if type(holder) is dict:
                self._swap_in_dict(holder)
            elif type(holder) is tuple:
                self._swap_in_defaults(holder)
            elif type(holder) is CellType:
                self._swap_in_cell(holder)
            elif type(holder) is FunctionType:
                self._swap_keyword_defaults(holder)

    def _swap_in_dict(self, holder: dict[Any, Any]) -> None:
        if holder.get("__name__", "") in ("simharness", None) or str(holder.get("__name__", "")).startswith("simharness."):
            return
        owner = next((found for found in gc.get_referrers(holder) if isinstance(found, type) and found.__dict__ == holder), None)
        for name, value in list(holder.items()):
            if id(value) not in self._swaps:
                continue
            replacement = self._swaps[id(value)]
            if owner is not None and isinstance(name, str):
                self._set(owner, name, staticmethod(replacement) if callable(replacement) else replacement)
            else:
                holder[name] = replacement
                self._undo.append(lambda name=name, value=value: holder.__setitem__(name, value))  # type: ignore[misc]  # default arguments

    def _swap_in_defaults(self, holder: tuple[Any, ...]) -> None:
        for function in gc.get_referrers(holder):
            if isinstance(function, FunctionType) and function.__defaults__ is holder and not _ours(function):
                function.__defaults__ = tuple(self._swaps.get(id(value), value) for value in holder)
                self._undo.append(lambda function=function: setattr(function, "__defaults__", holder))  # type: ignore[misc]  # default argument

    def _swap_keyword_defaults(self, function: FunctionType) -> None:
        defaults = function.__kwdefaults__
        if defaults and not _ours(function):
            self._swap_in_dict(defaults)

    def _swap_in_cell(self, holder: CellType) -> None:
        value = holder.cell_contents
        if id(value) in self._swaps:
            holder.cell_contents = self._swaps[id(value)]
            self._undo.append(lambda: setattr(holder, "cell_contents", value))


def _ours(function: FunctionType) -> bool:
    return function.__module__ is not None and function.__module__.split(".")[0] == "simharness"


def user_modules() -> list[Any]:
    """Return the loaded modules that are neither ours nor the standard library's."""
    return [
        module
        for name, module in list(sys.modules.items())
        if module is not None and name.split(".")[0] not in sys.stdlib_module_names and name.split(".")[0] != "simharness"
    ]
