"""What is still to be told to whom: a durable queue in SQLite, in the state folder.

The topic alone would not do: receivers fail one by one, and a committed offset says nothing of the second
receiver. So an alert is written here in one transaction for all receivers, and only then committed in
Kafka. Read twice, it changes nothing: of one fingerprint only what is newer counts.

Per receiver and fingerprint changes are told in order, one at a time; a resolve only where a firing was
told. Times are Unix milliseconds and always arguments.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from monitors.alerts.formats import Notice, bounded, message_id
from monitors.alerts.receivers import Target
from streams.events import DAY_MS, Alert

__all__ = ["KEPT_MS", "MAX_WAITING", "Batch", "Ledger", "Standing"]

KEPT_MS = 3 * DAY_MS  # as long as the topic holds it
ENDED_MS, KNOWN_MS = 7 * DAY_MS, 365 * DAY_MS  # how long an alert that ended, and any, is remembered
MAX_WAITING = 20_000  # firings of one receiver
Taken = Literal["queued", "repeated", "stale", "unpaired"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS known (
    fingerprint TEXT PRIMARY KEY, ts_ms INTEGER NOT NULL, status TEXT NOT NULL, alert TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS receivers (
    name TEXT PRIMARY KEY, failures INTEGER NOT NULL DEFAULT 0, next_ms INTEGER NOT NULL DEFAULT 0,
    off_ms INTEGER);
CREATE TABLE IF NOT EXISTS told (
    receiver TEXT NOT NULL, fingerprint TEXT NOT NULL, alert TEXT NOT NULL,
    PRIMARY KEY (receiver, fingerprint));
CREATE TABLE IF NOT EXISTS queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT, receiver TEXT NOT NULL, fingerprint TEXT NOT NULL,
    status TEXT NOT NULL, alert TEXT NOT NULL, queued_ms INTEGER NOT NULL,
    next_ms INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    alone INTEGER NOT NULL DEFAULT 0, batch TEXT);
CREATE INDEX IF NOT EXISTS queue_order ON queue (receiver, fingerprint, id);
"""
_DUE = """
SELECT id, alert, alone, attempts FROM queue AS q WHERE receiver = ? AND next_ms <= ?
AND id = (SELECT min(id) FROM queue WHERE receiver = q.receiver AND fingerprint = q.fingerprint)
ORDER BY id LIMIT ?
"""
_SENT = "SELECT id, alert, batch, attempts FROM queue WHERE receiver = ? AND batch IS NOT NULL ORDER BY id"
_UNPAIRED = """
DELETE FROM queue WHERE receiver = ?1 AND status = 'resolved'
AND fingerprint NOT IN (SELECT fingerprint FROM told WHERE receiver = ?1)
AND id IN (SELECT min(id) FROM queue WHERE receiver = ?1 GROUP BY fingerprint)
"""


class Batch(msgspec.Struct, frozen=True):
    """Notices that go out as one message; the same until that was delivered or refused."""

    message_id: str
    ids: tuple[int, ...]
    notices: tuple[Notice, ...]
    attempts: int = 0  # of a message whose content was not taken


class Standing(msgspec.Struct, frozen=True):
    """How a receiver stands: failures in a row, when it may be tried again, since when it is off."""

    failures: int = 0
    next_ms: int = 0
    off_ms: int | None = None
    waiting: int = 0


