"""Versions on disk, and the fold that says which one serves."""

import msgspec
import pytest

from models.versions.manifest import MANIFEST, decode_manifest, sha256
from models.versions.registry import Champions, load_version, new_version, publish, seal, stored_versions
from streams.errors import ModelRefused
from streams.events import ModelRecord
from tests.planted import linear_version


def test_what_was_published_comes_back_byte_by_byte(tmp_path):
    version = linear_version()
    uri, digest = publish(str(tmp_path), version)
    assert load_version(uri, digest) == version
    assert [(u, d) for u, d, _ in stored_versions(str(tmp_path))] == [(uri, digest)]


def test_versions_are_never_overwritten(tmp_path):
    publish(str(tmp_path), linear_version())
    with pytest.raises(ModelRefused, match="stands there already"):
        publish(str(tmp_path), linear_version(rows=5))


def test_a_publication_cut_off_is_no_version_and_is_cleared_by_the_next(tmp_path):
    partial = tmp_path / ".v1.partial"
    partial.mkdir()
    (partial / "half").write_bytes(b"x")
    assert list(stored_versions(str(tmp_path))) == []
    uri, digest = publish(str(tmp_path), linear_version())
    assert load_version(uri, digest).manifest.version == "v1"
    assert not partial.exists()


def test_an_empty_place_holds_no_versions(tmp_path):
    assert list(stored_versions(str(tmp_path / "nowhere"))) == []


@pytest.mark.parametrize("name", ["ranker.onnx", "golden.json", MANIFEST])
def test_one_changed_byte_in_any_file_is_found(tmp_path, name):
    uri, digest = publish(str(tmp_path), linear_version())
    path = tmp_path / "v1" / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelRefused, match=name):
        load_version(uri, digest)


def test_a_missing_file_and_a_file_grown_large_are_refused(tmp_path):
    uri, digest = publish(str(tmp_path), linear_version())
    (tmp_path / "v1" / "golden.json").write_bytes(b"x" * 100_000)
    with pytest.raises(ModelRefused, match=r"golden.json"):
        load_version(uri, digest)
    (tmp_path / "v1" / "golden.json").unlink()
    with pytest.raises(ModelRefused, match="FileNotFoundError"):
        load_version(uri, digest)


@pytest.mark.parametrize("uri", ["zip::file:///x", "/a/../b", "nosuch://x/v1", ""])
def test_a_hostile_address_is_refused(uri):
    with pytest.raises(ModelRefused):
        load_version(uri, "0" * 64)


def _changed(**changes):
    plain = msgspec.to_builtins(linear_version().manifest)
    plain.update(changes)
    return msgspec.json.encode(plain)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (_changed(files={"../../x": {"sha256": "0" * 64, "size_bytes": 1}}), "manifest.json"),
        (_changed(files={"/etc/passwd": {"sha256": "0" * 64, "size_bytes": 1}}), "manifest.json"),
        (_changed(files={"a\n": {"sha256": "0" * 64, "size_bytes": 1}}), "manifest.json"),
        (_changed(files={"a": {"sha256": "0" * 64, "size_bytes": 10**12}}), "manifest.json"),
        (_changed(files={"a": {"sha256": "nothex", "size_bytes": 1}}), "manifest.json"),
        (_changed(version="../v"), "manifest.json"),
        (_changed(columns=["a", "a"]), "twice"),
        (_changed(columns=[]), "manifest.json"),
        (b"[]", "manifest.json"),
        (b"\xff", "manifest.json"),
        (b" " * (2**20 + 1), "at most"),
    ],
)
def test_a_hostile_manifest_is_refused(value, says):
    with pytest.raises(ModelRefused, match=says):
        decode_manifest(value)


def test_a_folder_that_holds_another_version_is_refused(tmp_path):
    publish(str(tmp_path), linear_version())
    (tmp_path / "v1").rename(tmp_path / "v2")
    digest = sha256((tmp_path / "v2" / MANIFEST).read_bytes())
    with pytest.raises(ModelRefused, match="holds version v1"):
        load_version(str(tmp_path / "v2"), digest)


def test_a_version_id_sorts_by_time_and_differs_by_trigger():
    assert new_version("a", 1_000) < new_version("a", 100_000_000)
    assert new_version("a", 0) != new_version("b", 0)


def test_sealing_refuses_a_file_name_that_leaves_the_folder():
    with pytest.raises(ModelRefused):
        seal({"../x": b""}, **{k: getattr(linear_version().manifest, k) for k in _FIELDS})


_FIELDS = ("version", "created_ms", "columns", "columns_hash", "heads", "window", "rows")


def _step(version, state, trigger=None):
    released = {"uri": f"/m/{version}", "sha256": "0" * 64} if state != "training" else {}
    return ModelRecord(version=version, ts_ms=1, state=state, trigger_id=trigger, **released)


LIFE = (
    _step("v1", "training", "t1"),
    _step("v1", "candidate", "t1"),
    _step("v1", "champion", "t1"),
    _step("v2", "training", "t2"),
    _step("v2", "rejected", "t2"),
    _step("v3", "training", "t3"),
    _step("v3", "champion", "t3"),
    _step("v1", "retired"),
)


def test_the_last_crowned_version_serves():
    champions, changes = Champions(), []
    for step in LIFE:
        if champions.apply(step):
            changes.append(champions.champion.version)
    assert changes == ["v1", "v3"]
    assert champions.unfinished() == ()
    assert all(champions.answered(t) for t in ("t1", "t2", "t3"))


def test_folding_everything_twice_equals_once():
    champions = Champions()
    for step in (*LIFE, *LIFE):
        champions.apply(step)
    assert champions.champion.version == "v3"


def test_a_rollback_crowns_the_older_version_again():
    champions = Champions()
    for step in (*LIFE, _step("v1", "champion"), _step("v3", "rolled_back")):
        champions.apply(step)
    assert champions.champion.version == "v1"


def test_rolling_back_the_only_champion_leaves_none():
    champions = Champions()
    for step in (_step("v1", "champion"), _step("v1", "rolled_back")):
        champions.apply(step)
    assert champions.champion is None


def test_a_training_cut_off_is_unfinished_and_its_trigger_unanswered():
    champions = Champions()
    champions.apply(_step("v1", "training", "t1"))
    assert [step.version for step in champions.unfinished()] == ["v1"]
    assert not champions.answered("t1")
    assert not champions.answered("never-seen")
