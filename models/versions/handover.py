"""By hand: another version crowned, or the champion taken back. Pure but for the check that is passed in."""

from collections.abc import Callable

from msgspec import structs

from models.versions.registry import Champions
from streams.errors import ModelRefused
from streams.events import ModelRecord, ModelState

__all__ = ["Check", "promotion", "rollback"]

Check = Callable[[ModelRecord], None]  # raises ModelRefused where a version cannot serve here


def promotion(
    champions: Champions, version: str, reason: str, now_ms: int, check: Check, force: bool = False
) -> tuple[ModelRecord, ...]:
    """The steps that crown `version`: crowned first, the one before retired after, so that one always serves.

    Raises:
        ModelRefused: no such version, no files, one that serves already, one that did not pass the gate
            (unless `force`), or what `check` finds.
    """
    step = champions.steps.get(version)
    if step is None or not step.uri or not step.sha256:
        known = ", ".join(sorted(v for v, s in champions.steps.items() if s.uri)) or "none"
        raise ModelRefused(f"{version}: no such version with files; there are: {known}")
    now = champions.champion
    if now is not None and now.version == version:
        raise ModelRefused(f"{version}: serves already")
    if step.state not in ("champion", "retired") and not force:
        said = "; ".join(step.reasons) or "no reason told"
        raise ModelRefused(f"{version}: is {step.state} ({said}); --force promotes it all the same")
    check(step)
    crowned = _step(step, "champion", (f"promoted by hand: {reason}",), now_ms)
    if now is None:
        return (crowned,)
    return crowned, _step(now, "retired", (f"succeeded by {version}, by hand: {reason}",), now_ms)


def rollback(
    champions: Champions, reason: str, now_ms: int, check: Check, to: str | None = None
) -> tuple[ModelRecord, ...]:
    """The steps that take the champion back for `to`, or for the newest one before it that can serve.

    Raises:
        ModelRefused: no champion, or nothing to go back to.
    """
    now = champions.champion
    if now is None:
        raise ModelRefused("rollback: no champion")
    passed = [v for v in reversed(champions.crowned) if v != now.version]
    choices = [to] if to is not None else [v for v in passed if champions.steps[v].state == "retired"]
    refused = []
    for version in choices:
        try:
            crowned = promotion(champions, version, f"rollback of {now.version}: {reason}", now_ms, check)[0]
        except ModelRefused as error:
            refused.append(str(error))
            continue
        return crowned, _step(now, "rolled_back", (f"for {version}: {reason}",), now_ms)
    raise ModelRefused("; ".join(refused) or f"{now.version}: no version before it to go back to")


def _step(record: ModelRecord, state: ModelState, reasons: tuple[str, ...], now_ms: int) -> ModelRecord:
    return structs.replace(record, state=state, reasons=reasons, ts_ms=now_ms, trigger_id=None)
