"""The settings that point clients at arbstr: as text to print, and merged into the clients' own files."""
