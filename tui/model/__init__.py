"""What the dashboard shows, without Textual: live state from events, figures from the ledger, filters, exports."""
