"""Which execution comes next: strategies, as functions of the engine's record, and replay tokens."""
