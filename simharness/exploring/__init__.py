"""Exploring: rounds of executions, limits, and starting over when something new is learned."""
