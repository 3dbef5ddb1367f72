"""The functions of `os` as they are outside a simulation."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


class Kept:
    """Functions by name, in a tuple, where no replacement reaches them."""

    __slots__ = ("_functions", "_numbers")

    def __init__(self, owner: Any, names: list[str]) -> None:
        self._numbers = {name: number for number, name in enumerate(names)}
        self._functions = tuple(getattr(owner, name) for name in names)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = self._functions[self._numbers[name]]
        return function

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def __iter__(self) -> Any:
        return iter(self._numbers)


genuine = Kept(os, [name for name in dir(os) if callable(getattr(os, name))])
looking_genuinely = Kept(os.path, ["exists", "lexists", "isfile", "isdir", "islink"])
