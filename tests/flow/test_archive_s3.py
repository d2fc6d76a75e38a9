"""The archive on a real S3 API: written, cut off, resumed, compacted, read back."""

from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from infra.ports import free_ports
from streams.archive.archive import Archive, Partition, Row, read_examples
from streams.archive.archive_compact import Compactor
from streams.events import EXAMPLES, MAX_MS, Labels
from tests.build import T0, make_example

SOURCE = Partition(EXAMPLES.name, "e1", 0)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    (port,) = free_ports(1)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def url(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A bucket of its own, found as any client finds one: by the environment alone."""
    import s3fs

    for name, value in (("ENDPOINT_URL", endpoint), ("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = "b" + str(abs(hash(request.node.name)))
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/archive"


def write(archive: Archive, first: int, last: int, revision: int = 1) -> None:
    rows = [
        Row(
            n,
            0,
            make_example(
                example_id=f"x{n % 8}", revision=revision, ts_ms=T0, labels=Labels(click=revision > 1)
            ),
        )
        for n in range(first, last + 1)
    ]
    archive.write(SOURCE, rows, first, last)


def found(url: str) -> list[tuple[str, int]]:
    batches = read_examples(url, 0, MAX_MS)
    return [(row["example_id"], row["revision"]) for batch in batches for row in batch.to_pylist()]


def test_every_record_is_one_row_after_a_flush_that_was_cut_off(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(url)
    assert archive.resume(SOURCE) is None
    write(archive, 0, 3)
    put = archive._put
    with monkeypatch.context() as patch:
        patch.setattr(
            archive, "_put", lambda path, data: put(path, data) if "_offsets" not in path else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            write(archive, 4, 7)
    assert found(url) == [(f"x{n}", 1) for n in range(4)]
    again = Archive(url)
    assert again.resume(SOURCE) == 4
    write(again, 4, 7)
    assert found(url) == [(f"x{n}", 1) for n in range(8)]


def test_compaction_leaves_the_highest_revision_of_each_in_one_file(url: str) -> None:
    archive = Archive(url)
    for n in range(8):
        write(archive, n, n)
    write(archive, 8, 11, revision=2)
    compactor = Compactor(archive, grace_ms=0)
    assert list(compactor.look([SOURCE], 0)) == [9]
    assert list(compactor.look([SOURCE], 1)) == []
    expected = [(f"x{n}", 2 if n < 4 else 1) for n in range(8)]
    assert found(url) == expected
    (parts,) = Archive(url).parts(EXAMPLES.name).values()
    assert [(part.first, part.last) for part in parts] == [(0, 11)]
    assert Archive(url).resume(SOURCE) == 12
