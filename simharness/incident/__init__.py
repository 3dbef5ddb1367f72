"""From an incident's log to the orderings that explain it. These are the classes with which a scenario describes its log.

The command is `simharness incident LOG… --scenario PATH::NAME`.
"""

from simharness.incident.templates import Line, Log, Rows, Template

__all__ = ["Line", "Log", "Rows", "Template"]
