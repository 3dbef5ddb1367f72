"""In which order the callbacks of a loop run: the modes, known without asyncio.

CPython promises that callbacks run in the order in which they are registered. What it leaves open is when something from outside is
registered: an I/O completion, a timer, a call from another thread. *arrivals* varies exactly that, with pauses (`sleep`, `sleep(0)`) as
stand-ins for I/O. *loop* is what `BaseEventLoop._run_once` does; *any* takes any runnable task: loop ⊆ arrivals ⊆ any.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from simharness.engine.facts import Fact, Learned
from simharness.engine.modes import Mode

LOOP = Mode("asyncio", "loop")
ANY = Mode("asyncio", "any")
MODES = {"loop": LOOP, "arrivals": None, "any": ANY}
WORDS = {
    "loop": "what the loop of CPython does",
    "arrivals": "what pauses wait for arrives at any time; callbacks in the order of registration",
    "any": "any runnable task",
}
RUNTIME = "asyncio"
LOOPS = "asyncio loops"
"""In a kernel's context: the loops of the execution, in the order in which they were made."""
OVERTAKEN = 4
"""How often one task can pause at one place while the pause of another, or a timer that is due, lasts."""


@dataclass(frozen=True)
class CalledByThreads(Fact, word="asyncio-called-by-threads"):
    """Threads register callbacks with loops that others run: their calls may come between two registrations of one step."""


@dataclass(frozen=True)
class StepsGrow(Fact, word="asyncio-steps-grow"):
    """Steps of tasks grow: their footprints are what they touch, and any registered callback may run next."""


@dataclass(frozen=True)
class StepsCannotGrow(Fact, word="asyncio-steps-cannot-grow"):
    """Something happens whose footprint is not known, or any order is too much, so all steps of a loop conflict."""


MAY_GROW = "asyncio may grow"
"""In a kernel's context: this execution has shown nothing that keeps steps from growing, so far."""


def grows(learned: Learned) -> bool:
    """Whether steps of tasks grow."""
    return bool(learned.of(StepsGrow)) and not learned.of(StepsCannotGrow)


def order_of(modes: set[Mode]) -> str:
    """Return the order that these modes choose."""
    return next((name for name, mode in MODES.items() if mode is not None and mode in modes), "arrivals")


def in_words(modes: set[Mode], learned: Learned) -> str:
    """Return what verdicts say of the order."""
    order = order_of(modes)
    bound = "" if order == "loop" else f"; a pause lasts at most {OVERTAKEN} pauses of another task at one place"
    if grows(learned):
        return f"{WORDS[order]}; explored as a superset, in which steps are reduced by what they touch"
    return f"{WORDS[order]}{bound}; all steps of a loop conflict"


def used() -> str:
    """Return the loop's name as verdicts show it."""
    return f"CPython {platform.python_version()}"
