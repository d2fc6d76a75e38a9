"""Verdicts on experiments that may be looked at at any time: sums by user in, intervals and words out."""
