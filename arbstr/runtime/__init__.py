"""The composition root: from settings to a proxy that listens (`compose`), and what it remembers (`persistence`)."""
