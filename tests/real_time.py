"""Real time, as the limits of explorations see it: it stands still until a test moves it."""

from simharness.engine import budget
from simharness.exploring import explore, proofs, rounds


class RealTime:
    """Counts the calls of `step`, each of which takes some time after the first few."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        self.steps = self.executions = 0
        monkeypatch.setattr(budget, "real_seconds", lambda: self.now)
        for module in (explore, proofs, rounds):
            monkeypatch.setattr(module, "_monotonic", lambda: self.now)

    def begin(self):
        self.executions += 1

    def step(self, seconds, first=0, executions=None):
        """A step takes this long from a number on, in the first so many executions."""
        self.steps += 1
        if self.steps > first and (executions is None or self.executions <= executions):
            self.now += seconds
