"""Programs that run at the ends of a measured tunnel, each a process of its own."""
