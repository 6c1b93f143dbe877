"""What each path answers: chat completions, the ledger's queries, models and health, the welcome page."""
