"""The dashboard: Textual lives here and nowhere else; `tui.state` is what it shows, without Textual."""
