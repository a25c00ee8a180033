"""Compositions of stages: what runs, in which order, and what a person sees of it."""

from flows import _environment  # noqa: F401  (Prefect reads its settings when it is first imported)
