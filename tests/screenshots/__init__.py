"""Pictures of every screen, from a demo that stands still."""
