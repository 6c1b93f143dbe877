"""When to paint: the loop that drains events, and the share of time that painting may take."""
