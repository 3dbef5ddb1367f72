"""Random tiny programs that use a queue and its insides, as Python source, and the queue that runs them on an oracle's threads."""

from __future__ import annotations

import inspect
import queue
from types import SimpleNamespace

from tests.opcode_oracle import Lock

OPERATIONS = (
    "q.put({n})",
    "q.put({n}, False)",
    "saw(q.get())",
    "saw(q.get_nowait())",
    "saw(q.get_nowait())",
    "q.task_done()",
    "q.join()",
    "saw(q.qsize())",
    "saw(q.empty())",
    "saw(q.full())",
    "saw(q._get())",
    "q._put({n})",
)
GUARDED = (
    "with q.mutex: saw(len(q.queue))",
    "with q.mutex: saw(list(q.queue)); q.queue.clear()",
    "with q.mutex: saw(len(q.queue)); q.queue.append({n})",
    "with q.not_empty: q.queue.append({n}); q.not_empty.notify()",
    "with q.mutex: q.queue.clear(); q.unfinished_tasks = 0; q.all_tasks_done.notify_all(); q.not_full.notify_all()",
    "with q.not_full: q.not_full.notify()",
    "with q.mutex: q.unfinished_tasks += 1",
    "with q.mutex: q.queue = type(q.queue)([{n}, {n}])",
)
UNGUARDED = (
    "saw(bool(q.queue))",
    "saw(len(q.queue))",
    "saw(list(q.queue))",
    "saw(q.queue[0])",
    "saw(q.queue.pop())",
    "q.queue.append({n})",
    "q.queue.clear()",
    "saw(q.unfinished_tasks)",
    "q.unfinished_tasks += 1",
    "q.not_empty.notify()",
    "saw(getattr(q, 'last', 0))",
    "saw(q.mutex.locked())",
)
TIMED = ("saw(q.get(timeout=1))", "q.put({n}, timeout=2)")
KINDS = ("Queue", "LifoQueue", "PriorityQueue")
HEAD = """
class Own(Queue):
    last = None

    def _put(self, item):
        super()._put(item)
        self.last = item

    def _get(self):
        self.last = None
        return super()._get()

"""


def source(rng, *, statements=2, timed=False, actors="ab"):
    """Draw a program of these actors."""
    weighted = (*OPERATIONS, *OPERATIONS, *GUARDED, *GUARDED, *UNGUARDED, *(TIMED * 3 if timed else ()))
    lines = [f"    q = {rng.choice((*KINDS, 'Own'))}({rng.choice([0, 0, 1])})"]
    lines += [f"    q.put({7 + number})" for number in range(rng.randint(0, 1))]
    for name in actors:
        lines.append(f"    {name}_saw = []")
        lines.append(f"    def {name}(saw={name}_saw.append):")
        for _ in range(rng.randint(1, statements)):
            lines.append("        try:")
            lines.append(f"            {rng.choice(weighted).format(n=rng.randint(1, 9))}")
            lines.append("        except Exception as error: saw(type(error).__name__)")
    lines += [f"    world.actor('{name}', {name})" for name in actors]
    seen = ", ".join(f"{name}_saw" for name in actors)
    lines.append(f"    world.at_end(lambda: world.outcome(repr(({seen}, list(q.queue), q.unfinished_tasks))))")
    return HEAD + "\n".join(["def program(world):", *lines, ""])


def program(text, compiled, kinds):
    """Return the scenario function of a program's source."""
    space = {"__name__": "random_queues_program", **kinds}
    exec(compiled(text), space)
    return space["program"]


def genuine_kinds():
    """Return the classes of queues."""
    return {name: getattr(queue, name) for name in KINDS}


def kinds_on(oracle, plain):
    """Return the standard library's classes, compiled anew to run on an oracle's threads."""

    class Condition:
        """A condition of the threads of an oracle."""

        def __init__(self, lock):
            self.lock, self.waiters = lock, []

        def __enter__(self):
            return self.lock.__enter__()

        def __exit__(self, *_):
            self.lock.release()

        def wait(self):
            waiter = object()
            self.waiters.append(waiter)
            self.lock.release()
            oracle.wait(lambda: waiter not in self.waiters)
            self.lock.acquire()

        def notify(self, n=1):
            if not self.lock.held:
                raise RuntimeError("cannot notify on un-acquired lock")
            del self.waiters[:n]

        def notify_all(self):
            self.notify(len(self.waiters))

    class LockThatLooks(Lock):
        """A lock that says whether it is held."""

        def locked(self):
            return self.held

    space = {**vars(queue), "threading": SimpleNamespace(Lock=lambda: LockThatLooks(oracle), Condition=Condition)}
    for name in KINDS:
        exec(plain(inspect.getsource(getattr(queue, name))), space)
    return {name: space[name] for name in KINDS}
