"""What a trace of requests would have cost: replayed with arbstr's own router and with simpler rules."""
