"""Modes: choices about how a kernel's executions are made, set before the first of them; no execution changes them.

A mode is declared beside the code that it switches, and the engine knows none by name. Replaying needs the same modes as exploring, so
they stand in tokens (`simharness.search.stated`).
"""

from __future__ import annotations

from typing import ClassVar


class Mode:
    """One choice, such as `trio=batches`. A kernel that is in no mode of this name does what is usual.

    Attributes:
        text: how it stands in tokens, which outlive this version: it never changes its meaning.
        known: every mode, by its text.
    """

    known: ClassVar[dict[str, Mode]] = {}

    def __init__(self, name: str, choice: str) -> None:
        self.text = f"{name}={choice}"
        Mode.known[self.text] = self

    def __repr__(self) -> str:
        return f"Mode({self.text!r})"
