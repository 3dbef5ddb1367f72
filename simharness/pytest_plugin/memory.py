"""The memory of test modules: reads and writes in the test's own module are steps, as in the file of a scenario.

pytest has imported the module and rewritten its asserts by then, so its functions are given code in which that is done first and the
announcing of accesses after it: a failing assert explains itself as ever.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook, rewrite_asserts

from simharness.instrument import hooks, silent
from simharness.instrument.kinds import HOOKS, announces
from simharness.instrument.loader import convert, is_wanted, unprepared


def instrument(item: pytest.Function, names: Sequence[str]) -> str:
    """Have the test's own module instrumented, and those of these names whose asserts pytest has rewritten; return the own one's name.

    Other modules of these names are instrumented as in any simulation. A module without source stays as it is: the verdict says so.
    """

    def prepare(tree: ast.Module, source: bytes, file: str) -> None:
        rewrite_asserts(tree, source, file, item.config)

    own: ModuleType = item.module
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        convert(own, prepare if _rewritten(own) else unprepared)
    for name, module in list(sys.modules.items()):
        if is_wanted(name, names) and _rewritten(module):
            convert(module, prepare)
    return own.__name__


def _rewritten(module: ModuleType) -> bool:
    return isinstance(getattr(module.__spec__, "loader", None), AssertionRewritingHook)


@contextlib.contextmanager
def only(own: str, names: Sequence[str]) -> Iterator[None]:
    """Have no other module announce anything, so that a test does not depend on which tests were run before it."""
    others = [
        vars(module)
        for name, module in list(sys.modules.items())
        if name != own and not is_wanted(name, names) and announces(getattr(module, "__dict__", {}))
    ]
    for space in others:
        space[HOOKS] = silent
    try:
        yield
    finally:
        for space in others:
            space[HOOKS] = hooks
