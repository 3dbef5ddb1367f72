"""Shared memory of instrumented modules: attributes, items and variables as locations."""
