"""What happened in an execution, as plain frozen data; recorded only when asked."""
