"""`ThreadPoolExecutor`, modelled: each task is an actor, which begins when a worker is free for it.

The genuine executor hands tasks to its workers through a queue, first come first served, and starts a worker for a task unless a semaphore
says that one is idle. The semaphore never says so wrongly while there are fewer workers than allowed: each task that was submitted has
taken a token or started a worker, and a token is given back only after a task. So a task can always be taken if, of those submitted before
it, fewer than `max_workers` have not ended. Between being taken and beginning, a task shows nothing, so it may as well be taken later:
that rule is all there is. A task does not wait for the beginning of an earlier one, as taken tasks begin in any order.

Which worker runs a task is not modelled. Where a program could see it (`simharness.runtimes.workers`), and where the model does not apply
(an initializer, a subclass that overrides methods, daemons, crashes, `cancel_futures`), the genuine executor runs, as its own code over
the replaced primitives.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, _base, thread
from typing import Any

from greenlet import GreenletExit

from simharness.engine.actors import ROOT, Actor
from simharness.engine.handlers import Handled
from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Family, Kind, Role
from simharness.engine.lifetimes import ThreadsListed
from simharness.engine.operations import Every, Operation, Resource, State
from simharness.engine.phases import INSPECTING
from simharness.runtimes.primitives import made_here
from simharness.runtimes.threads.futures import BEGIN, CANCELLED, FREE, STARTED, Task
from simharness.runtimes.workers import POOL, WorkersSeen, leave, see

LINE = "_simharness_line"
"""The attribute in which an executor keeps its line of tasks."""
POOLS = Family("pool", said=False, in_memory=True)
SUBMIT = Kind(POOLS, "submit", Role.ABOUT_ACTORS, calls=("submit",))
SHUT = Kind(POOLS, "shutdown", done="shut {detail} down")
JOIN = Kind(
    *(POOLS, "join", Role.AWAITS),
    blocked="a task of {name} has not ended",
    awaited="the tasks of {detail}",
    done="await the tasks of {detail}",
)
OPEN, CLOSED = "open", "shut down"
REFUSAL = "cannot schedule new futures after shutdown"
_HIDDEN = ("_work_queue", "_idle_semaphore", "_threads", "_broken", "_shutdown", "_shutdown_lock")
_ADJUST = vars(ThreadPoolExecutor)["_adjust_thread_count"]
_OVERRIDES = (vars(ThreadPoolExecutor).keys() | vars(Executor).keys() | {"__getattribute__", "__getattr__", "__setattr__", "__del__"}) - {
    *("__init__", "__doc__", "__module__", "__dict__", "__weakref__", "__abstractmethods__", "_abc_impl"),
    *("__firstlineno__", "__static_attributes__", "__annotations__", "__annotate_func__", "__classdictcell__"),
}
_CODE = (thread._worker, thread._WorkItem, _base.Future)


def is_open(gate: State) -> bool:
    """Whether a pool accepts tasks."""
    return bool(gate == OPEN)


class Turn(Every):
    """The workers of the tasks submitted before one; its state is whether one of the pool's is free for this task."""

    __slots__ = ("_line", "number")

    def __init__(self, line: Line) -> None:
        self.name = line.label
        self.bit = line.mask
        self.lock = False
        self._line = line
        self.number = len(line.slots)

    @property
    def parts(self) -> tuple[Resource, ...]:  # type: ignore[override]  # made when it is asked for, as there is one for each pair of tasks
        """The workers of the earlier tasks."""
        return tuple(self._line.slots[: self.number])

    @property
    def state(self) -> State:
        """Whether fewer earlier tasks than there are workers have not ended."""
        left, size = self._line.left, self._line.size
        return len(left) < size or left[size - 1] >= self.number

    def _free(self, ended: int) -> bool:
        return self.number - ended < self._line.size

    def state_without(self, i: int, before: Any, end: int) -> State:
        """Return whether one would be free without a step and what happens after it."""
        return self._free(sum(slot.state_without(i, before, end) for slot in self._line.slots[: self.number]))

    def state_in(self, configuration: int) -> State:
        """Return whether one is free after the steps whose indices are set in the mask."""
        return self._free(sum(slot.state_in(configuration) for slot in self._line.slots[: self.number]))


