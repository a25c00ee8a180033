"""Audit of preference data that somebody brings: read, checked, cleaned, reported; without a model or a GPU."""