class Ledger:
    """One connection; for use by one thread at a time. Others may have their own on the same file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # Kafka's commit follows
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # --- alerts in ------------------------------------------------------------------------------------

    def settle(self, targets: Sequence[Target], now_ms: int) -> list[str]:
        """Takes the configured receivers as they are now; returns those that are new.

        A new one is told what is firing; what waited for one that is gone is dropped.
        """
        names = {target.name for target in targets}
        with self._all_or_nothing() as db:
            there = {name for (name,) in db.execute("SELECT name FROM receivers")}
            for name in there - names:
                for table, column in (("receivers", "name"), ("told", "receiver"), ("queue", "receiver")):
                    db.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))  # noqa: S608
            new = [target for target in targets if target.name not in there]
            firing = self.firing() if new else []
            for target in new:
                db.execute("INSERT INTO receivers (name) VALUES (?)", (target.name,))
                db.execute("DELETE FROM queue WHERE receiver = ?", (target.name,))  # it comes anew below
                for alert in firing:
                    self._queue(target, alert, now_ms)
        return [target.name for target in new]

    def take(self, alert: Alert, targets: Sequence[Target], now_ms: int) -> Taken:
        """Queues a change for each receiver that wants it; says what became of it."""
        with self._all_or_nothing() as db:
            known = self._of(alert.fingerprint)
            outcome = _outcome(alert, known)
            if outcome != "queued":
                return outcome
            alert = bounded(alert)
            row = (alert.fingerprint, alert.ts_ms, alert.status, _text(alert))
            db.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?)", row)
            for target in targets:
                if self.standing(target.name).off_ms is None:
                    self._queue(target, alert, now_ms)
        return outcome

    def firing(self) -> list[Alert]:
        """What is firing now, oldest first."""
        return sorted((a for a in self._known() if a.status == "firing"), key=lambda a: a.ts_ms)

    def _known(self) -> list[Alert]:
        return [_alert(row) for (row,) in self._db.execute("SELECT alert FROM known")]

    def _of(self, fingerprint: str) -> Alert | None:
        row = self._db.execute("SELECT alert FROM known WHERE fingerprint = ?", (fingerprint,)).fetchone()
        return _alert(row[0]) if row else None

    def _queue(self, target: Target, alert: Alert, now_ms: int) -> None:
        if alert.status == "firing" and alert.severity not in target.severities:
            return
        self._db.execute(
            "INSERT INTO queue (receiver, fingerprint, status, alert, queued_ms) VALUES (?, ?, ?, ?, ?)",
            (target.name, alert.fingerprint, alert.status, _text(alert), now_ms),
        )

    # --- messages out ---------------------------------------------------------------------------------

    def standing(self, receiver: str) -> Standing:
        """How a receiver stands; one never seen stands well."""
        row = self._db.execute(
            "SELECT failures, next_ms, off_ms FROM receivers WHERE name = ?", (receiver,)
        ).fetchone()
        count = self._db.execute("SELECT count(*) FROM queue WHERE receiver = ?", (receiver,)).fetchone()[0]
        failures, next_ms, off_ms = row or (0, 0, None)
        return Standing(failures, next_ms, off_ms, count)

    def batch(self, receiver: str, limit: int, now_ms: int) -> Batch | None:
        """The message to send now: the one that was not delivered yet, or the oldest changes waiting."""
        with self._all_or_nothing() as db:
            db.execute(_UNPAIRED, (receiver,))
            rows = db.execute(_SENT, (receiver,)).fetchall()
            if len(rows) > limit:  # its format is another than when the message was made
                db.execute("UPDATE queue SET batch = NULL WHERE receiver = ?", (receiver,))
            elif rows:
                return self._as_batch(receiver, rows[0][2], [(r[0], r[1]) for r in rows], rows[0][3])
            due = db.execute(_DUE, (receiver, now_ms, limit)).fetchall()
            if not due:
                return None
            due = due[:1] if due[0][2] else [row for row in due if not row[2]]
            alerts = [_alert(row[1]) for row in due]
            id_ = message_id(receiver, alerts)
            db.executemany("UPDATE queue SET batch = ? WHERE id = ?", [(id_, row[0]) for row in due])
            return self._as_batch(receiver, id_, [(r[0], r[1]) for r in due], due[0][3])

    def _as_batch(self, receiver: str, id_: str, rows: Sequence[tuple[int, str]], attempts: int) -> Batch:
        notices = []
        for _, text in rows:
            alert = _alert(text)
            told = self._db.execute(
                "SELECT alert FROM told WHERE receiver = ? AND fingerprint = ?", (receiver, alert.fingerprint)
            ).fetchone()
            notices.append(Notice(alert, _alert(told[0]) if told else None))
        return Batch(id_, tuple(id_ for id_, _ in rows), tuple(notices), attempts)

    def delivered(self, receiver: str, batch: Batch) -> None:
        """The receiver has it: it leaves the queue, and firings count as told."""
        with self._all_or_nothing() as db:
            for alert in (notice.alert for notice in batch.notices):
                place = (receiver, alert.fingerprint)
                if alert.status == "firing":
                    row = (*place, _text(alert))
                    db.execute("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", row)
                else:
                    db.execute("DELETE FROM told WHERE receiver = ? AND fingerprint = ?", place)
            db.executemany("DELETE FROM queue WHERE id = ?", [(id_,) for id_ in batch.ids])
            db.execute("UPDATE receivers SET failures = 0, next_ms = 0 WHERE name = ?", (receiver,))

    def failed(self, receiver: str, next_ms: int) -> None:
        """The receiver could not be told; the message stays as it is, to be sent again at `next_ms`."""
        self._db.execute(
            "UPDATE receivers SET failures = failures + 1, next_ms = ? WHERE name = ?", (next_ms, receiver)
        )

    def rejected(self, batch: Batch, next_ms: int) -> None:
        """The message is not taken: each of its changes goes alone, and a lone one waits until `next_ms`."""
        lone = len(batch.ids) == 1
        self._db.executemany(
            "UPDATE queue SET batch = NULL, alone = 1, attempts = attempts + ?, next_ms = ? WHERE id = ?",
            [(int(lone), next_ms if lone else 0, id_) for id_ in batch.ids],
        )

    def switch_off(self, receiver: str, now_ms: int) -> int:
        """Nothing more goes to the receiver until it is switched on; returns how many changes are dropped."""
        with self._all_or_nothing() as db:
            db.execute("UPDATE receivers SET off_ms = ? WHERE name = ?", (now_ms, receiver))
            db.execute("DELETE FROM told WHERE receiver = ?", (receiver,))
            return db.execute("DELETE FROM queue WHERE receiver = ?", (receiver,)).rowcount

    def switch_on(self, receiver: str) -> bool:
        """The receiver is told again, as a new one is at the next `settle`; False if it was not off."""
        row = "DELETE FROM receivers WHERE name = ? AND off_ms IS NOT NULL"
        return self._db.execute(row, (receiver,)).rowcount > 0

    def expire(self, receiver: str, now_ms: int) -> int:
        """Drops what could not be told in 3 days and what exceeds the bound; returns how many changes."""
        with self._all_or_nothing() as db:
            forgotten = (now_ms - KNOWN_MS, now_ms - ENDED_MS)
            db.execute("DELETE FROM known WHERE ts_ms < ? OR (ts_ms < ? AND status = 'resolved')", forgotten)
            old = db.execute(
                "DELETE FROM queue WHERE receiver = ? AND queued_ms < ?", (receiver, now_ms - KEPT_MS)
            ).rowcount
            beyond = db.execute(
                "DELETE FROM queue WHERE receiver = ? AND batch IS NULL AND id <= "
                "(SELECT id FROM queue WHERE receiver = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (receiver, receiver, MAX_WAITING),
            ).rowcount
            return int(old + beyond)


def _text(alert: Alert) -> str:
    return msgspec.json.encode(alert).decode()


def _alert(text: str) -> Alert:
    return msgspec.json.decode(text, type=Alert)


def _outcome(alert: Alert, known: Alert | None) -> Taken:
    """What a change is against the last one of its fingerprint that counted.

    What is as old or older is the same read again, or comes too late: only an end may share its
    beginning's time.
    """
    if known is not None:
        ends = known.status == "firing" and alert.status == "resolved"
        if alert.ts_ms < known.ts_ms or (alert.ts_ms == known.ts_ms and not ends):
            return "stale"
        if alert.status == "firing" and known.status == "firing":
            return "repeated" if alert.severity == known.severity else "queued"
    if alert.status == "resolved" and (known is None or known.status == "resolved"):
        return "unpaired"
    return "queued"
