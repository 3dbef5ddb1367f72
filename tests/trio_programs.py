"""Random small Trio programs, drawn from a seed, and what the genuine Trio can make of them.

A program is a few tasks, each a list of instructions; what every task saw, and in which order things happened, is its outcome.
"""

import itertools
import random
import sys

import trio
from trio._core import _run

PLAIN = ("checkpoint", "log", "log", "set", "lock", "give", "scope", "cancel", "limit", "await", "take", "send", "receive", "park")
SHARED = ("look", "bump", "cell")
TIMED = ("sleep", "sleep", "timeout", "timeout")
THREADED = ("thread", "thread", "callback")
SPANS = (0.5, 1.0, 2.0)


def draw(rng, kinds, depth=0):
    """Draw what one task does."""
    todo = []
    for _ in range(rng.randint(1, 3 if depth == 0 else 2)):
        what = rng.choice((*kinds, "start") if depth < 1 else kinds)
        which, span = rng.randrange(2), rng.choice(SPANS)
        inner = draw(rng, kinds, depth + 1) if what in ("lock", "scope", "timeout", "start", "limit") else ()
        todo.append((what, which, span, inner))
    return tuple(todo)


def program(seed, kinds, tasks=(2, 2, 2, 3)):
    """Return what the tasks of this seed's program do."""
    rng = random.Random(seed)
    return tuple(draw(rng, kinds) for _ in range(rng.choice(tasks)))


class Things:
    """What the tasks share, and what they saw: together, in one list, or `apart`."""

    def __init__(self, saw, apart=False):
        self.saw = saw
        self.apart = apart
        self.count = 0
        self.lines = []
        self.events = (trio.Event(), trio.Event())
        self.locks = (trio.Lock(), trio.StrictFIFOLock())
        self.semaphore = trio.Semaphore(1)
        self.limiter = trio.CapacityLimiter(1)
        self.channels = (trio.open_memory_channel(0), trio.open_memory_channel(1))
        self.condition = trio.Condition()
        self.scopes = {}
        self.shields = []
        self.cell = None
        self.clients = None

    def log(self, line):
        """Note something, and say what has been noted so far: a program that gets stuck has outcomes too."""
        if self.apart:
            self.saw(line)
        else:
            self.lines.append(line)
            self.saw(repr(self.lines))

    def spawn(self, nursery, name, todo):
        """Start a task; in a scope of its own if its client may disconnect without the harness."""
        if self.clients is None:
            nursery.start_soon(self.task, name, todo)
            return
        scope, ended = client = trio.CancelScope(), []
        self.clients.append(client)

        async def scoped():
            try:
                with scope:
                    await self.task(name, todo)
            finally:
                ended.append(True)

        nursery.start_soon(scoped)

    async def task(self, name, todo):
        """Do what was drawn."""
        for number, (what, which, span, inner) in enumerate(todo):
            me = f"{name}.{number}"
            with trio.CancelScope() as scope:
                if not self.apart or what in ("await", "lock", "limit", "park", "receive"):
                    self.scopes[which] = scope
                await self.one(what, which, span, inner, me)
            if scope.cancelled_caught:
                self.log(f"{me} cancelled")

    async def one(self, what, which, span, inner, me):
        if what == "checkpoint":
            await trio.lowlevel.checkpoint()
        elif what == "log":
            self.log(me)
        elif what == "set":
            self.events[which].set()
        elif what == "await":
            await self.events[which].wait()
            self.log(me)
        elif what == "lock":
            async with self.locks[which]:
                await self.task(me, inner)
        elif what == "take":
            await self.semaphore.acquire()
        elif what == "give":
            self.semaphore.release()
        elif what == "limit":
            await self.limited(me, inner)
        elif what == "send":
            await self.channels[which][0].send(me)
        elif what == "receive":
            self.log(f"{me} got {await self.channels[which][1].receive()}")
        elif what == "cancel":
            scope = self.scopes.get(which)
            if scope is not None:
                scope.cancel()
        else:
            await self.rarer(what, which, span, inner, me)

    async def limited(self, me, inner):
        borrower = object()
        await self.limiter.acquire_on_behalf_of(borrower)
        try:
            await self.task(me, inner)
        finally:
            self.limiter.release_on_behalf_of(borrower)

    async def rarer(self, what, which, span, inner, me):
        if what == "park":
            async with self.condition:
                if which:
                    self.condition.notify()
                else:
                    await self.condition.wait()
            self.log(me)
        elif what == "scope":
            with trio.CancelScope(shield=bool(which)) as scope:
                self.scopes[which] = scope
                self.shields.append(scope)
                await self.task(me, inner)
        elif what == "start":
            async with trio.open_nursery() as nursery:
                self.spawn(nursery, me, inner)
                await trio.lowlevel.checkpoint()
        elif what == "look":
            self.log(f"{me} sees {self.count}")
        elif what == "bump":
            seen = self.count
            if which:
                await trio.lowlevel.checkpoint()
            self.count = seen + 1
        elif what == "cell":
            self.log(f"{me} {self.cell.add(1)}")
        elif what == "sleep":
            await trio.sleep(span)
            self.log(me)
        elif what == "timeout":
            with trio.move_on_after(span):
                await self.task(me, inner)
            self.log(me)
        elif what == "thread":
            self.log(await trio.to_thread.run_sync(self.work, me, bool(which)))
        elif what == "callback":
            trio.lowlevel.current_trio_token().run_sync_soon(self.log, f"{me} called")

    def work(self, me, comes_back):
        old = self.cell.add(1)
        return trio.from_thread.run_sync(lambda: f"{me} {old}") if comes_back else f"{me} {old}"

    async def main(self, programs):
        """Run the tasks; 5 s is beyond what lateness reaches."""
        try:
            async with trio.open_nursery() as nursery:
                for number, todo in enumerate(programs):
                    self.spawn(nursery, str(number), todo)
        except BaseExceptionGroup as group:
            self.log(sorted({type(error).__name__ for error in leaves(group)}))


