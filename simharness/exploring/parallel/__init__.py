"""One exploration on several processes."""
