"""simharness: run real concurrent code under every ordering, and get a proof within stated bounds or a counterexample.

A public name is imported when it is first used, so that `import simharness`, and a run of pytest that explores nothing, cost next to
nothing. Names that an exploration needs are there before its first execution: the module of `explore` imports all their modules.
"""

TYPE_CHECKING = False  # type checkers take it for true, wherever it is defined; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from simharness.authoring.loading import load
    from simharness.authoring.scenario import Scenario, scenario
    from simharness.authoring.world import Cell, World
    from simharness.engine.faults import Faults
    from simharness.errors import HarnessBug, Misuse, Nondeterminism, Refused, SimharnessError, TokenError
    from simharness.exploring.explore import explore, explore_all, replay
    from simharness.exploring.progress import Progress
    from simharness.search.estimate import Estimate
    from simharness.settings import Settings
    from simharness.trace.data import Step, Trace
    from simharness.verdicts.results import Counterexample, Replayed, Result, Verdict

__all__ = [
    "Cell",
    "Counterexample",
    "Estimate",
    "Faults",
    "HarnessBug",
    "Misuse",
    "Nondeterminism",
    "Progress",
    "Refused",
    "Replayed",
    "Result",
    "Scenario",
    "Settings",
    "SimharnessError",
    "Step",
    "TokenError",
    "Trace",
    "Verdict",
    "World",
    "explore",
    "explore_all",
    "load",
    "replay",
    "scenario",
]
__version__ = "0.1.0"

_HOMES = {
    "authoring.loading": ("load",),
    "authoring.scenario": ("Scenario", "scenario"),
    "authoring.world": ("Cell", "World"),
    "engine.faults": ("Faults",),
    "errors": ("HarnessBug", "Misuse", "Nondeterminism", "Refused", "SimharnessError", "TokenError"),
    "exploring.explore": ("explore", "explore_all", "replay"),
    "exploring.progress": ("Progress",),
    "search.estimate": ("Estimate",),
    "settings": ("Settings",),
    "trace.data": ("Step", "Trace"),
    "verdicts.results": ("Counterexample", "Replayed", "Result", "Verdict"),
}
"""Where each public name is defined: what is imported above, said again for the interpreter."""

_MODULES = ("check", "linearizability")
"""Modules with public names of their own."""

if not TYPE_CHECKING:  # else a type checker would take any name for a public one

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            from importlib import import_module

            return import_module(f"{__name__}.{name}")
        for home, names in _HOMES.items():
            if name in names:
                from importlib import import_module

                # Not kept among the globals: an execution must find this module as the one before it did.
                return getattr(import_module(f"{__name__}.{home}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
