"""Which columns may ask for retraining when they drift, and in what clusters their rows come.

Every column is reported. Not every move is news, though:

* `cyclic` columns follow the clock, `monotone` ones and ages only grow;
* counts follow the volume of traffic and, in a young system, simply fill up;
* what stands on a slate is chosen by our own policy, so of its columns only the item's own content may ask;
  the choices of the model itself are measured besides, on its first windows (see `watch`);
* the model's own scores move with all of these.
"""

from models.versions.profile import SCORE
from streams.features import COLUMNS, Feature

__all__ = ["ITEM_CATEGORY", "REQUEST_SURFACE", "cluster_of", "may_trigger", "tells_of_candidates"]

_DECLARED: dict[str, Feature] = {column.name: column for column in COLUMNS}
_CLUSTERS = {  # otherwise by what the column describes
    "user_category": "user",
    "user_creator": "user",
    "pair": "user",
    "session": "user",
    "surface": "request",
    "query": "request",
    "query_category": "request",
    "query_item": "request",
    "match": "request",
}
_OF_REQUESTS = ("session", "surface", "query", "request")
_GROWING_KINDS = ("count", "hours")
_CONTENT = ("item_known", "item_duration_s", "item_quality", "item_tags", "item_sponsored")


ITEM_CATEGORY, REQUEST_SURFACE = "item_category", "request_surface"  # the categorical ones
_KINDS = {ITEM_CATEGORY: "item", REQUEST_SURFACE: "request"}


def may_trigger(name: str, direction: str = "none") -> bool:
    """True if drift of the column is a reason to retrain. A column nobody declared is one.

    The mix of categories is our own policy's choice; categories that no model has seen are news.

    >>> [may_trigger(n) for n in ("item_duration_s", "user_ctr_7d", "hour_sin", "user_impressions_total")]
    [True, True, False, False]
    """
    column = _DECLARED.get(name)
    if name == ITEM_CATEGORY:
        return direction == "unseen"
    if name.startswith(SCORE):
        return False
    if column is None or name in _CONTENT:
        return True
    if column.cyclic or column.monotone or column.kind in _GROWING_KINDS:
        return False
    return column.scope in ("user", "request")


def tells_of_candidates(name: str) -> bool:
    """True if the column differs from one candidate of a request to the next.

    >>> [tells_of_candidates(n) for n in ("item_ctr_7d", "item_category", "user_ctr_7d", "score_click")]
    [True, True, False, False]
    """
    column = _DECLARED.get(name)
    if column is None:
        return name == ITEM_CATEGORY
    return column.scope not in ("user", *_OF_REQUESTS)


def cluster_of(name: str) -> str | None:
    """What the column describes: rows of the same `user`, `item`, ... carry one value, not many.

    >>> cluster_of("history_category_share"), cluster_of("unheard_of")
    ('user', None)
    """
    column = _DECLARED.get(name)
    if name in _KINDS:
        return _KINDS[name]
    if name.startswith(SCORE):
        return "request"
    return None if column is None else _CLUSTERS.get(column.scope, column.scope)
