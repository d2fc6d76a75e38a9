"""Dashboards and annotations into a running Grafana; only home of grafana_client.

Both are idempotent: what is there already is left alone.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
from grafana_client import GrafanaApi, TokenAuth
from grafana_client.client import GrafanaClientError, GrafanaException

from monitors.dashboards.marks import TAG, Mark
from streams.errors import GrafanaFailed

__all__ = ["Grafana", "Pushed", "folder_uid"]

T = TypeVar("T")
MOST_ANNOTATIONS = 5_000  # asked for at once
TIMEOUT_S = 10.0
HINTS = {
    401: "is the token right, and not expired (--token-file)?",
    403: "the token's service account may not do this: it needs the role Editor",
    412: "somebody changed it since; push again, or with --overwrite",
}


class Pushed(msgspec.Struct, frozen=True):
    """What became of one dashboard."""

    uid: str
    outcome: Literal["created", "updated", "unchanged"]
    url: str


def folder_uid(title: str) -> str:
    """A folder's uid by its title: at most 40 characters, as Grafana asks.

    >>> folder_uid("My team: Recommender")
    'my-team-recommender'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "streamrec"


class Grafana:
    """A Grafana at `url`, as the owner of a service account's token.

    Every method raises GrafanaFailed, one line, where Grafana refuses or does not answer.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._api = GrafanaApi.from_url(self._url, credential=TokenAuth(token), timeout=TIMEOUT_S)

    def push(
        self, dashboards: Iterable[Mapping[str, Any]], folder: str, overwrite: bool = False
    ) -> list[Pushed]:
        """Makes the folder and what is missing in it, and updates what differs.

        Without `overwrite`, one that somebody saves between our look and our write is left alone: 412.
        """
        where = self._folder(folder)
        return [self._put(dict(dashboard), where, overwrite) for dashboard in dashboards]

    def annotate(self, marks: Sequence[Mark]) -> int:
        """Posts the marks that are not there yet; returns how many that were."""
        if not marks:
            return 0
        first, last = min(mark.from_ms for mark in marks), max(mark.from_ms for mark in marks)
        known = self._known(time_from=first - 1, time_to=last + 1, tags=[TAG], limit=MOST_ANNOTATIONS)
        posted = 0
        for mark in marks:
            # beyond the most that one answer holds, each is asked for by itself
            if mark.name in known or self._known(tags=[mark.name], limit=1):
                continue
            self._call(
                f"annotation {mark.name}",
                self._api.annotations.add_annotation,
                time_from=mark.from_ms,
                time_to=mark.until_ms,
                tags=list(mark.tags),
                text=mark.text,
            )
            posted += 1
        return posted

    def _known(self, **asked: Any) -> set[str]:
        found = self._call("annotations", self._api.annotations.find_annotations, **asked)
        return {tag for annotation in found for tag in annotation.get("tags") or ()}

    def _folder(self, title: str) -> str:
        uid = folder_uid(title)
        if self._unless_missing(f"folder {title}", self._api.folder.get_folder, uid) is None:
            self._call(f"folder {title}", self._api.folder.create_folder, title, uid)
        return uid

    def _put(self, dashboard: dict[str, Any], folder: str, overwrite: bool) -> Pushed:
        uid = dashboard["uid"]
        what = f"dashboard {uid}"
        there = self._unless_missing(what, self._api.dashboard.get_dashboard, uid)
        if there is not None and _same(dashboard, there, folder):
            return Pushed(uid, "unchanged", self._link(there["meta"]))
        version = there["dashboard"].get("version", 0) if there is not None else 0
        payload = {
            "dashboard": dashboard | {"id": None, "version": version},
            "folderUid": folder,
            "message": "streamrec dashboards push",
            "overwrite": overwrite,
        }
        answer = self._call(what, self._api.dashboard.update_dashboard, payload)
        return Pushed(uid, "created" if there is None else "updated", self._link(answer))

    def _link(self, answer: Mapping[str, Any]) -> str:
        path = str(answer.get("url", ""))
        root = re.match(r"https?://[^/]+", self._url)
        return f"{root[0] if root else ''}{path}"

    # --- calls --------------------------------------------------------------------------------------

    def _unless_missing(self, what: str, call: Callable[..., T], *args: Any) -> T | None:
        """The answer, or None on 404."""
        try:
            return self._call(what, call, *args)
        except GrafanaFailed as error:
            if isinstance(error.__cause__, GrafanaClientError) and error.__cause__.status_code == 404:
                return None
            raise

    def _call(self, what: str, call: Callable[..., T], *args: Any, **named: Any) -> T:
        try:
            return call(*args, **named)
        except GrafanaException as error:
            said = error.response.get("message") if isinstance(error.response, dict) else None
            hint = HINTS.get(error.status_code, "")
            status = f"{error.status_code} " if error.status_code else ""
            line = f"{self._url}: {what}: {status}{_one_line(said or error.message)}"
            raise GrafanaFailed(f"{line}; {hint}" if hint else line) from error
        except (OSError, ValueError) as error:  # no connection, or an answer that is no JSON
            raise GrafanaFailed(f"{self._url}: {what}: {_one_line(error)}") from error


def _same(ours: Mapping[str, Any], there: Mapping[str, Any], folder: str) -> bool:
    """True if Grafana holds this dashboard in this folder; it adds fields of its own, such as `id`."""
    held = there["dashboard"]
    return there["meta"].get("folderUid") == folder and all(held.get(name) == ours[name] for name in ours)


def _one_line(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= 200 else f"{line[:200]}…"
