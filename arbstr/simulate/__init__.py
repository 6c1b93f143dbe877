"""Buying requests of the past again, to see what arbstr is worth."""
