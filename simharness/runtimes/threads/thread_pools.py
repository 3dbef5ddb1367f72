"""`multiprocessing.pool.ThreadPool`, modelled: each task is an actor, which begins when a worker is free for it.

The genuine pool has a thread that feeds the workers, a thread that looks after them and a thread that handles results, all daemons. Its
own methods run here, and its results (`ApplyResult`, `IMapIterator`, …); what is replaced are these threads and the queues between them. A
worker puts a result into a queue and is free; the results are handled one after the other, in that order, and callbacks run then.

Refused is what would need the genuine threads: a look at the worker that runs a task, an initializer, an iterable that runs code of its
own in the feeding thread, and a pool that cuts tasks off, by `terminate` or by being left open when the program ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

from greenlet import GreenletExit

from simharness.engine.actors import Actor
from simharness.engine.kernel import Kernel, current
from simharness.engine.kinds import Kind, Role
from simharness.engine.operations import Every, Operation, Resource
from simharness.errors import Refused
from simharness.runtimes.patching import Patches
from simharness.runtimes.primitives import made_here, replace
from simharness.runtimes.refused import refuse
from simharness.runtimes.threads.futures import BEGIN, FUTURE
from simharness.runtimes.threads.pools import CLOSED, JOIN, OPEN, POOLS, SHUT, SUBMIT, Line, Turn, can_model, is_open
from simharness.runtimes.workers import POOL, WorkersSeen

JOBS = "_simharness_jobs"
PUT = Kind(FUTURE, "put", Role.ABOUT_ACTORS, done="put the result")
HANDLE = Kind(FUTURE, "handle", Role.ABOUT_ACTORS, blocked="{name} is not handled", done="handle the result")
DONE = Kind(FUTURE, "done", Role.ABOUT_ACTORS, done="the result is handled")
LOOK = Kind(POOLS, "look", done="look at {detail}")
TERMINATE = Kind(POOLS, "terminate", done="terminate {detail}")
RUN, CLOSE, TERMINATED = "RUN", "CLOSE", "TERMINATE"
_PLAIN = frozenset({list, tuple, range, str, bytes, dict, set, frozenset, deque})
_FREE = frozenset({"__init__", "__doc__", "__module__", "__dict__", "__weakref__"})
_STARS = frozenset({"mapstar", "starmapstar"})
"""The functions of the genuine code that call the user's for each item."""
_THREADS = frozenset({"_worker_handler", "_task_handler", "_result_handler", "_inqueue", "_outqueue", "_terminate"})


class Entry(NamedTuple):
    """What others see of a task: whether its worker is free, whether its result has been taken, and handled; and its name."""

    slot: Resource
    taken: Resource
    handled: Resource
    name: str


