"""simharness: run real concurrent code under every ordering, and get a proof within stated bounds or a counterexample."""

from simharness.authoring.scenario import Scenario, load, scenario
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
