"""Scores to a slate: pure rules in a declared order, and what they are told."""
