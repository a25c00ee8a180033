"""One module per family of checks: `check(table)` returns what was found, as `Finding`s."""
