"""Scores and outcomes in, verdicts out: drift, triggers, quality and alerts."""
