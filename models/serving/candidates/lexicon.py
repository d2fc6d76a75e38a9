"""Words of items, searched by BM25 in an index in memory; a word that no item has is taken for a typo."""

import threading
from collections.abc import Iterable

import tantivy

from streams.words import words_of

__all__ = ["Lexicon"]

FEW = 1_000  # documents that wait for the first search: a stock that nobody searches is not indexed
HEAP_BYTES = 30_000_000
MAX_WORDS = 32  # of a query
ONE_TYPO, TWO_TYPOS = 4, 8  # letters of a word from which on it may differ in one or two
TYPO_WEIGHT = 0.5


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("row", stored=True)
    builder.add_text_field("text", tokenizer_name="whitespace", index_option="freq")
    return builder.build()


class Lexicon:
    """Texts by row. Safe to use from several threads: one adds while others search.

    >>> lexicon = Lexicon()
    >>> lexicon.add([(0, "Street food in Hanoi"), (1, "Food"), (2, "Chess")])
    >>> lexicon.search("hanoi food", 9), lexicon.search("hanio", 9), lexicon.search("tea", 9)
    ([0, 1], [0], [])
    """

    def __init__(self) -> None:
        self._schema = _schema()
        self._index: tantivy.Index | None = None
        self._writer: tantivy.IndexWriter | None = None
        self._waiting: list[tuple[int, str]] = []
        self._lock = threading.Lock()

    def add(self, texts: Iterable[tuple[int, str]]) -> None:
        """Takes the texts of rows in; a row is added once."""
        with self._lock:
            self._waiting += texts
            if len(self._waiting) > FEW or (self._index is not None and self._waiting):
                self._flush()

    def search(self, query: str, most: int) -> list[int]:
        """Up to `most` rows that hold a word of the query, best first, ties by row."""
        words = list(dict.fromkeys(words_of(query)))[:MAX_WORDS]
        if self._waiting and self._lock.acquire(blocking=False):  # not behind a flood of new items
            try:
                self._flush()
            finally:
                self._lock.release()
        index = self._index
        if index is None or not words:
            return []
        searcher = index.searcher()
        asked = [(tantivy.Occur.Should, self._of_word(searcher, word)) for word in words]
        hits = searcher.search(tantivy.Query.boolean_query(asked), most, count=False).hits
        found = [(-score, int(searcher.doc(address)["row"][0])) for score, address in hits]
        return [row for _, row in sorted(found)]

    def _of_word(self, searcher: tantivy.Searcher, word: str) -> tantivy.Query:
        exact = tantivy.Query.term_query(self._schema, "text", word, index_option="freq")
        if len(word) < ONE_TYPO or searcher.search(exact, 1, count=False).hits:
            return exact
        distance = 2 if len(word) >= TWO_TYPOS else 1
        near = tantivy.Query.fuzzy_term_query(
            self._schema, "text", word, distance=distance, transposition_cost_one=True
        )
        return tantivy.Query.boost_query(near, TYPO_WEIGHT)

    def _flush(self) -> None:
        if self._index is None or self._writer is None:
            self._index = tantivy.Index(self._schema)
            self._writer = self._index.writer(heap_size=HEAP_BYTES, num_threads=1)
        for row, text in self._waiting:
            self._writer.add_document(tantivy.Document(row=row, text=" ".join(words_of(text))))
        self._waiting = []
        self._writer.commit()
        self._index.reload()
