"""A version crowned or taken back by hand: one always serves, and none that cannot."""

import pytest

from infra.commands.retrain import trigger_of
from models.versions.handover import promotion, rollback
from models.versions.registry import Champions
from streams.errors import ModelRefused, OperatorError
from streams.events import ModelRecord


def step(version: str, state: str, *reasons: str) -> ModelRecord:
    files = {"uri": f"/m/{version}", "sha256": "0" * 64} if state not in ("training", "failed") else {}
    return ModelRecord(
        version=version, ts_ms=1, state=state, trigger_id=f"t-{version}", reasons=reasons, **files
    )


def world(*steps: ModelRecord) -> Champions:
    champions = Champions()
    for each in steps:
        champions.apply(each)
    return champions


def good(_: ModelRecord) -> None:
    """Every version can serve."""


THREE = (
    *(step("v1", "champion"), step("v2", "champion"), step("v1", "retired")),
    *(
        step("v3", "champion"),
        step("v2", "retired"),
        step("v4", "rejected", "too poor"),
        step("v5", "failed"),
    ),
)


def test_promoting_crowns_first_and_retires_after_so_that_one_always_serves() -> None:
    champions = world(*THREE)
    crowned, retired = promotion(champions, "v1", "known good", 9, good)
    assert (crowned.version, crowned.state, crowned.ts_ms, crowned.trigger_id) == ("v1", "champion", 9, None)
    assert (retired.version, retired.state) == ("v3", "retired")
    assert "known good" in crowned.reasons[0]
    serving = []
    for each in (crowned, retired):
        champions.apply(each)
        serving.append(champions.champion.version if champions.champion else None)
    assert serving == ["v1", "v1"]


def test_a_rollback_goes_to_the_newest_champion_before() -> None:
    champions = world(*THREE)
    crowned, back = rollback(champions, "clicks fell", 9, good)
    assert (crowned.version, back.version, back.state) == ("v2", "v3", "rolled_back")
    for each in (crowned, back):
        champions.apply(each)
    assert champions.champion is not None
    assert champions.champion.version == "v2"
    again = rollback(champions, "still", 10, good)
    assert [each.version for each in again] == ["v1", "v2"]  # never to the one that was taken back


def test_a_rollback_passes_over_what_cannot_serve_and_says_so_when_nothing_can() -> None:
    def check(record: ModelRecord) -> None:
        if record.version == "v2":
            raise ModelRefused("v2/ranker.onnx: bytes are not those of the manifest")

    assert rollback(world(*THREE), "x", 9, check)[0].version == "v1"
    with pytest.raises(ModelRefused, match=r"ranker.onnx"):
        rollback(world(*THREE), "x", 9, check, to="v2")
    with pytest.raises(ModelRefused, match="no version before it"):
        rollback(world(step("v1", "champion")), "x", 9, good)
    with pytest.raises(ModelRefused, match="no champion"):
        rollback(Champions(), "x", 9, good)


@pytest.mark.parametrize(
    ("version", "said"),
    [("v4", "is rejected .too poor."), ("v5", "no such version"), ("v9", "there are: v1"), ("v3", "already")],
)
def test_what_may_not_be_promoted_is_refused_by_name(version: str, said: str) -> None:
    with pytest.raises(ModelRefused, match=said):
        promotion(world(*THREE), version, "x", 9, good)


def test_a_rejected_version_is_promoted_by_force_alone() -> None:
    assert promotion(world(*THREE), "v4", "x", 9, good, force=True)[0].version == "v4"


def test_a_reason_in_words_becomes_an_id_and_stays_as_evidence() -> None:
    trigger = trigger_of("new catalogue, more shoes", 5)
    assert (trigger.trigger_id, trigger.reason) == ("new-catalogue-more-shoes-5", "new-catalogue-more-shoes")
    assert trigger.evidence == ("by hand: new catalogue, more shoes",)
    with pytest.raises(OperatorError, match="some words"):
        trigger_of("  !! ", 5)
