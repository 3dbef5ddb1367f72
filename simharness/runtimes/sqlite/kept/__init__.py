"""Databases that set-up makes, kept from one execution to the next where nobody can tell."""
