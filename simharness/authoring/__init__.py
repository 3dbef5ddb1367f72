"""What the author of a scenario holds: the world, scenarios and their cases."""
