"""Every record on the wire and the table of topics, declared once.

Fields without a default are required. Unknown fields are ignored. Times are Unix milliseconds,
durations are milliseconds, money is in millionths of a currency unit (`_micros`).
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

ID_PATTERN = r"^[A-Za-z0-9_.:\-]+$(?!\n)"
MAX_MS = 253_402_300_799_999  # the last millisecond of year 9999
MAX_AHEAD_MS = 300_000  # a time further ahead of the wall clock is refused
DAY_MS = 86_400_000

Id = Annotated[str, Meta(pattern=ID_PATTERN, min_length=1, max_length=128)]
Text = Annotated[str, Meta(max_length=1_024)]
Millis = Annotated[int, Meta(ge=0, le=MAX_MS)]
Duration = Annotated[int, Meta(ge=0, le=DAY_MS)]
Micros = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Position = Annotated[int, Meta(ge=0, le=10_000)]
Float32 = Annotated[float, Meta(ge=-3.4e38, le=3.4e38)]
Exact = Annotated[int, Meta(ge=-(2**53), le=2**53)]  # an integer that any JSON library keeps
Context = dict[str, str | float | Exact | bool]
Action = Literal["like", "dislike", "hide", "share", "follow", "convert", "undo"]
ModelState = Literal["training", "candidate", "champion", "retired", "rejected", "failed", "rolled_back"]
DriftState = Literal["ok", "drifted", "too_few", "no_reference"]

MAX_CANDIDATES = 1_000
MAX_LIMIT = 200
MAX_HISTORY = 50
MAX_BATCH = 1_000


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frozen fact. Equality is by value."""


# --- events.* -----------------------------------------------------------------------------------


class Event(Record, frozen=True, kw_only=True):
    """What every event carries: who, when, and an id by which a resend is recognised."""

    event_id: Id
    user_id: Id
    ts_ms: Millis
    request_id: Id | None = None
    session_id: Id | None = None
    surface: Id = "default"
    query: Text | None = None  # what was searched when it happened


class Impression(Event, frozen=True, kw_only=True):
    """An item was on the user's screen. `position` counts from 0."""

    item_id: Id
    position: Position | None = None


class Click(Event, frozen=True, kw_only=True):
    """The user opened an item. `position` counts from 0."""

    item_id: Id
    position: Position | None = None


class Watch(Event, frozen=True, kw_only=True):
    """The user watched an item for `watch_ms`; `duration_ms` 0 or absent means unknown."""

    item_id: Id
    watch_ms: Duration
    duration_ms: Duration | None = None
    long_view: bool | None = None  # the log's own label, where it has one


class Feedback(Event, frozen=True, kw_only=True):
    """An explicit action. `undo` names the event it takes back in `undoes`."""

    action: Action
    item_id: Id | None = None
    creator_id: Id | None = None
    undoes: Id | None = None
    value_micros: Micros | None = None


class Sponsored(Record, frozen=True, kw_only=True):
    """A paid place: `bid_micros` per click, capped by impressions per UTC day."""

    campaign_id: Id
    bid_micros: Annotated[int, Meta(ge=0, le=2**53)]
    daily_impressions: Annotated[int, Meta(ge=0, le=2**53)]


class Item(Record, frozen=True, kw_only=True):
    """An item of the catalogue; of two records the newer `updated_ts_ms` wins."""

    item_id: Id
    published_ts_ms: Millis
    updated_ts_ms: Millis | None = None
    title: Text = ""
    category: Id | None = None
    creator_id: Id | None = None
    duration_ms: Duration | None = None
    tags: Annotated[tuple[Id, ...], Meta(max_length=64)] = ()
    quality: Unit | None = None
    embedding: Annotated[tuple[Float32, ...], Meta(max_length=1_024)] | None = None
    content_id: Id | None = None
    sponsored: Sponsored | None = None


# --- request and reply --------------------------------------------------------------------------


class RankRequest(Record, frozen=True, kw_only=True):
    """Asks for a slate. Without `candidates` the system retrieves its own.

    `ts_ms` defaults to the timestamp of the Kafka record.
    """

    request_id: Id
    user_id: Id
    ts_ms: Millis | None = None
    session_id: Id | None = None
    surface: Id = "default"
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] = 10
    query: Text | None = None
    candidates: Annotated[tuple[Id, ...], Meta(max_length=MAX_CANDIDATES)] | None = None
    exclude: Annotated[tuple[Id, ...], Meta(max_length=MAX_CANDIDATES)] = ()
    context: Annotated[dict[Id, str | float | Exact | bool], Meta(max_length=32)] = {}


