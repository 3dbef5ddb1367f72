"""What a template leaves of threads and of what they share: threads that have ended, and the flags and counts that they have set.

Views of an execution are void in the next one (`primitives`), where each primitive begins as the genuine object is. So that is given the
state that the view has.
"""

from __future__ import annotations

import _thread
import queue
import threading
from typing import Any

from simharness.engine.actors import ROOT
from simharness.engine.kernel import Kernel
from simharness.engine.rehearsal import others
from simharness.errors import Misuse
from simharness.places import words_of
from simharness.runtimes.primitives import VIEW
from simharness.runtimes.threads import events, queue_contents
from simharness.runtimes.threads.locks import BEFORE


def keep(kernel: Kernel, thing: Any) -> None:
    """Have a primitive begin each later execution in the state that it has now."""
    view = getattr(thing, "__dict__", {}).get(VIEW)
    if view is None or view.execution is not kernel.resources:
        return
    if issubclass(type(thing), queue.Queue):
        queue_contents.keep(thing)
    elif issubclass(type(thing), threading.Thread):
        if view.actor is not None and view.actor.finished:
            _end(thing)
    else:
        events.keep(thing, view)


def _end(thread: threading.Thread) -> None:
    """Make the genuine thread one that has ended."""
    state: dict[str, Any] = vars(thread)
    state["_started"]._flag = True
    if "_is_stopped" in state:
        state["_is_stopped"], state["_tstate_lock"] = True, None
    else:  # since Python 3.13; the handle of a thread that was never really started cannot be set
        state["_handle"] = handle = _thread._make_thread_handle(0)  # type: ignore[attr-defined]  # not in the stubs
        handle._set_done()


def threads(kernel: Kernel) -> list[str]:
    """Return the names of the threads that the execution has started."""
    return [actor.name for actor in kernel.cast.actors.values() if actor.name != ROOT]


def check(kernel: Kernel, place: str) -> None:
    """Refuse what threads of a template leave that no execution can begin with.

    Raises:
        Misuse: a thread has failed, or a lock is held.
    """
    failure = kernel.failure
    if failure is not None:
        what = f"{type(failure.error).__name__}: {words_of(failure.error)}"
        raise Misuse(f"{place}: {failure.actor or 'a check'}, a thread of the template, raised {what}") from failure.error
    for resource in kernel.resources.values():
        if resource.lock and resource.state not in (None, BEFORE):
            raise Misuse(f"{place}: the template leaves {resource.name} held, by {resource.state}: release it")


def unending(kernel: Kernel) -> str:
    """Say which threads of a template do not end."""
    stuck = []
    for actor in others(kernel):
        operation = actor.pending
        if actor.name != ROOT and operation is not None:
            name = operation.detail or (operation.resource.name if operation.resource is not None else "")
            what = operation.kind.awaited.format(detail=name) or f"{operation.kind} {name}".strip()
            where = actor.place()
            stuck.append(f"{actor.name} waits for {what}{f' at {where}' if where else ''}")
    return f"the template starts a thread that does not end ({'; '.join(stuck)})"
