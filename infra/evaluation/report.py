"""What an evaluation tells."""

import msgspec

__all__ = ["Figure", "Freshness", "Leak", "Report", "Standing", "Swap"]


class Figure(msgspec.Struct, frozen=True):
    """A value and its 95 % interval, from drawing users again; None where it cannot be said."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Standing(msgspec.Struct, frozen=True):
    """How one contender did on the judged rows that every contender scored.

    `behind` is the first contender's AUC less this one's, on the same draws of users; `slices` and
    `days` are AUCs. Of shares all of these are concordances, and there is an RMSE.
    """

    name: str
    says: str
    setting: str
    behind: Figure
    log_loss: float | None
    calibration_error: float | None
    ndcg_10: float | None
    slices: dict[str, float | None]
    days: dict[str, float | None]
    seconds: float
    auc: Figure | None = None
    concordance: Figure | None = None
    rmse: float | None = None

    @property
    def order(self) -> Figure:
        """The one of AUC and concordance that there is."""
        return self.auc or self.concordance or Figure(None)


class Freshness(msgspec.Struct, frozen=True):
    """AUC of the same pair whose online weights reach serving after `sync` only."""

    sync: str
    auc: Figure
    behind: Figure  # the freshest one's AUC less this one's


class Swap(msgspec.Struct, frozen=True):
    """How one way of swapping rankers did on the rows just before and just after `swaps` swaps, pooled."""

    way: str
    swaps: int
    auc_before: float | None
    log_loss_before: float | None
    calibration_before: float | None
    auc_after: float | None
    log_loss_after: float | None
    calibration_after: float | None


class Leak(msgspec.Struct, frozen=True):
    """A figure as it is often told, and the same one told honestly."""

    name: str
    leaky: float | None
    honest: float | None
    why: str


class Report(msgspec.Struct, frozen=True):
    """One evaluation. `rows` were read, `judged` of them judged."""

    log: str
    head: str
    rows: int
    users: int
    items: int
    judged: int
    base_rate: float
    from_ms: int
    judged_from_ms: int
    to_ms: int
    tried: int  # settings each contender chose from, on the rows before `judged_from_ms`
    standings: tuple[Standing, ...]
    freshness: tuple[Freshness, ...] = ()
    swaps: tuple[Swap, ...] = ()
    leaks: tuple[Leak, ...] = ()
