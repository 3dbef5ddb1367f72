"""Classes that `@simharness.check.target` marks, as tests: one for each pair of operations.

The class is checked once, when the first of its tests runs; a failing program fails the test of its operations (the first pair of them).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from simharness.check.checking import Checker
from simharness.check.declared import how_of, target_of
from simharness.check.results import Checked, Failure
from simharness.check.targets import MARK, operations_of
from simharness.check.words import NARROW, failure_lines
from simharness.errors import SimharnessError
from simharness.visible import visible_lines


def is_marked(thing: object) -> bool:
    """Whether this is a class whose operations are to be checked."""
    return isinstance(thing, type) and MARK in vars(thing)


class CheckedClass(pytest.Collector):
    """A class whose operations are checked."""

    obj: type[Any]

    def collect(self) -> Iterator[pytest.Item]:
        """Yield a test for each pair of operations."""
        names = list(operations_of(self.obj))
        for at, one in enumerate(names):
            for other in names[at:]:
                yield Pair.from_parent(self, name=f"{one} beside {other}", pair=(one, other))

    def checked(self) -> Checked:
        """Check the class, or return the result.

        Raises:
            Unchecked: it cannot be checked.
        """
        if not hasattr(self, "_checked"):
            self._error: SimharnessError | None = None
            try:
                target = target_of(self.obj)
                target.address = f"{os.path.relpath(str(self.path))}:{self.obj.__qualname__}"
                self._checked: Checked | None = Checker(target, how_of(target)).run()
            except SimharnessError as error:
                self._checked, self._error = None, error
        if self._checked is None:
            raise Unchecked(f"{type(self._error).__name__}: {self._error}") from None
        return self._checked


class Unchecked(Exception):
    """There is no verdict, or a program fails; the message says which."""


class Pair(pytest.Item):
    """Two operations beside each other."""

    def __init__(self, pair: tuple[str, str], **options: Any) -> None:
        super().__init__(**options)
        self._pair = pair

    def runtest(self) -> None:
        """Fail if a program violates the specification whose first pair of operations is this one."""
        parent = self.parent
        assert isinstance(parent, CheckedClass)
        checked = parent.checked()
        cell = checked.cell(*self._pair)
        self.user_properties.append(("check_programs", cell.programs))
        self.user_properties.append(("check_covers", checked.in_words()))
        own = tuple(sorted(self._pair))
        failing = [failure for failure in checked.failures if min(failure.pairs) == own]
        if failing:
            raise Unchecked("\n\n".join(_text(checked, failure) for failure in failing))
        if cell.mark == "?":
            why = next((one.reason for one in checked.unsettled), "no program of these operations was run: give more time, max_seconds=")
            raise Unchecked(f"inconclusive: {why}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the failing programs, with their timelines."""
        if isinstance(excinfo.value, Unchecked):
            return visible_lines(str(excinfo.value))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Return where the class is."""
        parent = self.parent
        assert isinstance(parent, CheckedClass)
        return self.path, None, f"{parent.name}: {self.name}"


def _text(checked: Checked, failure: Failure) -> str:
    return "\n".join(failure_lines(checked, failure, NARROW, "", timelines=True))
