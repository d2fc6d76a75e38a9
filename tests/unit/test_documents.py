"""A user's documents: bounded, ordered by event time, whatever the order of arrival."""

from streams.facts.documents import (
    HISTORY_CAP,
    Engagement,
    HistoryEntry,
    Showing,
    ShownEntry,
    UserDocuments,
    read_history,
    read_shown,
)
from streams.fold.at_rest import compacted, opened


def test_history_keeps_the_newest_in_any_order_of_arrival() -> None:
    entries = [HistoryEntry(n // 2, n, f"i{n}", None, "c", None) for n in range(HISTORY_CAP + 7)]
    ends = []
    for order in (entries, entries[::-1], entries[50:] + entries[:50]):
        documents = UserDocuments()
        for entry in order:
            documents.engage(entry)
        ends.append(documents.encoded()["history"])
    assert ends[0] == ends[1] == ends[2]
    assert [past.item_id for past in read_history(ends[0])] == [e.item_id for e in reversed(entries[7:])]


def test_the_same_entry_is_kept_once() -> None:
    documents = UserDocuments()
    for _ in range(2):
        documents.show(ShownEntry(5, 1, "i1"))
    assert read_shown(documents.encoded()["shown"]) == (Showing("i1", 5, 1),)


def test_what_is_taken_back_leaves_and_what_is_not_there_may_be_taken_back() -> None:
    documents = UserDocuments()
    documents.engage(HistoryEntry(5, 1, "i1", None, None, None))
    documents.engage(HistoryEntry(5, 2, "i2", None, None, None))
    documents.show(ShownEntry(5, 3, "i3"))
    for ts_ms, mark, item_id in ((5, 1, "i1"), (5, 3, "i3"), (5, 9, "i2"), (6, 2, "i2"), (5, 2, "i9")):
        documents.take_back(ts_ms, mark, item_id)
    written = documents.encoded()
    assert [past.item_id for past in read_history(written["history"])] == ["i2"]
    assert read_shown(written["shown"]) == ()


def test_what_is_taken_back_keeps_its_place_in_a_full_list() -> None:
    entries = [HistoryEntry(n, 1, f"i{n}", None, "c", None) for n in range(HISTORY_CAP + 1)]
    ends = []
    for undo_at in (HISTORY_CAP, HISTORY_CAP + 1):
        documents = UserDocuments()
        for n, entry in enumerate(entries):
            if n == undo_at:
                documents.take_back(50, 1, "i50")
            documents.engage(entry)
        documents.take_back(50, 1, "i50")
        ends.append(documents.encoded()["history"])
        again = UserDocuments.read(None, None, ends[-1])
        again.engage(entries[50])
        assert again.encoded()["history"] == ends[-1]  # a tombstone holds its place
    assert ends[0] == ends[1] == opened(compacted(ends[0]))
    assert [past.ts_ms for past in read_history(ends[0])] == [*range(100, 50, -1), *range(49, 0, -1)]


def test_documents_survive_their_bytes() -> None:
    documents = UserDocuments()
    documents.engage(HistoryEntry(5, 2**16 - 1, "i1", 500, "c", None))
    documents.show(ShownEntry(4, 8, "i1"))
    written = documents.encoded()
    again = UserDocuments.read(None, None, written["history"], written["shown"])
    assert again.encoded() == {}
    again.engage(HistoryEntry(6, 1, "i2", None, None, None))
    again.show(ShownEntry(3, 1, "i0"))
    written = again.encoded()
    assert [past.item_id for past in read_history(written["history"])] == ["i2", "i1"]
    assert [past.item_id for past in read_shown(written["shown"])] == ["i1", "i0"]


def test_a_copy_is_a_draft_of_its_own() -> None:
    documents = UserDocuments()
    documents.show(ShownEntry(1, 1, "i"))
    documents.settle()
    draft = documents.copy()
    draft.show(ShownEntry(2, 2, "j"))
    assert documents.touched == set()
    documents.touched.add("shown")
    assert [past.item_id for past in read_shown(documents.encoded()["shown"])] == ["i"]


def test_readers_see_an_item_once_with_its_newest_time_and_known_ratio() -> None:
    documents = UserDocuments()
    for entry in (
        HistoryEntry(1, 1, "a", 500, "c", "m"),
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
