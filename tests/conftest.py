"""What the tests share: the runtimes stay in place from test to test, which saves finding what to replace for each exploration.

Tests about how they come and go are marked `alone`. The short run confirms no result in a fresh process, but for tests marked
`confirms`; the long run confirms all of them. Of the largest families of long tests it takes a share; `--overnight` takes all.
"""

from contextlib import ExitStack

import pytest

import simharness.cli.main
import simharness.exploring.explore
import simharness.runtimes.control

SHARES = {
    "test_scenarios.py": 4,  # most are cases that `make explore` explores, too
    "test_replays.py": 4,
    "test_faults_elsewhere.py": 4,
    "test_guards.py": 3,
    "test_sqlite_oracle.py": 2,
    "test_random_queues.py": 6,
    "test_random_thread_views.py": 4,
    "test_outside_written.py": 4,
    "test_random_pools.py": 4,
    "test_random_state.py": 20,
    "test_handlers.py": 2,
    "test_random_thread_pools.py": 2,
    "test_endings.py": 3,
}
"""Of the long tests of these modules, one in so many is run."""


def pytest_addoption(parser):
    parser.addoption("--overnight", action="store_true", help="run all long tests, not a share of the largest families")


def pytest_collection_modifyitems(config, items):
    if config.getoption("overnight"):
        return
    seen, chosen, left = dict.fromkeys(SHARES, 0), [], []
    for item in items:
        module = item.path.name
        taken = True
        if module in SHARES and item.get_closest_marker("long") is not None:
            taken = seen[module] % SHARES[module] == 0
            seen[module] += 1
        (chosen if taken else left).append(item)
    items[:] = chosen
    config.hook.pytest_deselected(items=left)


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
