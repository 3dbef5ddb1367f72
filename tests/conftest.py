"""What the tests share: the runtimes stay in place from test to test, which saves finding what to replace for each exploration.

Tests about how they come and go are marked `alone`. The short run confirms no result in a fresh process, but for tests marked
`confirms`; the long run confirms all of them.
"""

from contextlib import ExitStack

import pytest

import simharness.cli.main
import simharness.exploring.explore
import simharness.runtimes.control


@pytest.fixture(scope="session")
def kept():
    stacks = []
    yield stacks
    for stack in stacks:
        stack.close()


@pytest.fixture(autouse=True)
def runtimes_in_place(request, kept):
    if request.node.get_closest_marker("alone") is not None:
        while kept:
            kept.pop().close()
    elif not kept:
        kept.append(ExitStack())
        kept[0].enter_context(simharness.runtimes.control.installed())


@pytest.fixture(autouse=True)
def confirmed_only_where_it_is_asked(request, monkeypatch):
    if request.config.option.markexpr == "not long" and request.node.get_closest_marker("confirms") is None:
        for module in (simharness.exploring.explore, simharness.cli.main):
            monkeypatch.setattr(module, "confirmed", lambda results, *_: list(results))
