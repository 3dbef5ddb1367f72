"""Proves from the byte code that an actor runs that a turn of its loop leaves it as it was."""
