"""The first model, made by the code that later retrains, beats popularity on the following minute."""

from infra.lockstep import judge_first_model


def test_the_first_model_beats_popularity_on_the_following_minute() -> None:
    found = judge_first_model(seed=3)
    print(f"\n{found}")
    assert found.impressions > 4_000
    assert found.ranker.low > found.popularity.high, "95 % intervals are not apart"
    assert found.ahead.low > 0
