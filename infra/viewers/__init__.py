"""Simulated viewers: hidden tastes over a living catalogue, answering the slates they are sent.

Imports nothing of the system but the wire records; what a viewer likes appears on no topic.
"""

from infra.viewers.habits import Habits
from infra.viewers.happenings import Happening, Happenings
from infra.viewers.kuairand import KUAIRAND
from infra.viewers.population import SEARCH, SURFACE, Population

__all__ = ["KUAIRAND", "SEARCH", "SURFACE", "Habits", "Happening", "Happenings", "Population"]