class Line:
    """The tasks of a pool in one execution, in the order in which they were submitted.

    Attributes:
        size: how many workers there may be.
        process: that of the maker.
        gate: whether tasks are accepted.
        slots: for each task, whether the worker that it needs is free again; `mask` has the bits of all.
        left: the numbers of the tasks for which that is not so.
        actors: those of the tasks.
    """

    def __init__(self, kernel: Kernel, name: str, label: str, size: int, hidden: dict[str, Any]) -> None:
        self.kernel = kernel
        self.execution = kernel.resources
        self.name = name
        self.label = label
        self.size = size
        self.hidden = hidden
        self.process = kernel.actor.process if kernel.actor is not None else "main"
        self.gate = kernel.resource(name, OPEN, label)
        self.slots: list[Resource] = []
        self.mask = 0
        self.left: list[int] = []
        self.actors: set[Actor] = set()

    def submit(self, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Future[Any]:
        """Make an actor of a task, with a step that orders it among those submitted."""
        kernel = self.kernel
        future: Future[Any] = _base.Future()
        name = self.name_of(function)
        task = Task(kernel, self.name, name, future)
        turn: Turn

        def work() -> None:
            self._work(task, turn, future, function, arguments, options)

        actor = kernel.add_actor(name, work, process=self.process)
        actor.locals[POOL] = self.name

        def admit() -> None:
            nonlocal turn
            if self.gate.state != OPEN:
                raise RuntimeError(REFUSAL)
            turn = self.enter(task.slot, actor)

        kernel.start(actor, Operation(SUBMIT, self.gate, writes_when=is_open, also=actor.bit, detail=name), admit)
        return future

    def name_of(self, function: Callable[..., Any]) -> str:
        """Return a name for the actor of a task, which depends on no actor except the one that submits it."""
        kernel = self.kernel
        while isinstance(function, functools.partial):
            function = function.func
        called = str(getattr(function, "__name__", type(function).__name__)).strip("<>")
        parent = kernel.actor
        before = "" if parent is None or parent.name == ROOT else f"{parent.name}/"
        if parent not in self.actors:
            before += f"{self.label}/"
        number = kernel.labels.count(f"task {before}{called}")
        return kernel.labels.free(f"{before}{called}{f' {number}' if number > 1 else ''}")

    def _work(
        self, task: Task, turn: Turn, future: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        """Do the work of a task's actor."""
        kernel, begun = self.kernel, task.begun
        if turn.number < self.size:
            kernel.step(Operation(BEGIN, writes=begun.bit, detail=task.name))
        else:
            kernel.step(Operation(BEGIN, turn, reads=turn.bit, writes=begun.bit, enabled=bool, detail=task.name))
        if begun.state == CANCELLED:
            task.notice()
            self.leave(task.slot, turn)
            return
        kernel.put(begun, STARTED)
        try:
            value = function(*arguments, **options)
        except GreenletExit:
            raise
        except BaseException as error:
            free = task.finish(future, None, error)
        else:
            free = task.finish(future, value, None)
        if not free:
            kernel.step(Operation(FREE, writes=task.slot.bit, detail=task.name))
        self.leave(task.slot, turn)
        self.look_what_is_left(task.name)

    def enter(self, slot: Resource, actor: Actor) -> Turn:
        """Put a task at the end of the line; `slot`: whether its worker is free again."""
        turn = Turn(self)
        self.slots.append(slot)
        self.mask |= slot.bit
        self.left.append(turn.number)
        self.actors.add(actor)
        return turn

    def leave(self, slot: Resource, turn: Turn) -> None:
        """Free the worker of a task, as an effect of the step that has just been made."""
        self.left.remove(turn.number)
        self.kernel.put(slot, True)

    def look_what_is_left(self, name: str) -> None:
        """Notice what the next task of the same thread would find: a variable of the context, or a lock that this actor holds."""
        if contextvars.copy_context() or any(lock.state == name for lock in self.kernel.resources.values() if lock.lock):
            see(self.kernel, self.name)

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        """Refuse further tasks; wait for those that there are, if wanted."""
        kernel = self.kernel
        if wait and kernel.actor in self.actors:
            leave(kernel, self.name)  # it joins the workers one by one, and fails at its own
        kernel.step(Operation(SHUT, self.gate, writes_when=is_open, detail=self.label))
        if cancel_futures and self.slots:
            leave(kernel, self.name)
        if self.gate.state == OPEN:
            kernel.put(self.gate, CLOSED)
        if wait and self.slots:
            slots = Every(self.label, self.slots)
            kernel.step(Operation(JOIN, slots, reads=slots.bit, enabled=all, detail=self.label))

    def expose(self, executor: ThreadPoolExecutor) -> None:
        """Make the executor a genuine one, without workers."""
        space = vars(executor)
        space.update(self.hidden)
        space["_shutdown"] = self.gate.state != OPEN
        del space[LINE]


def begin(kernel: Kernel, executor: ThreadPoolExecutor, number: int | None, initialized: bool) -> bool:
    """Model an executor that has just been made, if that is possible; return whether it is.

    Args:
        number: in its maker's count; None if it has a name of its own.
        initialized: whether its workers call an initializer.
    """
    name, _ = made_here(kernel, "pool")
    if not _fits(kernel, executor, initialized) or name in kernel.learned.of(WorkersSeen):
        return False
    space = vars(executor)
    label = f"pool {number}" if number is not None else str(space["_thread_name_prefix"])
    hidden = {attribute: space.pop(attribute) for attribute in _HIDDEN if attribute in space}
    space[LINE] = Line(kernel, name, label, space["_max_workers"], hidden)
    return True


def can_model(kernel: Kernel) -> bool:
    """Whether nothing in the scenario shows workers, or strikes at the insides of pools: a list of threads, a crash, a handler."""
    crashes = kernel.faults is not None and kernel.faults.limit("crash")
    listed, handled = bool(kernel.learned.of(ThreadsListed)), bool(kernel.learned.of(Handled))
    return not crashes and not listed and not handled


def _fits(kernel: Kernel, executor: ThreadPoolExecutor, initialized: bool) -> bool:
    """Whether an executor's tasks can be actors, as far as that shows when it is made."""
    if kernel.phase == INSPECTING or initialized or not can_model(kernel):
        return False
    for cls in type(executor).__mro__[: type(executor).__mro__.index(ThreadPoolExecutor)]:
        if vars(cls).keys() & _OVERRIDES:
            return False
    own = vars(ThreadPoolExecutor)
    return own["_adjust_thread_count"] is _ADJUST and (thread._worker, thread._WorkItem, _base.Future) == _CODE


def line_of(executor: ThreadPoolExecutor) -> Line | None:
    """Return the line of an executor that is modelled in the execution under way."""
    line: Line | None = vars(executor).get(LINE)
    if line is None:
        return None
    kernel = current()
    if kernel is None or line.execution is not kernel.resources:
        line.expose(executor)
        return None
    actor, space = kernel.actor, vars(executor)
    changed = space["_max_workers"] != line.size or any(name in space for name in _HIDDEN)
    if changed or (actor is not None and (actor.daemon or actor.process != line.process)):
        see(kernel, line.name)
        line.expose(executor)
        return None
    return line


def insides(self: ThreadPoolExecutor, name: str) -> Any:
    """Look into an executor: only for what is not there, such as the insides of a modelled one."""
    line = line_of(self) if name in _HIDDEN else None
    if line is not None:
        see(line.kernel, line.name)
        line.expose(self)
    if name in vars(self):
        return vars(self)[name]
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
