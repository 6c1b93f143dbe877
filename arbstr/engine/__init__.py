"""The decisions: whom to ask, in which order, what to do when it fails, what it cost."""