def leaves(error):
    """Return the errors in a group."""
    if isinstance(error, BaseExceptionGroup):
        return list(itertools.chain.from_iterable(leaves(inner) for inner in error.exceptions))
    return [error]


def scenario(programs):
    """Return a scenario that runs a program; its outcome is what the tasks saw."""

    def trio_program(world):
        things = Things(world.outcome)
        things.cell = world.shared(0, "cell")
        world.actor("a", things.main, programs)

    return trio_program


class _Script(trio.abc.Instrument):
    """Stands in for Trio's random numbers, deciding each batch's order, and cancels tasks between steps, as clients do that disconnect."""

    def __init__(self, script, things, cancels):
        self.script = list(script)
        self.sizes = []
        self.things = things
        self.cancels = cancels

    def choose(self, size):
        if len(self.sizes) == len(self.script):
            self.script.append(0)
        self.sizes.append(size)
        return self.script[len(self.sizes) - 1]

    def random(self):
        if len(sys._getframe(1).f_locals["batch"]) < 2:
            return 0.9
        return 0.1 if self.choose(2) else 0.9

    def before_task_step(self, _):
        left = [scope for scope, ended in self.things.clients if not ended and not scope.cancel_called]
        if self.cancels and left and (number := self.choose(len(left) + 1)):
            self.cancels -= 1
            left[number - 1].cancel()

    def before_io_wait(self, _):
        if not _run.GLOBAL_RUN_CONTEXT.runner.runq:
            self.before_task_step(None)

    def uniform(self, low, high):
        return low


def genuine_outcomes(programs, limit, cancels=0):
    """Return everything that the genuine Trio can do with a program that uses neither time nor threads; None if it is too much.

    Args:
        cancels: how many clients may disconnect.
    """
    outcomes = set()
    saved = _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING
    _run._ALLOW_DETERMINISTIC_SCHEDULING = False  # what Hypothesis sets for itself
    queue = [[]]
    try:
        for _ in range(limit):
            if not queue:
                return outcomes
            things = Things(outcomes.add)
            things.clients = [] if cancels else None
            script = _run._r = _Script(queue.pop(), things, cancels)
            fixed = len(script.script)
            trio.run(_or_stuck, things, programs, instruments=[script] if cancels else ())
            for position in range(fixed, len(script.sizes)):
                queue += [[*script.script[:position], number] for number in range(1, script.sizes[position])]
    finally:
        _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING = saved
    return None


async def _or_stuck(things, programs):
    """Run a program; end it unseen if it gets stuck."""

    async def watch(scope):
        await trio.testing.wait_all_tasks_blocked()
        things.saw = str
        for shield in things.shields:
            shield.shield = False
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        await things.main(programs)
        nursery.cancel_scope.cancel()
