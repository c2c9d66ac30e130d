"""The programs that are measured beside each other; a module for each kind."""
