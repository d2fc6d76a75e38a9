"""A Prometheus beside `streamrec up`: its configuration, and where the roles listen just now."""

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Scraping", "configuration"]

SHIPPED = Path(__file__).parents[1] / "prometheus"


def configuration(targets: Path, alertmanager: str = "127.0.0.1:9093") -> str:
    """The shipped prometheus.yml with the rules where they are, and targets from `targets`."""
    shipped = (SHIPPED / "prometheus.yml").read_text()
    places = {
        "[rules/*.yml]": json.dumps([str(SHIPPED / "rules" / "*.yml")]),
        "[targets/*.json]": json.dumps([str(targets)]),
        '["alertmanager:9093"]': json.dumps([alertmanager]),
    }
    for shipped_place, place in places.items():
        shipped = shipped.replace(shipped_place, place)
    return shipped


class Scraping:
    """Keeps `prometheus/prometheus.yml` and `prometheus/targets.json` in the state folder."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "prometheus"
        self._targets = self._folder / "targets.json"
        self._told: dict[str, str] | None = None

    def begin(self) -> None:
        """Writes the configuration, with no target yet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "prometheus.yml").write_text(configuration(self._targets.absolute()))
        self.tell({})

    def tell(self, places: Mapping[str, str]) -> None:
        """Takes `host:port` by role; a change is written at once and whole. Prometheus sees it by itself."""
        if places == self._told:
            return
        self._told = dict(places)
        groups = [{"targets": [place], "labels": {"role": role}} for role, place in sorted(places.items())]
        part = self._targets.with_suffix(".part")
        part.write_text(json.dumps(groups))
        part.replace(self._targets)
