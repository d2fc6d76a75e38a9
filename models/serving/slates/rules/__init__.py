"""The rules of a slate, in the order in which they are applied.

A rule takes a draft and returns one with the same rows in another order, and a word on each row that it
moved. Rules reorder, they never drop, so a slate is as long as its limit while anything is left. Every
rule applied twice is the rule applied once. Exploration comes last, and is not one of them.
"""

from models.serving.slates.rules.caps import cap_groups
from models.serving.slates.rules.clickbait import demote_clickbait
from models.serving.slates.rules.diversity import diversify
from models.serving.slates.rules.draft import NEW, OFF_QUERY, SEEN, Bid, Draft, Pool, Rule, Rules
from models.serving.slates.rules.exploration import EXPLORED, Place, explore
from models.serving.slates.rules.places import keep_places
from models.serving.slates.rules.sponsored import SPONSORED, place_sponsored
from models.serving.slates.rules.spread import spread
from models.serving.slates.rules.tiers import unseen_first

__all__ = [
    "EXPLORED",
    "NEW",
    "OFF_QUERY",
    "RULES",
    "SEEN",
    "SPONSORED",
    "Bid",
    "Draft",
    "Place",
    "Pool",
    "Rule",
    "Rules",
    "explore",
]

RULES: tuple[Rule, ...] = (
    demote_clickbait,
    unseen_first,
    diversify,
    place_sponsored,
    keep_places,
    cap_groups,
    spread,
)
