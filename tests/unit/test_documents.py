"""A user's documents: bounded, ordered by event time, whatever the order of arrival."""

from streams.documents import (
    HISTORY_CAP,
    Engagement,
    HistoryEntry,
    Seen,
    Showing,
    ShownEntry,
    UserDocuments,
    read_history,
    read_shown,
)


def test_history_keeps_the_newest_in_any_order_of_arrival() -> None:
    entries = [HistoryEntry(n // 2, n, f"i{n}", None, "c", None) for n in range(HISTORY_CAP + 7)]
    ends = []
    for order in (entries, entries[::-1], entries[50:] + entries[:50]):
        documents = UserDocuments()
        for entry in order:
            documents.engage(entry)
        ends.append(documents.history)
    assert ends[0] == ends[1] == ends[2] == entries[7:]


def test_the_same_entry_is_kept_once() -> None:
    documents = UserDocuments()
    for _ in range(2):
        documents.show(ShownEntry(5, 1, "i1"))
    assert documents.shown == [ShownEntry(5, 1, "i1")]


def test_documents_survive_their_bytes_and_the_version_is_of_the_content() -> None:
    documents = UserDocuments()
    documents.remember(7, Seen(1, 2**32 - 1, 5, 0, 1_700_000_000_000, "c", None, True))
    documents.engage(HistoryEntry(5, 2**64 - 1, "i1", 0.5, "c", None))
    documents.show(ShownEntry(4, 8, "i1"))
    written = documents.encoded()
    documents.settle()
    again = UserDocuments.read(written["seen"], written["history"], written["shown"])
    assert (again.seen, again.history, again.shown) == (documents.seen, documents.history, documents.shown)
    assert again.version == documents.version == written["seen"][:8]
    assert again.encoded() == {}


def test_a_copy_is_a_draft_of_its_own() -> None:
    documents = UserDocuments()
    draft = documents.copy()
    draft.remember(1, Seen(1, 0, 0, 0, 0, None, None, False))
    draft.show(ShownEntry(1, 1, "i"))
    assert (documents.seen, documents.shown, documents.touched) == ({}, [], set())


def test_readers_see_an_item_once_with_its_newest_time_and_known_ratio() -> None:
    documents = UserDocuments()
    for entry in (
        HistoryEntry(1, 1, "a", 0.5, "c", "m"),
        HistoryEntry(2, 2, "b", None, None, None),
        HistoryEntry(3, 3, "a", None, "c", "m"),
    ):
        documents.engage(entry)
    for ts, item_id in ((1, "x"), (2, "y"), (3, "x")):
        documents.show(ShownEntry(ts, ts, item_id))
    written = documents.encoded()
    assert read_history(written["history"]) == (Engagement("a", 3, 0.5, "c", "m"), Engagement("b", 2))
    assert read_shown(written["shown"]) == (Showing("x", 3, 2), Showing("y", 2, 1))
    assert read_history(None) == read_shown(None) == ()


def test_a_mark_seen_again_moves_to_the_end() -> None:
    documents = UserDocuments()
    for mark in (0, 1, 2, 0):
        documents.remember(mark, Seen(documents.seq + 1, 0, 0, 0, 0, None, None, False))
    assert [(mark, seen.seq) for mark, seen in documents.seen.items()] == [(1, 2), (2, 3), (0, 4)]
