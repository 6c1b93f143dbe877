"""The pieces screens are made of: each takes plain values, draws lines, and posts messages upward."""
