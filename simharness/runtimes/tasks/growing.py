"""Steps of tasks that grow: what tasks do between two turns of their loop is one step, which *absorbs* the operations in between.

Without other actors, nothing can come between two points of a task's step, so they are not steps of their own. The footprint of a step is
the union of theirs, with what it touches of its library's objects (`footprints.py`) and of instrumented memory; two steps that touch
nothing in common commute. The footprint is complete only when the step is over (`Learned.late`).
"""

from __future__ import annotations

from simharness.engine.actors import Actor
from simharness.engine.facts import Fact
from simharness.engine.kernel import Kernel
from simharness.engine.operations import Operation, Resource, State
from simharness.runtimes.tasks.footprints import INSIDE


class Growing:
    """The growing steps of one run.

    Args:
        label: of its resources, in timelines and messages.
        misfits: what is learned where something happens whose footprint is not known.
    """

    def __init__(self, kernel: Kernel, label: str, misfits: Fact) -> None:
        self._kernel = kernel
        self._label = label
        self._misfits = misfits
        self._wakes: dict[int, Resource] = {}
        self._absorbed = 0

    def absorb(self, operation: Operation) -> bool:
        """Make an operation part of the step under way; end this mode if that is impossible."""
        kernel, resource = self._kernel, operation.resource
        if kernel.context.get(INSIDE) is not self:
            return False
        state = None if resource is None else resource.state
        self._absorbed += 1
        if self._absorbed > kernel.max_steps or operation.options > 1 or (operation.enabled is not None and not operation.enabled(state)):
            self.misfit()
            return False
        reads, writes = operation.footprint(state)
        kernel.record.amend(reads, writes)
        kernel.note(f"{operation.kind} {operation.detail or ('' if resource is None else resource.name)}".strip())
        return True

    def touch(self, bit: int, write: bool) -> None:
        """The step under way reads or writes something with this bit."""
        self._kernel.record.amend(0 if write else bit, bit if write else 0)

    def misfit(self) -> None:
        """Something happens whose footprint is not known: from the next execution on all steps of a run conflict."""
        self._kernel.learned.learn(self._misfits)
        self._kernel.abandon()

    def wake_of(self, actor: Actor) -> Resource:
        """Return the resource that says whether an actor may move."""
        wake = self._wakes.get(actor.index)
        if wake is None:
            wake = self._wakes[actor.index] = self._kernel.resource(f"turn of {actor.name}", False, self._label)
        return wake

    def put(self, resource: Resource, state: State) -> None:
        """Set a state as an effect of the step under way, which writes it."""
        self._kernel.put(resource, state)
        self.touch(resource.bit, True)

    def enter(self) -> None:
        """A step begins."""
        self._absorbed = 0
        self._kernel.context[INSIDE] = self

    def leave(self) -> None:
        """The step under way is over."""
        self._kernel.context.pop(INSIDE, None)
