"""Documents at rest: fewer bytes, the same document."""

from hypothesis import given
from hypothesis import strategies as st

from streams.facts.documents import HistoryEntry, ShownEntry, UserDocuments, read_history, read_shown
from streams.fold.at_rest import compacted, is_compact, opened
from tests.build import T0

ids = st.text("abc019_.:-", min_size=1, max_size=12)
times = st.integers(0, 2**43)
marks = st.integers(0, 2**16 - 1)
engaged = st.builds(
    HistoryEntry, times, marks, ids, st.none() | st.integers(0, 10_000), st.none() | ids, st.none() | ids
)


@given(st.lists(engaged, max_size=120), st.lists(st.builds(ShownEntry, times, marks, ids), max_size=30))
def test_a_document_at_rest_says_the_same_and_goes_on_the_same(history: list, shown: list) -> None:
    documents = UserDocuments()
    for entry in history:
        documents.engage(entry)
    for entry in shown:
        documents.show(entry)
    kept = documents.encoded()
    rest = {kind: compacted(value) for kind, value in kept.items()}
    assert {kind: opened(value) for kind, value in rest.items()} == kept
    assert {kind: compacted(value) for kind, value in rest.items()} == rest
    if "history" in kept:
        assert is_compact(rest["history"])
        assert read_history(rest["history"]) == read_history(kept["history"])
    if "shown" in kept:
        assert read_shown(rest["shown"]) == read_shown(kept["shown"])
    one, other = (UserDocuments.read(None, None, d.get("history"), d.get("shown")) for d in (kept, rest))
    for again in (one, other):
        again.engage(HistoryEntry(T0, 1, "new", None, None, None))
    assert one.encoded() == other.encoded()
