"""What the tests share: the runtimes stay in place from test to test, which saves finding what to replace for each exploration.

Tests about how they come and go are marked `alone`.
"""

from contextlib import ExitStack

import pytest

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
