"""When to paint: the loop that applies events, and the share of time that painting may take."""
