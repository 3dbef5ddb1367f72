"""What explorations came to, for people and for programs: timelines, tables, progress, JSON."""
