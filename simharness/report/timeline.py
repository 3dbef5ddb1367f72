def render(trace):
    return "\n".join(f"{s.number:3} {s.actor:12} {s.kind} {s.detail} {s.place} {s.notes} {s.database}" for s in trace.steps)
