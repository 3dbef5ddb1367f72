"""Modes: choices about how a kernel's executions are made, set before the first of them; no execution changes them.

A mode is declared beside the code that it switches; the engine knows no mode by name. Replaying needs the same modes as exploring, so
they are part of tokens (`simharness.search.stated`).
"""

from __future__ import annotations

from typing import ClassVar


class Mode:
    """One choice, such as `trio=batches`. Without a mode of this name a kernel does what is usual.

    Attributes:
        text: names it in tokens, which outlive this version, so its meaning never changes.
        profiled: whether executions use the interpreter's profiler, so that turns of loops cannot be examined.
        known: every mode, by its text.
    """

    known: ClassVar[dict[str, Mode]] = {}

    def __init__(self, name: str, choice: str, profiled: bool = False) -> None:
        self.text = f"{name}={choice}"
        self.profiled = profiled
        Mode.known[self.text] = self

    def __repr__(self) -> str:
        return f"Mode({self.text!r})"
