"""The dashboard: Textual lives here and nowhere else; `tui.model.view_model` is what it shows, without Textual."""
