"""The runtimes give unmodified code its scheduling points: a package or module for each part of the standard library.

Each has `install(patches)`, which plans its replacements. They are made when an exploration begins and undone when it ends
(`control.installed`). A replacement asks `simharness.engine.kernel.current()`: inside a simulation it declares operations to that
kernel; outside, and on other OS threads, it delegates to what it replaces.
"""
