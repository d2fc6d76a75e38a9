"""What --traffic may say."""

from pathlib import Path

import pytest

from infra.local.traffic_choice import read_traffic
from streams.errors import OperatorError


def test_the_simulator_gets_what_was_asked_for() -> None:
    traffic = read_traffic("sim", {"rate": 5.0, "seed": 3, "shift_after_s": 30.0})
    assert traffic.command == ("sim", "--rate", "5.0", "--seed", "3", "--shift-after", "30.0")
    assert "5 requests/s, seed 3" in traffic.says
    assert not traffic.once


def test_none_is_nobody() -> None:
    assert read_traffic("none", {}).command == ()


def test_a_replay_comes_to_an_end_and_names_its_log(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("")
    traffic = read_traffic(f"replay:jsonl:{tmp_path}/log.jsonl", {})
    assert traffic.command == ("replay", f"jsonl:{tmp_path}/log.jsonl")
    assert traffic.once


@pytest.mark.parametrize(
    ("text", "sim", "said"),
    [
        ("simulated", {}, "--traffic: expected sim, none, replay:jsonl:PATH"),
        ("replay:csv:x", {}, "got 'replay:csv:x'"),
        ("replay:jsonl:", {}, "--traffic: expected"),
        ("replay:jsonl:/no/such", {}, "no such file or folder: /no/such"),
        ("none", {"rate": 3.0}, "--rate: only with --traffic sim"),
        ("none", {"shift_after_s": 3.0}, "--shift-after: only with --traffic sim"),
        ("sim", {"rate": 0.0}, "STREAMREC_SIM_RATE"),
    ],
)
def test_anything_else_is_refused_by_name(text: str, sim: dict[str, float], said: str) -> None:
    with pytest.raises(OperatorError) as refused:
        read_traffic(text, sim)
    assert said in str(refused.value)
