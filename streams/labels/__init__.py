"""Slates joined with feedback on event time, and the role that sends out examples."""
