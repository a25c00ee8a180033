"""Stages of a night: each file turns one table into the next and commits it chunk by chunk."""
