"""A request in, a slate out: candidates, scores, rules, within a budget of time."""
