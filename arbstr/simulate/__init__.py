"""What a trace of requests would have cost: replayed with arbstr's own router, beside simpler rules."""
