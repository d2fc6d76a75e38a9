"""Keeps the vectors of the champion's item tower in step with the catalogue. Pure but for the store.

Each step may be cut off anywhere and is then done again: a vector carries the fingerprint of what it was made
from, and a version is served only once the whole catalogue has its vectors.
"""

import logging
import secrets
import time
from collections.abc import Callable

from models.serving.towers import Towers
from models.vectors.inputs import fingerprint
from models.versions.manifest import Version
from models.versions.registry import load_version
from streams.catalogue.catalogue import Catalogue
from streams.errors import ModelRefused
from streams.events import Item, ModelRecord
from streams.metrics import EMBEDDED, EMBEDDING_WAITING
from streams.store.item_vectors import TAGS, ServedVectors, VectorStore, pack

__all__ = ["Embedding"]

log = logging.getLogger(__name__)

PORTION = 512  # items of one turn
GRACE_S = 10.0  # that vectors of another version stay, for scorers that still use them
CHECK_S = 5.0  # between two looks whether Redis still holds what was written
RETRY_S = 10.0  # before a version that was refused is tried again: its files may come later


class Embedding:
    """Not thread safe; the catalogue may be fed by another thread."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: VectorStore,
        *,
        load: Callable[[str, str], Version] = load_version,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue, self._store = catalogue, store
        self._load, self._clock = load, clock
        self._champion: ModelRecord | None = None  # whose towers are in use, or who has none
        self._begun = False
        self._towers: Towers | None = None
        self._seen = 0  # of the catalogue's versions
        self._waiting: dict[str, None] = {}
        self._whole = False  # all that was there at the beginning has its vector
        self._refused: tuple[str, float] = ("", 0.0)  # version, and when to try it again
        self._drop_at: float | None = None
        self._me, self._writes, self._next_check = secrets.token_hex(4), 0, 0.0

    @property
    def version(self) -> str | None:
        """The champion whose towers are in use; None: no champion, or one without towers."""
        return self._champion.version if self._champion is not None and self._towers is not None else None

    @property
    def whole(self) -> bool:
        """True while the version that should be served is served."""
        return self._begun and self._whole

    @property
    def waiting(self) -> int:
        """Items that have no vector yet, or an old one."""
        return len(self._waiting)

    def turn(self, champion: ModelRecord | None) -> bool:
        """Does one portion of what there is to do; True: there is more.

        Raises:
            StoreUnavailable: nothing is lost, the next turn does it again.
        """
        if self._is_new(champion):
            self._begin(champion)
        self._drop_others()
        if not self._begun:
            return False
        if self._towers is not None and self._champion is not None:
            self._check(self._champion.version)
            self._take_changes(self._champion.version)
            self._embed(self._towers, self._champion.version)
        EMBEDDING_WAITING.set(len(self._waiting))
        if not self._waiting and not self._whole:
            self._serve()
        return bool(self._waiting)

    # --- versions -----------------------------------------------------------------------------------

    def _is_new(self, champion: ModelRecord | None) -> bool:
        wanted = champion.version if champion else None
        now = self._champion.version if self._champion else None
        if self._begun and wanted == now:
            return False
        refused, again = self._refused
        return wanted is None or wanted != refused or self._clock() >= again

    def _begin(self, champion: ModelRecord | None) -> None:
        """Takes another champion's towers into use; where they are refused, the ones before stay."""
        towers = None
        if champion is not None:
            try:
                towers = self._towers_of(champion)
            except ModelRefused as error:
                log.warning("version %s is refused: %s", champion.version, error)
                self._refused = (champion.version, self._clock() + RETRY_S)
                return
        seen, waiting = self._catalogue.version, dict[str, None]()
        if champion is not None and towers is not None:
            self._note(champion.version)
            waiting = self._compared(champion.version)
        self._champion, self._towers, self._begun, self._whole = champion, towers, True, False
        self._seen, self._waiting = seen, waiting
        log.info("version %s: %d items to embed", self.version, len(waiting))

    def _towers_of(self, champion: ModelRecord) -> Towers | None:
        if not champion.uri or not champion.sha256:
            raise ModelRefused("its record names no files")
        return Towers.load(self._load(champion.uri, champion.sha256))

    def _compared(self, version: str) -> dict[str, None]:
        """Items whose vector is not there or was made from something else; what is no item goes."""
        held: dict[str, int] = {}
        for tag in TAGS:
            prints = self._store.prints(version, tag)
            gone = [name for name in prints if self._catalogue.get(name) is None]
            if gone:
                self._store.remove(version, gone)
            held |= prints
        return {
            item.item_id: None
            for item in self._catalogue.items()
            if held.get(item.item_id) != fingerprint(item)
        }

    def _serve(self) -> None:
        champion = self._champion
        served = None
        if champion is not None and self._towers is not None and champion.uri and champion.sha256:
            served = ServedVectors(champion.version, champion.uri, champion.sha256)
        self._store.serve(served)
        self._whole, self._drop_at = True, self._clock() + GRACE_S

    def _drop_others(self) -> None:
        if self._drop_at is None or self._clock() < self._drop_at or not self._whole:
            return
        for other in sorted(self._store.versions() - {self.version}):
            self._store.drop(other)
            log.info("vectors of version %s removed", other)
        self._drop_at = None

    def _note(self, version: str) -> None:
        self._writes += 1
        self._store.note(version, f"{self._me} {self._writes}")

    def _check(self, version: str) -> None:
        """Compares all vectors once more where Redis has lost writes: restarted empty, or from an older copy.

        The mark of another embedder says nothing: it looks after what it wrote.
        """
        if self._clock() < self._next_check:
            return
        noted = (self._store.noted(version) or f"{self._me} 0").split()
        if noted[0] == self._me and int(noted[1]) < self._writes:
            log.warning("version %s: vectors were lost; all are looked at again", version)
            self._note(version)
            self._waiting |= self._compared(version)
            self._whole = False
        self._next_check = self._clock() + CHECK_S

    # --- items --------------------------------------------------------------------------------------

    def _take_changes(self, version: str) -> None:
        seen, changes = self._catalogue.changes(self._seen)
        if seen == self._seen:
            return
        if changes is None:  # too many to be told one by one
            self._waiting |= self._compared(version)
        else:
            gone = [name for name, item in changes.items() if item is None]
            if gone:
                self._store.remove(version, gone)
            self._waiting |= dict.fromkeys(name for name, item in changes.items() if item is not None)
        self._seen = seen

    def _embed(self, towers: Towers, version: str) -> None:
        names = [name for name, _ in zip(self._waiting, range(PORTION), strict=False)]
        items: list[Item] = [item for item in map(self._catalogue.get, names) if item is not None]
        if items:
            values = pack([fingerprint(item) for item in items], towers.items(items))
            ids = [item.item_id for item in items]
            self._store.write(version, dict(zip(ids, values, strict=True)))
            self._note(version)
            EMBEDDED.inc(len(items))
        for name in names:
            del self._waiting[name]
