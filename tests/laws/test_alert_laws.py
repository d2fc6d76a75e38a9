"""Whatever is raised, however receivers answer, and wherever the role is restarted: all arrives, in order."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.couriers import DOWN, OK, UNFIT, Office

pytestmark = pytest.mark.deep

changes = st.tuples(
    st.just("change"),
    st.sampled_from("abc"),
    st.sampled_from(["firing", "resolved"]),
    st.sampled_from(["warning", "critical"]),
)
runs = st.tuples(st.just("run"), st.integers(0, 90))
restarts = st.tuples(st.just("restart"))
moods = st.tuples(st.just("mood"), st.sampled_from([OK, DOWN, UNFIT]))


def story(office: Office, steps: list[tuple]) -> list[tuple[str, str]]:
    """Plays the steps; returns the changes that were accepted."""
    accepted = []
    for step in steps:
        match step:
            case ("change", fingerprint, status, severity):
                if office.change(fingerprint, status, severity=severity) == "queued":
                    accepted.append((fingerprint, status))
            case ("run", seconds):
                office.run(seconds)
            case ("restart",):
                office.restart()
            case ("mood", mood):
                office.answers = lambda *_, mood=mood: mood
    return accepted


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(changes, changes, runs, restarts, moods), max_size=30))
def test_every_accepted_change_arrives_once_and_in_order(steps: list[tuple]) -> None:
    with TemporaryDirectory() as folder:
        office = Office(Path(folder), per_minute=600)
        accepted = story(office, steps)
        office.answers = lambda *_: OK
        office.run(1_300)
        for fingerprint in "abc":
            told = [status for name, status in office.told() if name == fingerprint]
            assert told == [status for name, status in accepted if name == fingerprint]
            for before, status in zip([None, *told], told, strict=False):
                assert status == "firing" or before == "firing"
        assert office.ledger.standing("hook").waiting == 0
        office.ledger.close()
