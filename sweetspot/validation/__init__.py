"""Checks of preference data before it is trained on: agreement, bias, duplicates, coverage, degeneration."""
