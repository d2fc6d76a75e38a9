"""The roles, each a process of its own, and where each one starts."""

import importlib
import threading

import msgspec

from streams.edge.health import Health, serve
from streams.settings import Settings

__all__ = ["ROLES", "Role", "run_role"]


class Role(msgspec.Struct, frozen=True):
    """A role's name, the module whose `run(settings, health, stop)` it is, and what it does."""

    name: str
    module: str
    does: str


ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        Role("features", "streams.fold.feature_agent", "folds events into online features in Redis"),
        Role("labels", "streams.labels.label_agent", "joins served slates with feedback into examples"),
        Role("archive", "streams.archive.archive_agent", "keeps events and examples as hourly Parquet"),
        Role("learner", "models.learning.learner", "trains the online models on examples"),
        Role("embedder", "models.vectors.embedder", "turns items into vectors, by the champion's item tower"),
        Role("scorer", "models.serving.scorer", "answers requests with slates"),
        Role("trainer", "models.training.trainer", "trains, gates and publishes model versions"),
        Role("monitor", "monitors.monitor", "judges drift and asks for retraining"),
        Role(
            "alerts",
            "monitors.alerts.role",
            "tells receivers of alerts; keeps malformed replies, reports, alerts",
        ),
    )
}


def run_role(name: str, settings: Settings, stop: threading.Event) -> None:
    """Runs one role in this process until `stop` is set.

    Raises:
        KafkaRefused: the broker does not let us in.
    """
    from streams.kafka import require_admission

    role = ROLES[name]
    require_admission(settings)
    health = Health(name)
    port = serve(health, settings.http_host, settings.http_port)
    print(f"{name}: metrics on http://{settings.http_host}:{port}/metrics", flush=True)
    importlib.import_module(role.module).run(settings, health, stop)
