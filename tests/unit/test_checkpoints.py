"""Checkpoints as files: whole or not there; what cannot be gone on from is dropped by name and counted."""

import hashlib
import logging

import msgspec
import numpy as np
import pytest

from models.training import checkpoints as module
from models.training.checkpoints import MAGIC, Array, Bounds, Checkpoints, Epoch, Reached, digest_of
from streams.metrics import CHECKPOINTS_DROPPED, CHECKPOINTS_TAKEN_UP

BOUNDS = Bounds(5, 9, 3)


def reached(epochs=2, fingerprint="f"):
    return Reached(
        fingerprint=fingerprint,
        curve=tuple(Epoch(n, 0.5, 0.25, 1.0 * n) for n in range(1, epochs + 1)),
        best_epoch=1,
        best_loss=float("inf"),
        random="{}",
        state=(Array.of(np.arange(6, dtype=np.float32).reshape(2, 3)), Array.of(np.int32(7))),
        best=(),
    )


@pytest.fixture
def place(tmp_path):
    place = Checkpoints(tmp_path / "checkpoints", "t1", "c1").part("ranker", BOUNDS)
    place.save(reached)
    return place


def dropped(reason):
    return CHECKPOINTS_DROPPED.labels(reason)._value.get()


def test_what_was_reached_comes_back_with_the_rows_it_was_reached_on(place, tmp_path):
    before = CHECKPOINTS_TAKEN_UP._value.get()
    again = Checkpoints(tmp_path / "checkpoints", "t1", "c1")
    assert again.bounds() == BOUNDS
    found = again.part("ranker", BOUNDS).load("f")
    assert found == reached()
    assert found.state[0].array().tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert (found.state[1].array().shape, found.state[1].array().dtype) == ((), np.int32)
    assert CHECKPOINTS_TAKEN_UP._value.get() == before + 1
    again.discard()
    assert again.bounds() is None
    assert again.part("towers", BOUNDS).load("f") is None


def _sealed(rest):
    return MAGIC + hashlib.sha256(rest).digest() + rest


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda value: value[:-1], "corrupted"),
        (lambda value: value[:40] + bytes([value[40] ^ 1]) + value[41:], "corrupted"),
        (lambda value: value[:-9] + bytes([value[-9] ^ 1]) + value[-8:], "corrupted"),
        (lambda _: b"", "corrupted"),
        (lambda _: _sealed(msgspec.msgpack.encode({"no": "checkpoint"})), "corrupted"),
        (lambda value: value.replace(MAGIC, b"streamrec checkpoint 0\n"), "old"),
        (lambda value: _sealed(value[len(MAGIC) + 32 :].replace(b"owner", b"other")), "corrupted"),
    ],
)
def test_a_file_that_is_not_whole_or_of_another_format_is_dropped(place, spoil, reason, caplog):
    before = dropped(reason)
    place.path.write_bytes(spoil(place.path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert place.load("f") is None
    assert not place.path.exists()
    assert dropped(reason) == before + 1
    assert f"ranker.checkpoint is dropped: {reason}" in caplog.text


def test_what_another_recipe_trigger_or_column_set_left_is_dropped(place, tmp_path):
    root, before = tmp_path / "checkpoints", dropped("foreign")
    assert place.load("g") is None
    for trigger, columns in (("t2", "c1"), ("t1", "c2")):
        place.save(reached, last=True)
        other = Checkpoints(root, trigger, columns)
        assert other.bounds() is None
        other.part("ranker", BOUNDS).path.parent.mkdir()
        place.path.rename(other.part("ranker", BOUNDS).path)  # by another's name
        assert other.bounds() is None
        place.save(reached, last=True)
        other.drop_others()
        assert not place.path.parent.exists()
        other.discard()
    assert dropped("foreign") == before + 5


def test_one_that_is_a_day_old_is_dropped(place, tmp_path):
    written_s, before = place.path.stat().st_mtime, dropped("old")
    for age, expected in ((86_000, BOUNDS), (90_000, None)):
        later = Checkpoints(tmp_path / "checkpoints", "t1", "c1", lambda age=age: written_s + age)
        assert later.bounds() == expected
    assert dropped("old") == before + 1


def test_writing_takes_a_small_part_of_the_time_and_the_end_is_always_written(place, monkeypatch):
    now = [100.0]

    def takes_a_second():
        now[0] += 1.0
        return reached(epochs=int(now[0]))

    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    place._written_s, written = -np.inf, []
    for _ in range(50):
        now[0] += 1.0
        before = now[0]
        place.save(takes_a_second)
        written.append(now[0] > before)
    assert sum(written) == 3  # the first, and one every twenty seconds
    place.save(takes_a_second, last=True)
    assert len(place.load("f").curve) == int(now[0])


def test_one_that_cannot_be_written_leaves_the_one_before_and_the_training(place, monkeypatch, caplog):
    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with caplog.at_level(logging.WARNING):
        place.save(lambda: reached(epochs=5), last=True)
    assert "no checkpoint: no space left" in caplog.text
    assert len(place.load("f").curve) == 2


def test_a_digest_tells_arrays_types_shapes_and_texts_apart():
    one = np.zeros(4, np.float32)
    told = {
        digest_of(one),
        digest_of(one.reshape(2, 2)),
        digest_of(one.astype(np.int32)),
        digest_of(one, one),
        digest_of(np.array(["a", "b"], object)),
        digest_of(np.array(["ab", ""], object)),
        digest_of("a", "b"),
    }
    assert len(told) == 7
    assert digest_of(one, "a", Bounds(1, 2)) == digest_of(one.copy(), "a", Bounds(1, 2))
