"""What the code under test does with the files of databases, which SQLite reads and writes itself.

Opening, moving or removing a database's file disables its cache (`kept`), and so does listing its folder, which shows files beside it that
outlast an execution. What SQLite does to files is no step on files: the verdict names a database whose files actors use themselves.
"""

from __future__ import annotations

import os

from simharness.engine.kernel import Kernel
from simharness.engine.phases import RUNNING
from simharness.runtimes.sqlite.registry import Registry
from simharness.runtimes.sqlite.remembered import remembered_of

_BESIDE = ("-journal", "-wal", "-shm")
_exists = os.path.exists


def used(kernel: Kernel, text: str, looks: bool) -> None:
    """A path is used; `looks`: only to see whether something is there."""
    if not looks:
        remembered_of(kernel).keeper.looked_at(kernel, text)
    registry: Registry | None = kernel.context.get("sqlite")
    if registry is None or kernel.phase != RUNNING:
        return
    path = os.path.abspath(text)
    suffix = next((end for end in _BESIDE if path.endswith(end)), "")
    database = next((each for each in registry.databases.values() if each.path == path.removesuffix(suffix)), None)
    if database is not None and not (looks and not suffix and _exists(path)):
        kernel.learned.leaves_out(f"the file {database.label}, which SQLite uses")
