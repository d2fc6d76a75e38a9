"""What the rules of a slate are told: the candidates as columns, and the settings as rules."""

from collections.abc import Callable, Sequence

import numpy as np

from models.serving.answer import Case, Floats, Read, Scored
from models.serving.candidates.content import content_vector
from models.serving.candidates.retrieval import MATCHED
from models.serving.candidates.shelf import Rows
from models.serving.slates.rules import NEW, OFF_QUERY, SEEN, Bid, Pool, Rules
from models.serving.slates.rules.draft import Vectors
from streams.errors import OperatorError
from streams.events import Sponsored
from streams.features import COLUMN_NAMES
from streams.settings import Settings

__all__ = ["matching", "pool_of", "rules_of"]

CTR, COMPLETION, WATCHES = (
    COLUMN_NAMES.index(name) for name in ("item_ctr_7d", "item_completion_7d", "item_watches_7d")
)
TITLE, ABOUT = (COLUMN_NAMES.index(name) for name in ("match_title", "match_about"))
MATCH_HALF = 1_000.0  # better matches before one that counts half: BM25 parts equal ones by their length
WORDLESS = 0.25  # what a match counts that has none of the query's words
MaySell = Callable[[Sponsored, int], bool]


def rules_of(settings: Settings, limit: int = 1) -> Rules:
    """The declared rules.

    Raises:
        OperatorError: a list of positions or places cannot be read.
    """
    return Rules(
        limit=limit,
        clickbait=settings.clickbait_penalty,
        diversity=settings.diversity,
        sponsored=_positions(settings.sponsored_positions),
        sponsored_floor=settings.sponsored_floor,
        places=_places(settings.source_places),
        creator_share=settings.creator_share,
        category_share=settings.category_share,
        exploration=settings.exploration,
    )


def _positions(text: str) -> tuple[int, ...]:
    parts = _listed(text)
    if not all(part.isdecimal() for part in parts):
        raise OperatorError(f"STREAMREC_SPONSORED_POSITIONS: expected positions such as 2,7, got {text!r}")
    return tuple(sorted({int(part) for part in parts}))


def _places(text: str) -> tuple[tuple[str, int], ...]:
    found = [part.partition(":") for part in _listed(text)]
    if not all(source and position.isdecimal() for source, _, position in found):
        raise OperatorError(
            f"STREAMREC_SOURCE_PLACES: expected SOURCE:POSITION such as fresh:4, got {text!r}"
        )
    return tuple((source, int(position)) for source, _, position in found)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def pool_of(case: Case, read: Read | None, scored: Scored, may_sell: MaySell) -> Pool:
    """The candidates of a request. `may_sell` says whether a campaign has impressions left."""
    sources, known = case.candidates.sources, case.known
    x = None if read is None else read.x
    return Pool(
        item_ids=case.candidates.item_ids,
        scores=scored.scores.tolist(),
        tiers=_tiers(case, read),
        categories=known.categories.codes(),
        creators=known.creators.codes(),
        sources=sources,
        bids=_bids(case, scored, may_sell),
        vectors=_about(case),
        ctr=None if x is None else x[:, CTR],
        completion=None if x is None else x[:, COMPLETION],
        watches=None if x is None else x[:, WATCHES],
    )


def matching(sources: Sequence[str], read: Read | None = None, popularity: Floats | None = None) -> Floats:
    """What scores are multiplied by so that better matches of a query come before, [n].

    Candidates that a query found stand in the order of their match, and count by the share of its words that
    they have, where that was read, and by their click rate among everyone [n], where it is told; the others
    are left as they are.

    >>> matching(["search", "semantic", "popular"]).round(3).tolist()
    [1.0, 0.999, 1.0]
    >>> matching(["search", "search"], popularity=np.array([0.1, 0.3])).round(1).tolist()
    [0.5, 1.5]
    """
    factor = np.ones(len(sources))
    found = [row for row, source in enumerate(sources) if source in MATCHED]
    factor[found] = MATCH_HALF / (MATCH_HALF + np.arange(len(found)))
    if read is not None and found:
        share = np.nan_to_num(np.minimum(read.x[found, TITLE] + read.x[found, ABOUT], 1.0))
        factor[found] *= WORDLESS + (1.0 - WORDLESS) * share
    if popularity is not None and popularity[found].any():  # else nothing was counted yet
        factor[found] *= popularity[found] / popularity[found].mean()
    return factor


def _tiers(case: Case, read: Read | None) -> Sequence[int]:
    ids, sources = case.candidates.item_ids, case.candidates.sources
    seen: set[str] = set()
    if read is not None:
        seen.update(past.item_id for past in read.view.history)
        seen.update(past.item_id for past in read.view.shown)
    searched = bool(case.request.query) and case.request.candidates is None
    if not searched and not case.candidates.held and seen.isdisjoint(ids):
        return bytes(len(ids))  # NEW, all of them
    free = len(ids) - case.candidates.held
    return [
        SEEN if item_id in seen or at >= free else OFF_QUERY if searched and source not in MATCHED else NEW
        for at, (item_id, source) in enumerate(zip(ids, sources, strict=True))
    ]


class _OfShelf:
    """Vectors of a shelf's rows."""

    def __init__(self, vectors: Floats, rows: Rows) -> None:
        self._vectors, self._rows = vectors, rows

    def __getitem__(self, rows: list[int]) -> Floats:
        return self._vectors[self._rows[rows]]


def _about(case: Case) -> Vectors | None:
    """Unit vectors [n, d] of what items are about, zero for an unknown one."""
    items, rows = case.items, case.candidates.rows
    if not items:
        return None
    if case.shelf is not None and rows is not None:
        return _OfShelf(case.shelf.vectors, rows)
    return np.stack(
        [content_vector(item.category, item.creator_id, item.tags) if item else _UNKNOWN for item in items]
    )


_UNKNOWN = content_vector(None, None, ())


def _bids(case: Case, scored: Scored, may_sell: MaySell) -> Sequence[Bid | None]:
    paid = case.known.sponsored.tolist()
    if not paid:
        return ()
    chances = _click_chances(scored)
    bids: list[Bid | None] = [None] * len(case.items)
    for row in paid:
        item = case.items[row]
        offer = item.sponsored if item else None
        if offer and may_sell(offer, case.now_ms):
            bids[row] = Bid(offer.campaign_id, offer.bid_micros, float(chances[row]))
    return bids


def _click_chances(scored: Scored) -> Floats:
    """Chances of a click [n]: as the online model believes, or popularity, which is a click rate."""
    logits = scored.adjusted.get("click") if scored.step != "popular" else None
    if logits is None:
        return np.clip(scored.scores, 0.0, 1.0)
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -50.0, 50.0)))
