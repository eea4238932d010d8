"""Signing keys, claims, and the text forms of API keys and refresh tokens."""
