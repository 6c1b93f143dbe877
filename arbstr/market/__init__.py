"""What the market offers: the models that providers list, read in the background."""
