"""Trio: unmodified programs, whose tasks are actors."""
