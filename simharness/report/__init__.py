"""Results of explorations, for people and for programs: timelines, tables, progress, JSON."""
