"""Compositions of stages: what runs, in which order, and what a person sees of it."""
