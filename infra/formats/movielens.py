"""MovieLens: a folder with `u.data` and `u.item` (ml-100k), or with `ratings.dat` and `movies.dat` (ml-1m).

A rating is an impression; four stars and more are a click. Nothing says what was shown and passed over,
so a figure on this log tells liked from rated, not liked from seen. Films are published at the log's start:
their year says nothing about when they first appeared there.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from infra.formats.log import Log
from infra.formats.pages import Row, digest_of, items_of, log_of
from streams.errors import OperatorError
from streams.events import Item

__all__ = ["LIKED", "read_movielens"]

LIKED = 4  # stars
GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
Film = tuple[str, str, list[str]]  # id, title, genres


def read_movielens(path: Path) -> Log:
    """Reads the folder.

    Raises:
        OperatorError: none of the two sets of files, or a line that is not of them.
    """
    for ratings, films, separator, film in (
        ("u.data", "u.item", "\t", _film_100k),
        ("ratings.dat", "movies.dat", "::", _film_1m),
    ):
        if (path / ratings).is_file() and (path / films).is_file():
            rows = [_row(cells) for cells in _lines(path / ratings, separator, _row)]
            start_ms = min((row.ts_ms for row in rows), default=0)
            found = [film(cells) for cells in _lines(path / films, "|" if film is _film_100k else "::", film)]
            return log_of(f"movielens:{path.name}", rows, items_of(_items(found, start_ms)))
    raise OperatorError(f"replay: {path}: expected u.data and u.item, or ratings.dat and movies.dat")


def _lines(file: Path, separator: str, read: Callable[[list[str]], object]) -> Iterator[list[str]]:
    with file.open(encoding="latin-1") as lines:
        for number, line in enumerate(lines, start=1):
            cells = line.rstrip("\r\n").split(separator)
            try:
                read(cells)
            except (ValueError, IndexError) as error:
                raise OperatorError(f"replay: {file}: line {number}: {error}") from None
            yield cells


def _row(cells: list[str]) -> Row:
    user, film, stars, seconds = cells[:4]
    return Row(
        user_id=f"u{user}",
        item_id=f"m{film}",
        ts_ms=int(seconds) * 1_000,
        click=int(stars) >= LIKED,
        long_view=None,
        watch_ms=0,
        duration_ms=0,
        actions=(),
        digest=digest_of("\t".join(cells)),
    )


def _film_100k(cells: list[str]) -> Film:
    flags = cells[-len(GENRES) :]
    return cells[0], cells[1], [genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1"]


def _film_1m(cells: list[str]) -> Film:
    number, title, genres = cells[:3]
    return number, title, genres.split("|")


def _items(films: Sequence[Film], start_ms: int) -> list[Item]:
    items = []
    for number, title, genres in films:
        tags = tuple(re.sub(r"[^A-Za-z0-9_.:-]", "", genre.lower()) for genre in genres)
        category = tags[0] if tags else None
        item = Item(item_id=f"m{number}", published_ts_ms=start_ms, title=title, category=category, tags=tags)
        items.append(item)
    return items
