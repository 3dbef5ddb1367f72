"""simharness: run real concurrent code under every ordering, and get a proof within stated bounds or a counterexample."""

from simharness.errors import HarnessBug, Misuse, Nondeterminism, Refused, SimharnessError, TokenError
from simharness.estimate import Estimate
from simharness.explore import explore, explore_all, replay
from simharness.faults import Faults
from simharness.progress import Progress
from simharness.results import Counterexample, Replayed, Result, Verdict
from simharness.scenario import Scenario, scenario
from simharness.simulation import Settings
from simharness.trace import Step, Trace
from simharness.world import Cell, World

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
    "replay",
    "scenario",
]
__version__ = "0.1.0"
