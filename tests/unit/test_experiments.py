"""Arms by hash."""

import pytest

from models.serving.experiments import Layer, assign, variants


def test_shares_are_kept_and_layers_are_independent():
    one, two = Layer("one", {"a": 0.2, "b": 0.8}), Layer("two", {"a": 0.2, "b": 0.8})
    arms = [(assign(one, f"u{k}"), assign(two, f"u{k}")) for k in range(5_000)]
    assert sum(a == "a" for a, _ in arms) / 5_000 == pytest.approx(0.2, abs=0.02)
    assert sum(arm == ("a", "a") for arm in arms) / 5_000 == pytest.approx(0.04, abs=0.01)


def test_a_user_keeps_the_arm():
    layer = Layer("one", {"a": 0.5, "b": 0.5})
    assert variants([layer], "u1") == {"one": assign(layer, "u1")}


def test_shares_must_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        assign(Layer("one", {"a": 0.5}), "u1")
