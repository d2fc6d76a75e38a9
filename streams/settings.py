"""One frozen `Settings`, read from `STREAMREC_*` once, in main, and passed on as an argument."""

import os
import ssl
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.errors import OperatorError
from streams.redis_address import is_loopback, redis_address
from streams.surfaces import NO_RULES, QUOTAS, Quotas, Ratio, Surface, Weights

__all__ = ["Settings", "cache_folder", "read_settings", "unencrypted"]

PREFIX = "STREAMREC_"


class Settings(BaseSettings):
    """Every setting with its default; the environment variable is `STREAMREC_` and the name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    # where things are
    kafka: str = Field("127.0.0.1:9092", description="bootstrap servers, host:port[,host:port]")
    redis: str = Field(
        "redis://127.0.0.1:6379/0",
        repr=False,  # it may hold a password
        description="redis[s]://[user:password@]host:port/database, or redis[s]-cluster://host:port[,host:port]",
    )
    state: Path = Field(Path(platformdirs.user_state_dir("streamrec")), description="folder of local state")
    archive: str = Field("", description="fsspec URL of the archive; empty: in the state folder")
    models: str = Field("", description="fsspec URL of model versions; empty: in the state folder")

    # names
    topic_prefix: str = Field("", pattern=r"^[A-Za-z0-9_.\-]{0,100}$", description="before each topic")
    namespace: str = Field(
        "streamrec", pattern=r"^[A-Za-z0-9_.\-]{1,64}$", description="prefix of Redis keys and groups"
    )
    kafka_group_protocol: Literal["classic", "consumer"] = Field(
        "classic", description="of readers in groups; consumer: KIP-848, where the broker has it"
    )
    kafka_epoch: str = Field("", description="overrides the cluster's id in the names of fences")
    reply_prefix: str = Field(
        "rank.replies", description="only reply topics that start so (after topic_prefix) are honoured"
    )

    # security
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = "PLAINTEXT"
    kafka_ca: Path | None = Field(None, description="PEM file of the broker's authority")
    kafka_cert: Path | None = Field(None, description="PEM file of the client's certificate")
    kafka_cert_key: Path | None = Field(None, description="PEM file of the client's key")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    redis_username: str | None = None
    redis_password: SecretStr | None = None
    redis_ca: Path | None = Field(None, description="PEM file of Redis's authority (rediss)")
    redis_cert: Path | None = Field(None, description="PEM file of the client's certificate (rediss)")
    redis_cert_key: Path | None = Field(None, description="PEM file of the client's key (rediss)")

    # topics
    partitions: int = Field(4, ge=1, le=1_000, description="per topic, but for ordered ones")
    replication: int = Field(1, ge=1, le=9, description="copies of each partition")

    # each role's own small HTTP server
    http_host: str = Field("127.0.0.1", description="where /metrics, /healthz and /readyz listen")
    http_port: int = Field(0, ge=0, le=65_535, description="0: a free port")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    stall_s: float = Field(60.0, gt=0, description="lag without progress for so long ends a worker")

    # labels
    label_window_ms: int = Field(600_000, ge=1_000, description="event time after a slate when labels close")
    label_grace_ms: int = Field(
        1_800_000, ge=0, description="event time after closing in which late feedback corrects a label"
    )
    idle_partition_ms: int = Field(
        10_000, ge=100, description="wall time without a record after which a partition is idle"
    )

    # traffic that should not teach
    trust: bool = Field(False, description="flag bots and click fraud; what is flagged does not teach")
    trust_allowed: str = Field("", description="users never flagged, comma-separated: a person has decided")

    # serving
    latency_budget_ms: float = Field(100.0, gt=0, description="by it the funnel steps down")
    max_waiting: int = Field(500, ge=1, description="requests waiting before OVERLOADED")
    mirror_rows: int = Field(
        2_000_000,
        ge=0,
        description="items, and creators, whose features a scorer keeps in memory, 0.3 KiB each; 0: none",
    )
    candidates: int = Field(300, ge=1, le=1_000, description="retrieved for one request")
    quotas: Quotas = Field(
        dict(QUOTAS), description="JSON: share of the candidates by source; popular fills what is left"
    )
    surfaces: dict[str, Surface] = Field(
        {}, description="JSON: quotas, weights, popularity and rules of single surfaces, by name"
    )
    provider: Literal["cpu", "cuda"] = Field("cpu", description="where ONNX Runtime runs the ranker")
    candidate_sample: int = Field(
        2, ge=0, le=20, description="candidates logged with each slate, drawn evenly"
    )
    ranker_int8: bool = Field(False, description="rank in 8 bits where a version kept the graph for it")
    exploration: Ratio = Field(0.1, description="share of slates that explore")
    experiments: Path | None = Field(None, description="TOML file of A/B experiments; none: no experiments")
    precomputed_s: int = Field(86_400, ge=1, description="wall time that precomputed slates are kept")
    traces_per_s: float = Field(50.0, ge=0, le=1_000, description="slates a scorer traces; 0: none")
    diversity: Ratio = Field(0.1, description="weight of unlikeness against score; 0: by score alone")
    creator_share: Ratio = Field(0.2, description="of a slate that one creator may take, rounded up")
    category_share: Ratio = Field(0.4, description="of a slate that one category may take, rounded up")
    clickbait_penalty: Ratio = Field(0.5, description="share of the score that clickbait loses")
    sponsored_positions: str = Field("2,7", description="positions that may be sold, from 0; empty: none")
    sponsored_floor: Ratio = Field(0.5, description="share of the best score that a paid item must reach")
    source_places: str = Field("", description="SOURCE:POSITION,..: positions kept for a source, from 0")
    click_weight: float = Field(1.0, ge=0)
    long_view_weight: float = Field(1.0, ge=0)
    completion_weight: float = Field(0.0, ge=0, description="of the share of an item that is watched")
    query_watch_ratio: float = Field(
        0.0, ge=0, description="of the weights of watching (all but the click's), where a query asks"
    )

    # learning
    bootstrap_rows: int = Field(3_000, ge=100, description="labelled examples before the first model")
    online_model: Literal["ftrl", "fm", "ucb"] = Field(
        "ftrl", description="what learns online: regression, factorisation machine, bandit"
    )
    train_window_ms: int = Field(14 * 86_400_000, ge=60_000, description="event time trained on")
    train_rows: int = Field(1_000_000, ge=1_000, description="newest examples trained on, at the most")
    train_weights: Weights = Field(
        {}, description="JSON: what an objective's loss counts in training; 1 where it is not named"
    )
    train_seed: int = 0
    publish_ms: int = Field(500, ge=50, description="pause between two publications of weights")
    archive_flush_ms: int = Field(5_000, ge=100, description="pause between two Parquet files")
    archive_compact_ms: int = Field(600_000, ge=1_000, description="pause between two compactions of them")

    # monitoring
    served_check_share: Ratio = Field(0.02, description="users whose served rows are rebuilt; 0: nobody's")
    served_check_ms: int = Field(30_000, ge=100, description="pause between two looks at served rows")
    drift_window_rows: int = Field(5_000, ge=5_000, description="rows of a drift window, at the least")
    drift_window_ms: int = Field(30_000, ge=1_000, description="event time of a drift window")
    retrain_cooldown_ms: int = Field(600_000, ge=0, description="wall time between two triggers")
    retrain_per_day: int = Field(24, ge=1)
    retrain_every_ms: int = Field(0, ge=0, description="wall time after which a champion is old; 0: never")
    retrain_rows: int = Field(0, ge=0, description="new examples after which to retrain; 0: never")
    alert_receivers: Path | None = Field(None, description="TOML file of who is told of alerts; none: nobody")

    @field_validator("redis")
    @classmethod
    def _is_redis(cls, url: str) -> str:
        redis_address(url)
        return url

    @model_validator(mode="after")
    def _whole(self) -> "Settings":
        """Refuses half-set groups; each message names the environment variable to set."""
        self._whole_sasl()
        self._whole_redis_user()
        for part in ("kafka", "redis"):
            self._whole_tls(part)
        return self

    def _whole_sasl(self) -> None:
        if self.kafka_security.startswith("SASL"):
            for name in ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password"):
                if not getattr(self, name):
                    raise ValueError(
                        f"{_env(name)}: required with {_env('kafka_security')}={self.kafka_security}"
                    )
        elif self.kafka_sasl_mechanism or self.kafka_sasl_username or self.kafka_sasl_password:
            expected = "expected SASL_SSL or SASL_PLAINTEXT with a SASL user"
            raise ValueError(f"{_env('kafka_security')}: {expected}, got {self.kafka_security}")
        if self.kafka_security == "SASL_PLAINTEXT" and not _all_loopback(self.kafka):
            raise ValueError(f"{_env('kafka_security')}: SASL_PLAINTEXT would send a password in the clear")

    def _whole_redis_user(self) -> None:
        address = redis_address(self.redis)
        password = self.redis_password and self.redis_password.get_secret_value()
        for name, own, other in (
            ("redis_username", self.redis_username, address.username),
            ("redis_password", password, address.password),
        ):
            if own and other:
                raise ValueError(f"{_env(name)}: given twice, here and in {_env('redis')}")
        if (self.redis_username or address.username) and not (password or address.password):
            raise ValueError(f"{_env('redis_password')}: required with {_env('redis_username')}")
        if (password or address.password) and not address.tls and not address.local:
            raise ValueError(f"{_env('redis')}: {address!r} would send a password in the clear; use rediss")

    def _whole_tls(self, part: str) -> None:
        ca, cert, key = f"{part}_ca", f"{part}_cert", f"{part}_cert_key"
        if (getattr(self, cert) is None) != (getattr(self, key) is None):
            unset, given = (cert, key)[:: 1 if getattr(self, cert) is None else -1]
            raise ValueError(f"{_env(unset)}: required with {_env(given)}")
        given_files = [name for name in (ca, cert, key) if getattr(self, name) is not None]
        for name in given_files:
            if not getattr(self, name).is_file():
                raise ValueError(f"{_env(name)}: no such file: {getattr(self, name)}")
        if given_files and not self._encrypted(part):
            switch = "kafka_security" if part == "kafka" else "redis"
            wanted = "SSL or SASL_SSL" if part == "kafka" else "rediss:// or rediss-cluster://"
            raise ValueError(f"{_env(switch)}: expected {wanted} with {_env(given_files[0])}")
        _try_tls_files(*((_env(name), getattr(self, name)) for name in (ca, cert, key)))

    def _encrypted(self, part: str) -> bool:
        """Whether connections to `kafka` or `redis` are encrypted."""
        if part == "kafka":
            return self.kafka_security in ("SSL", "SASL_SSL")
        return redis_address(self.redis).tls

    def of_surface(self, name: str) -> Surface:
        """What holds on a surface beside the settings for all."""
        return self.surfaces.get(name, NO_RULES)

    @property
    def archive_url(self) -> str:
        """Where Parquet goes: the setting, or `archive` in the state folder."""
        return self.archive or str(self.state / "archive")

    @property
    def models_url(self) -> str:
        """Where model versions go: the setting, or `models` in the state folder."""
        return self.models or str(self.state / "models")


def _env(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def _all_loopback(servers: str) -> bool:
    hosts = [server.strip().rpartition(":")[0].strip("[]") for server in servers.split(",")]
    return all(is_loopback(host) for host in hosts)


def _try_tls_files(*files: tuple[str, Path | None]) -> None:
    """Loads them once, so that a wrong one is named here rather than by each client in its own way."""
    (ca_name, ca), (cert_name, cert), (key_name, key) = files
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca is not None:
            context.load_verify_locations(ca)
    except (OSError, ssl.SSLError):
        raise ValueError(f"{ca_name}: not a readable PEM file of certificates: {ca}") from None
    try:
        if cert is not None:
            context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ssl.SSLError):
        expected = f"expected a PEM certificate and, in {key_name}, its unencrypted key"
        raise ValueError(f"{cert_name}: {expected}: {cert}") from None


def cache_folder() -> Path:
    """Where that is kept which can be made again: `STREAMREC_CACHE`, or the platform's folder for it."""
    return Path(os.environ.get(f"{PREFIX}CACHE") or platformdirs.user_cache_dir("streamrec"))


def unencrypted(settings: Settings) -> list[str]:
    """A line for each neighbour on another machine that is reached without TLS: allowed, and to be said."""
    out = []
    if settings.kafka_security == "PLAINTEXT" and not _all_loopback(settings.kafka):
        out.append(f"Kafka at {settings.kafka} is reached unencrypted ({_env('kafka_security')})")
    address = redis_address(settings.redis)
    if not address.tls and not address.local:
        out.append(f"Redis at {address!r} is reached unencrypted ({_env('redis')})")
    return out


def read_settings(**overrides: Any) -> Settings:
    """Settings from the environment, with `overrides` that are not None on top.

    Raises:
        OperatorError: one line naming the setting, what was expected and what was got.
    """
    try:
        return Settings(**{k: v for k, v in overrides.items() if v is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # of the whole, and says itself which
            raise OperatorError(message) from None
        name = _env(str(first["loc"][0]))
        got = "" if "PASSWORD" in name or "REDIS" in name else f", got {first['input']!r}"
        raise OperatorError(f"{name}: {message}{got}") from None
