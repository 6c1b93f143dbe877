"""The APIs that clients speak: chat completions, Responses, Messages and others, one description each."""
