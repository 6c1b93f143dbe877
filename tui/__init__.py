"""The dashboard, on Textual. It sees events and a read-only `Source`, and nothing behind them."""
