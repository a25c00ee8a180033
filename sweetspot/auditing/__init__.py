"""Audit of preference data that somebody brings: read, checked, cleaned, reported; no model unless one is named."""
