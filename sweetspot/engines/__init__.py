"""Engines: samplers, raters and log-prob scorers behind small protocols. The one place to add one."""