class Jobs(Line):
    """The tasks of a pool in one execution; it is what the genuine code takes for the queue that feeds the workers."""

    def __init__(self, kernel: Kernel, name: str, label: str, size: int) -> None:
        super().__init__(kernel, name, label, size, {})
        self.cache: dict[int, Any] = {}
        self.entries: list[Entry] = []
        self.order = kernel.resource(f"results of {name}", None)
        self.last: Resource | None = None
        self.ended = False

    def put(self, job: tuple[Iterable[Any], Callable[[int], None] | None]) -> None:
        """Submit the tasks of a job, all with one step."""
        kernel = self.kernel
        tasks = list(job[0])
        if job[1] is not None:
            job[1](len(tasks))
        if not tasks:
            return
        turns: list[Turn] = []
        entries = [self._entry(task[2], task[3]) for task in tasks]
        actors = [self._actor(number, task, entry, turns) for number, (task, entry) in enumerate(zip(tasks, entries, strict=True))]
        mask = 0
        for actor in actors:
            mask |= actor.bit

        def admit() -> None:
            if self.gate.state != OPEN:
                _cut_off(self, "a job of a pool that is closed meanwhile")
            for actor, entry in zip(actors, entries, strict=True):
                turns.append(self.enter(entry.slot, actor))
                self.entries.append(entry)

        detail = entries[0].name if len(entries) == 1 else f"{len(entries)} tasks to {self.label}"
        kernel.start(actors[0], Operation(SUBMIT, self.gate, writes_when=is_open, also=mask, detail=detail), admit, actors[1:])

    def _entry(self, function: Any, arguments: Sequence[Any]) -> Entry:
        called = (
            arguments[0][0] if getattr(function, "__name__", "") in _STARS and function.__module__ == "multiprocessing.pool" else function
        )
        name = self.name_of(called)
        resource = self.kernel.resource
        return Entry(
            resource(f"worker of {name}", False), resource(f"taking of {name}", False), resource(f"result of {name}", False, name), name
        )

    def _actor(self, number: int, task: Any, entry: Entry, turns: list[Turn]) -> Actor:
        actor = self.kernel.add_actor(entry.name, lambda: self._do(task, entry, turns[number]), process=self.process)
        actor.locals[POOL] = self.name
        return actor

    def _do(self, task: Any, entry: Entry, turn: Turn) -> None:
        """Do a task, as a worker does."""
        kernel = self.kernel
        job, position, function, arguments, options = task
        if turn.number < self.size:
            kernel.step(Operation(BEGIN, detail=entry.name))
        else:
            kernel.step(Operation(BEGIN, turn, reads=turn.bit, enabled=bool, detail=entry.name))
        try:
            outcome: tuple[bool, Any] = (True, function(*arguments, **options))
        except Exception as error:
            outcome = (False, error)
        except GreenletExit:
            raise
        except BaseException:
            _cut_off(self, "a task that ends its worker")
        self.look_what_is_left(entry.name)
        result = self.cache.get(job)
        written = self.order.bit | entry.slot.bit
        called = getattr(result, "_callback", None) is not None or getattr(result, "_error_callback", None) is not None
        if not called:
            kernel.step(Operation(PUT, writes=written, detail=entry.name))
            before = self._put(entry, turn)
            self._handle(job, position, outcome, entry, before)
            return
        # Callbacks run in another thread than the task.
        before_it: list[Resource | None] = []
        handler = kernel.add_actor(
            kernel.labels.free(f"{entry.name}'s result"),
            lambda: self._handle(job, position, outcome, entry, before_it[0]),
            process=self.process,
        )
        handler.locals[POOL] = self.name
        putting = Operation(PUT, writes=written | handler.bit, detail=entry.name)
        kernel.start(handler, putting, lambda: before_it.append(self._put(entry, turn)))

    def _put(self, entry: Entry, turn: Turn) -> Resource | None:
        """Put a result into the queue; return the resource of the one before it."""
        before, self.last = self.last, entry.handled
        self.leave(entry.slot, turn)
        return before

    def _handle(self, job: int, position: int, outcome: tuple[bool, Any], entry: Entry, before: Resource | None) -> None:
        """Handle a result, when those before it are handled."""
        kernel = self.kernel
        writes = entry.taken.bit | entry.handled.bit
        if before is None:
            kernel.step(Operation(HANDLE, writes=writes, detail=entry.name))
        else:
            kernel.step(Operation(HANDLE, before, reads=before.bit, writes=writes, enabled=bool, detail=entry.name))
        kernel.put(entry.taken, True)
        step = kernel.record.n
        with contextlib.suppress(KeyError):  # as the genuine code does
            self.cache[job]._set(position, outcome)
        if kernel.record.n != step:
            kernel.step(Operation(DONE, writes=entry.handled.bit, detail=entry.name))
        kernel.put(entry.handled, True)
        self.look_what_is_left(kernel.actor.name if kernel.actor is not None else "")

    def is_running(self) -> bool:
        """Whether the pool accepts tasks."""
        self.kernel.step(Operation(LOOK, reads=self.gate.bit, detail=self.label))
        return bool(self.gate.state == OPEN)

    def close(self) -> None:
        """Accept no further tasks."""
        self.kernel.step(Operation(SHUT, self.gate, writes_when=is_open, detail=self.label))
        if self.gate.state == OPEN:
            self.kernel.put(self.gate, CLOSED)

    def join(self) -> None:
        """Wait until all results are handled."""
        kernel = self.kernel
        if kernel.actor is not None and POOL in kernel.actor.locals:
            _cut_off(self, "a task that joins a pool")
        if self.entries:
            handled = Every(self.label, [entry.handled for entry in self.entries])
            kernel.step(Operation(JOIN, handled, reads=handled.bit, enabled=all, detail=self.label))
        self.ended = True

    def terminate(self) -> None:
        """End a pool whose results have all been taken from the queue; it would cut others off."""
        kernel = self.kernel
        self.close()
        taken = Every(self.label, [entry.taken for entry in self.entries])
        kernel.step(Operation(TERMINATE, taken, reads=taken.bit, detail=self.label))
        if not all(taken.state):
            _cut_off(self, "ThreadPool.terminate (the end of a `with` block), which cuts tasks off")
        self.join()

    def over(self) -> None:
        """The execution is over: refuse a pool that is left open, whose tasks the end of the program may cut off."""
        kernel = self.kernel
        if self.entries and not self.ended and not kernel.cast.stuck and not (kernel.abandoned or kernel.cut):
            kernel.give_up(Refused(f"{self.label} (a ThreadPool) is neither joined nor terminated: {_INSTEAD}"))


