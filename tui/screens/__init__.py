"""The five screens, and those that open on top of them."""
