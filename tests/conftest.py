"""What the tests share: the runtimes in place for the length of a module, which saves finding what to replace for each exploration."""

import pytest

import simharness

BY_THEMSELVES = {"test_laws"}
"""Modules, and folders of them, whose tests are about how the runtimes come and go."""


@pytest.fixture(autouse=True, scope="module")
def runtimes_in_place(request):
    if BY_THEMSELVES & set(request.module.__name__.split(".")):
        yield
        return
    with simharness.runtimes.installed():
        yield
