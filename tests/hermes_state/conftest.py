"""Fixtures of the reference store's tests: a store on a fresh file, and a clock that is set by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_kit import Clock, OpenStore

from hermes_state import SessionDB


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The wall clock of the test, standing still."""
    hands = Clock()
    monkeypatch.setattr(time, "time", hands)
    return hands


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[OpenStore]:
    """Opens the test's one file, under a protocol, as often as wanted."""
    opened: list[SessionDB] = []

    def open_one(protocol: str) -> SessionDB:
        opened.append(SessionDB(tmp_path / "state.db", protocol))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()