class RankedItem(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One place of a slate. `reasons` says why it stands where it stands."""

    item_id: Id
    position: Position
    score: float
    source: str
    reasons: tuple[str, ...] = ()


class ServedBy(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The pair that scored a slate; None where that half was absent."""

    ranker: str | None = None
    online: str | None = None


class ReplyError(Record, frozen=True, kw_only=True):
    """Why there is no slate. `code` is stable, `message` is for people."""

    code: Literal["INVALID_REQUEST", "DEADLINE_EXCEEDED", "OVERLOADED", "INTERNAL"]
    message: str


class RankReply(Record, frozen=True, kw_only=True):
    """A slate, or an error. `degraded` names the step down that was taken, if any."""

    request_id: str
    user_id: str
    items: tuple[RankedItem, ...] = ()
    model: ServedBy = ServedBy()
    variants: dict[str, str] = {}
    degraded: str | None = None
    timings_ms: dict[str, float] = {}
    error: ReplyError | None = None


# --- served slates and labelled examples ----------------------------------------------------------


class ServedItem(Record, frozen=True, kw_only=True):
    """A place of a slate with everything it was scored on, as served.

    `features` holds null where a number was missing (NaN in memory: JSON has none). `category` and
    `creator_id` are the item's at that moment, so that nobody has to guess them later.
    `logits` are the ranker's, `adjusted` the online model's: what was believed before any outcome.
    """

    item_id: Id
    position: Position
    features: tuple[float | None, ...]
    logits: dict[str, float]
    score: float
    propensity: float
    category: Id | None = None
    creator_id: Id | None = None
    adjusted: dict[str, float] = {}


class Candidate(Record, frozen=True, kw_only=True):
    """One of a request's candidates, drawn evenly among all, on the slate or not, as it was scored."""

    item_id: Id
    features: tuple[float | None, ...]
    category: Id | None = None
    creator_id: Id | None = None


class Served(Record, frozen=True, kw_only=True):
    """A slate as it went out: the left side of every join with feedback. `candidates` are a small sample."""

    request_id: Id
    user_id: Id
    ts_ms: Millis
    columns: str
    slate: tuple[ServedItem, ...]
    session_id: Id | None = None
    surface: Id = "default"
    query: Text | None = None
    context: Context = {}
    variants: dict[str, str] = {}
    model: ServedBy = ServedBy()
    history: Annotated[tuple[Id, ...], Meta(max_length=MAX_HISTORY)] = ()
    candidates: tuple[Candidate, ...] = ()


class Labels(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Outcomes of one impression; None means not yet known."""

    click: bool | None = None
    long_view: bool | None = None
    watch_ms: Duration | None = None
    completion: float | None = None
    like: bool | None = None
    hide: bool | None = None
    share: bool | None = None


class Example(Record, frozen=True, kw_only=True):
    """One impressed place of a slate with its labels; the highest `revision` counts."""

    example_id: Id
    revision: Annotated[int, Meta(ge=1, le=2**53)]
    request_id: Id
    user_id: Id
    item_id: Id
    ts_ms: Millis
    position: Position
    columns: str
    features: tuple[float | None, ...]
    logits: dict[str, float]
    score: float
    labels: Labels
    category: Id | None = None
    creator_id: Id | None = None
    adjusted: dict[str, float] = {}
    session_id: Id | None = None
    surface: Id = "default"
    query: Text | None = None
    context: Context = {}
    history: tuple[Id, ...] = ()
    weight: Annotated[float, Meta(ge=0.0)] = 1.0
    propensity: float = 1.0
    variants: dict[str, str] = {}
    model: ServedBy = ServedBy()


# --- monitoring, models, people -------------------------------------------------------------------


class Window(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A span of event time, `from_ms` inclusive, `to_ms` exclusive, and its row count."""

    from_ms: Millis
    to_ms: Millis
    rows: Annotated[int, Meta(ge=0, le=2**53)]


class DriftReport(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The verdict on one feature in one window by one method."""

    ts_ms: Millis
    window: Window
    surface: str
    model: str | None
    feature: Id
    method: Literal["psi", "ks", "chi2", "adwin", "calibration", "seasonal", "missing", "range"]
    score: float | None
    threshold: float | None
    state: DriftState
    rows_of: Literal["candidates"] | msgspec.UnsetType = msgspec.UNSET  # not set: of slates


class RetrainTrigger(Record, frozen=True, kw_only=True):
    """A request to train. The same `trigger_id` is answered once."""

    trigger_id: Id
    ts_ms: Millis
    reason: Id
    model: str | None = None
    evidence: tuple[str, ...] = ()


class ModelRecord(Record, frozen=True, kw_only=True):
    """One step in the life of a model version. Every step stays on the topic."""

    version: Id
    ts_ms: Millis
    state: ModelState
    trigger_id: Id | None = None
    uri: str | None = None
    sha256: str | None = None
    columns: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()  # of the columns, in their order; empty: not known
    metrics: dict[str, float] = {}
    reasons: tuple[str, ...] = ()


class Alert(Record, frozen=True, kw_only=True):
    """A condition that starts or ends; `fingerprint` is the same for both."""

    fingerprint: Id
    ts_ms: Millis
    status: Literal["firing", "resolved"]
    severity: Literal["info", "warning", "critical"]
    summary: Text
    labels: dict[str, str] = {}


class Flagged(Record, frozen=True, kw_only=True):
    """The event with this id does not teach: why, and how far beyond its limit the worst value lies."""

    event_id: Id
    user_id: Id
    ts_ms: Millis
    topic: Id
    reason: Id
    severity: Annotated[float, Meta(ge=0.0, le=3.4e38)] = 1.0
    item_id: Id | None = None
    session_id: Id | None = None
    request_id: Id | None = None


class Forgotten(Record, frozen=True, kw_only=True):
    """The user asked to be forgotten at `ts_ms`."""

    user_id: Id
    ts_ms: Millis


# --- topics -----------------------------------------------------------------------------------------

KIB = 1_024
MIB = 1_024 * KIB
MINUTES, DAYS, WEEKS, MONTHS = 600_000, 3 * DAY_MS, 28 * DAY_MS, 365 * DAY_MS


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table of topics. `key` is the record's field that keys its messages."""

    name: str
    record: type[Record]
    key: str
    retention_ms: int
    max_bytes: int = MIB
    compacted: bool = False
    batched: bool = False  # a message value may be an array of records
    single: bool = False  # one partition, for a total order
    wall_checked: bool = False  # a time far ahead of the wall clock is refused


def _event(name: str, record: type[Event]) -> Topic:
    return Topic(
        name=name,
        record=record,
        key="user_id",
        retention_ms=DAYS,
        max_bytes=64 * KIB,
        batched=True,
        wall_checked=True,
    )


IMPRESSIONS = _event("events.impressions", Impression)
CLICKS = _event("events.clicks", Click)
WATCHES = _event("events.watches", Watch)
FEEDBACK = _event("events.feedback", Feedback)
ITEMS = Topic(name="items", record=Item, key="item_id", retention_ms=-1, compacted=True)
REQUESTS = Topic(
    name="rank.requests",
    record=RankRequest,
    key="user_id",
    retention_ms=MINUTES,
    max_bytes=64 * KIB,
    wall_checked=True,
)
REPLIES = Topic(name="rank.replies", record=RankReply, key="user_id", retention_ms=MINUTES)
SERVED = Topic(name="served", record=Served, key="user_id", retention_ms=WEEKS)
EXAMPLES = Topic(name="examples", record=Example, key="user_id", retention_ms=WEEKS, single=True)
DRIFT = Topic(name="drift.reports", record=DriftReport, key="feature", retention_ms=DAYS)
TRIGGERS = Topic(
    name="retrain.triggers", record=RetrainTrigger, key="reason", retention_ms=MONTHS, single=True
)
MODELS = Topic(name="models", record=ModelRecord, key="version", retention_ms=MONTHS, single=True)
ALERTS = Topic(name="alerts", record=Alert, key="fingerprint", retention_ms=DAYS)
FLAGGED = Topic(name="events.flagged", record=Flagged, key="user_id", retention_ms=DAYS)
FORGOTTEN = Topic(name="users.forgotten", record=Forgotten, key="user_id", retention_ms=-1, compacted=True)

EVENT_TOPICS = (IMPRESSIONS, CLICKS, WATCHES, FEEDBACK)
TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        *EVENT_TOPICS,
        ITEMS,
        REQUESTS,
        REPLIES,
        SERVED,
        EXAMPLES,
        DRIFT,
        TRIGGERS,
        MODELS,
        ALERTS,
        FLAGGED,
        FORGOTTEN,
    )
}


def dead_letter(topic: str) -> str:
    """Name of the topic that keeps what could not be read from `topic`."""
    return f"{topic}.DLT"


def late(topic: str) -> str:
    """Name of the topic that keeps events older than the repeat window."""
    return f"{topic}.late"


# --- headers ------------------------------------------------------------------------------------------

CORRELATION_ID = "kafka_correlationId"
REPLY_TOPIC = "kafka_replyTopic"
REPLY_PARTITION = "kafka_replyPartition"
DEADLINE_MS = "x-deadline-ms"
TIMEOUT_MS = "x-timeout-ms"
ERROR = "x-error"
TRACEPARENT = "traceparent"
DEFAULT_TIMEOUT_MS = 1_000
WATERMARK_MS = "x-watermark-ms"  # on an empty value of events.* or served: nothing older follows here

HEADS = ("click", "long_view", "completion")  # the objectives learned, in the order of every [n, heads]
SHARES = frozenset({"completion"})  # of these: a label is a share in [0, 1] and its chance the share expected
