"""Rewrites modules so that their reads and writes of shared memory are announced; `loader` is the entry point."""
