"""arbstr's own log: where lines go and how they look (`setup`), and a line for each finished request (`access_log`)."""
