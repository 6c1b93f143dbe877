"""Finds Routstr nodes: what they announce on Nostr relays, what others say of them, and what they ask for.

`nostr` tells genuine events from forged ones; `relay` asks one relay; `announcements` reads what events say; `node`
asks an announced node for its models and prices; `mix` is what the user buys; `survey` brings them together. Everything
that is read here comes from strangers: it is bounded in bytes, number and time, and gets no secret.
"""
