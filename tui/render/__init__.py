"""How things look as text: lines, tables and columns by priority, themes, the request in full."""
