"""The kernel module as far as user space can show it: its contract and its pure files."""
