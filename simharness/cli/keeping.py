"""Options that keep where exploring stands: `--checkpoint`, `--resume`, `--shard`, and the command `merge`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from simharness.cli.exits import width
from simharness.cli.signals import Interrupt, interruptible, say
from simharness.errors import Misuse
from simharness.exploring import checkpoints, merging
from simharness.exploring.jobs import Job
from simharness.report import files
from simharness.report.live import LiveProgress
from simharness.report.table import Shown, console_for, report
from simharness.settings import Settings, Shard
from simharness.simulation.imports import watched_import
from simharness.verdicts.confirm import confirmed
from simharness.verdicts.results import Result, Verdict
from simharness.visible import shortened

ClusterAt = Annotated[
    str | None, typer.Option("--cluster", metavar="ADDRESS", help="Explore on the workers of this Dask scheduler; local starts one.")
]
Checkpoint = Annotated[
    str | None, typer.Option(metavar="FILE", help="Write to this file where exploring stands, at intervals and at its end.")
]
Resume = Annotated[str | None, typer.Option(metavar="FILE", help="Go on from where a file says that exploring stood.")]
ShardOf = Annotated[
    str | None, typer.Option("--shard", metavar="I/N", help="Only the I-th of N shares of the cases; of one case, a part for `merge`.")
]


def shared(jobs: list[Job], settings: Settings, shard: str | None) -> tuple[list[Job], Settings]:
    """Return the cases of a shard, and the settings for them: a single case is explored in parts.

    Raises:
        Misuse: the options do not fit together, or the file to go on from is of other cases.
    """
    if settings.resume is not None:
        _check_cases(settings.resume, jobs)
    if shard is None:
        return jobs, settings
    which = Shard.read(shard)
    if len(jobs) > 1:
        return jobs[which.number - 1 :: which.of], settings
    if settings.checkpoint is None:
        raise Misuse(f"--shard {shard}: one case is explored in parts, and this part needs a file: add --checkpoint FILE")
    return jobs, replace(settings, shard=shard)


def _check_cases(path: str, jobs: Sequence[Job]) -> None:
    """Refuse a file that is of none of these cases."""
    held = checkpoints.read(path)["cases"]
    if not any(checkpoints.name_of(job.scenario, job.parameters) in held for job in jobs):
        names = shortened(", ".join(held) or "nothing")
        raise Misuse(f"{shortened(path)}: holds {names}, and no case that is to be explored here: name its scenario, or leave out --resume")


def advise(results: Sequence[Result], settings: Settings) -> None:
    """Say how to go on where something is left."""
    path = settings.checkpoint
    if path is None or not os.path.isfile(path) or all(result.verdict is not Verdict.INCONCLUSIVE or result.error for result in results):
        return
    raised = " and raise --max-executions" if settings.max_executions is not None else ""
    say(f"to join the parts: simharness merge {path} …" if settings.shard else f"to go on: add --resume {path}{raised}")


def merge(
    parts: Annotated[list[str], typer.Argument(metavar="PART…", help="Files that `explore --shard I/N --checkpoint FILE` has written.")],
    checkpoint: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write what the parts come to to this file, to go on from with --resume.")
    ] = None,
) -> int:
    """Join parts of an exploration, and return the exit status."""
    files.check_writable(("--checkpoint", checkpoint))
    with watched_import():
        cases = merging.read(parts)
    results = []
    interrupt = Interrupt()
    with interruptible(interrupt.handle), LiveProgress(sys.stderr, len(cases), interrupt) as progress:
        for case in cases:
            result = merging.merged(case, replace(case.settings, checkpoint=checkpoint, confirm=False), progress)
            results += confirmed([result], [case.scenario], case.settings)
    addresses = {case.scenario.name: case.scenario.address for case in cases}
    report(console_for(sys.stdout, width()), results, addresses, Shown())
    for result in results:
        if result.error is not None:
            say(f"{result.scenario}: {result.error}")
    if checkpoint is not None and any(result.verdict is Verdict.INCONCLUSIVE and result.error is None for result in results):
        say(f"to go on: simharness explore … --resume {checkpoint}, in one process or with --shard I/N for the next parts")
    return max(result.exit_status for result in results)