_INSTEAD = "its threads are daemons, which are cut off: wait for the results, then close and join it, or use a ThreadPoolExecutor"
_SEEN = "its threads are not simulated one by one, so nothing may tell them apart or add to them: use a ThreadPoolExecutor"
_LAZY = "pass a list: a thread of the pool consumes it while others run"


def _cut_off(jobs: Jobs, called: str) -> NoReturn:
    refuse(jobs.kernel, called, _INSTEAD, sys._getframe(2))


def jobs_of(pool: Any) -> Jobs | None:
    """Return the tasks of a pool made in the execution under way."""
    jobs: Jobs | None = vars(pool).get(JOBS)
    kernel = current()
    return jobs if jobs is not None and kernel is not None and jobs.execution is kernel.resources else None


def _insides(self: Any, name: str) -> Any:
    jobs = jobs_of(self)
    if jobs is not None and name in _THREADS:
        refuse(jobs.kernel, f"ThreadPool.{name}", _SEEN, sys._getframe(1))
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)


def install(patches: Patches) -> None:
    """Plan the replacements, if the module has been imported; if not, what it uses is refused."""
    module: Any = sys.modules.get("multiprocessing.pool")
    if module is not None:
        replace(patches, module.ThreadPool, _methods(module.ThreadPool, module.Pool))
        patches.attribute(module.ThreadPool, "__getattr__", _insides)


def _methods(owner: Any, base: Any) -> dict[str, Any]:
    genuine = {name: getattr(owner, name) for name in ("__init__", "_check_running", "_map_async", "imap", "imap_unordered")}
    genuine |= {name: getattr(owner, name) for name in ("close", "join", "terminate")}

    def init(self: Any, processes: int | None = None, initializer: Any = None, initargs: Iterable[Any] = ()) -> None:
        kernel = current()
        if kernel is None:
            genuine["__init__"](self, processes, initializer, initargs)
            return
        vars(self)["_state"] = CLOSE  # what the finaliser reads, should this be refused
        name, _ = made_here(kernel, "thread pool")
        size = processes if processes is not None else os.cpu_count() or 1
        if size < 1:
            raise ValueError("Number of processes must be at least 1")
        bases = type(self).__mro__[: type(self).__mro__.index(owner)]
        overrides = any(vars(cls).keys() & (vars(owner).keys() | vars(base).keys()) - _FREE for cls in bases)
        seen = name in kernel.learned.of(WorkersSeen)
        if initializer is not None or overrides or seen or not can_model(kernel):
            refuse(kernel, "multiprocessing.pool.ThreadPool", _SEEN, sys._getframe(1))
        jobs = Jobs(kernel, name, f"pool {kernel.labels.count(kernel.new_name('thread pools')) - 1}", size)
        vars(self).update(
            {JOBS: jobs, "_state": RUN, "_pool": [None] * size, "_change_notifier": None, "_cache": jobs.cache, "_taskqueue": jobs}
        )
        kernel.when_over.append(jobs.over)

    def check_running(self: Any) -> None:
        jobs = jobs_of(self)
        if jobs is None:
            genuine["_check_running"](self)
        elif not jobs.is_running():
            raise ValueError("Pool not running")

    def over(name: str, place: int) -> Any:
        """Return a method that takes an iterable, at this place among its arguments."""

        def method(self: Any, *arguments: Any, **options: Any) -> Any:
            jobs = jobs_of(self)
            if jobs is not None:
                iterable = options["iterable"] if "iterable" in options else arguments[place]
                lazy = name != "_map_async" or hasattr(iterable, "__len__")
                if lazy and type(iterable) not in _PLAIN:
                    refuse(jobs.kernel, f"ThreadPool.{name.removeprefix('_').removesuffix('_async')}", _LAZY, sys._getframe(1))
            return genuine[name](self, *arguments, **options)

        return method

    def ending(name: str, state: str) -> Any:
        def method(self: Any) -> None:
            jobs = jobs_of(self)
            if jobs is None:
                genuine[name](self)
                return
            if name == "join" and jobs.is_running():
                raise ValueError("Pool is still running")
            if state:
                vars(self)["_state"] = state
            getattr(jobs, name)()

        return method

    return {
        "__init__": init,
        "_check_running": check_running,
        **{name: over(name, 1) for name in ("_map_async", "imap", "imap_unordered")},
        "close": ending("close", CLOSE),
        "join": ending("join", ""),
        "terminate": ending("terminate", TERMINATED),
    }
