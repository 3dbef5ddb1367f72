"""The crash of a process: what the operating system does at its death, and what the program does when it is started again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simharness.engine.kernel import Kernel  # whose loop calls this; a circle of types only
    from simharness.engine.operations import Resource


def held_by(kernel: Kernel, holder: str) -> list[Resource]:
    """Return the program's locks that the actor of this name holds."""
    return [resource for resource in kernel.resources.values() if resource.lock and resource.state == holder]


def crash(kernel: Kernel, process: str) -> None:
    """End a process: its code does not run again; what the operating system and SQLite do at its death is done."""
    for actor in kernel.cast.crash(process, kernel.record.n - 1):
        for resource in held_by(kernel, actor.name):
            kernel.put(resource, None)
    for hook in kernel.movers.when_crashed:
        hook(process)
    restart: Callable[[], Any] | None = kernel.context.get("restart", {}).get(process)
    if restart is not None:
        number = kernel.labels.count(f"restarts of {process}")
        name = f"{process} (restarted{f' {number}' if number > 1 else ''})"
        kernel.bring_up(kernel.add_actor(name, restart, process=process), kernel.record.n - 1)
