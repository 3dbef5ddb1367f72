"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Races = Annotated[str | None, typer.Option(metavar="fail", help="Data races in instrumented memory are failures.")]
Atomicity = Annotated[
    str,
    typer.Option(metavar="language|gil", help="gil: accesses to memory are atomic as in this CPython's eval loop, not only as promised."),
]
Allowed = Annotated[
    list[str] | None,
    typer.Option("--allow-race", metavar="PLACE: REASON", help="A data race that is on purpose: Counter.n: a rough count is enough."),
]
