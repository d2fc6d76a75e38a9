"""An HTTP server that is as strict about Grafana's API as Grafana is: token, paths, payloads, versions."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

DASHBOARD_KEYS = {"dashboard", "folderUid", "folderId", "message", "overwrite"}
ANNOTATION_KEYS = {"dashboardUID", "dashboardId", "panelId", "time", "timeEnd", "tags", "text"}
MOST_TAG_LENGTH = 100


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, code: int, **body: Any) -> None:
        super().__init__(code)
        self.status, self.body = code, body


class StrictGrafana:
    """Folders, dashboards and annotations in memory, over HTTP. `fail` answers everything by that status."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}  # uid -> dashboard, folder
        self.annotations: list[dict[str, Any]] = []
        self.writes = 0
        self.fail: tuple[int, bytes] | None = None
        self.meddle = False  # somebody saves a dashboard between a look and a write
        grafana = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                grafana._answer(self, None)

            def do_POST(self) -> None:
                grafana._answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "StrictGrafana":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes | None) -> None:
        try:
            status, told = 200, self._route(request, body)
        except Refusal as refusal:
            status, told = refusal.status, refusal.body
        raw = told if isinstance(told, bytes) else json.dumps(told).encode()
        request.send_response(status)
        request.send_header("Content-Type", "text/html" if isinstance(told, bytes) else "application/json")
        request.send_header("Content-Length", str(len(raw)))
        request.end_headers()
        request.wfile.write(raw)

    def _route(self, request: BaseHTTPRequestHandler, body: bytes | None) -> Any:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise Refusal(401, message="Invalid API key", statusCode=401)
        if self.fail is not None:
            raise Refusal(self.fail[0], message=self.fail[1].decode())
        url = urlsplit(request.path)
        if body is None:
            return self._get(url.path, parse_qs(url.query))
        if not request.headers.get("Content-Type", "").startswith("application/json"):
            raise Refusal(415, message="unsupported media type")
        self.writes += 1
        given = json.loads(body)
        routes = {
            "/api/folders": self._folder,
            "/api/dashboards/db": self._save,
            "/api/annotations": self._mark,
        }
        if url.path not in routes:
            raise Refusal(404, message="Not found")
        return routes[url.path](given)

    def _get(self, path: str, query: dict[str, list[str]]) -> Any:
        if path == "/api/annotations":
            return self._find(query)
        if (found := re.fullmatch(r"/api/folders/([\w-]+)", path)) and found[1] in self.folders:
            return {"uid": found[1], "title": self.folders[found[1]]}
        if (found := re.fullmatch(r"/api/dashboards/uid/([\w-]+)", path)) and found[1] in self.dashboards:
            held = self.dashboards[found[1]]
            told = json.loads(json.dumps(held))
            if self.meddle:
                held["dashboard"]["version"] += 1
            meta = {"folderUid": told["folder"], "url": f"/d/{found[1]}/x", "provisioned": False}
            return {"dashboard": told["dashboard"], "meta": meta}
        raise Refusal(404, message="not found")

    def _folder(self, given: dict[str, Any]) -> Any:
        if not given.get("title") or not re.fullmatch(r"[\w-]{1,40}", given.get("uid", "")):
            raise Refusal(400, message="folder title and a valid uid are needed")
        if given["uid"] in self.folders:
            raise Refusal(412, message="a folder with that uid exists", status="name-exists")
        self.folders[given["uid"]] = given["title"]
        return {"uid": given["uid"], "title": given["title"]}

    def _save(self, given: dict[str, Any]) -> Any:
        board = given.get("dashboard")
        if not isinstance(board, dict) or set(given) - DASHBOARD_KEYS:
            raise Refusal(400, message=f"bad request data: {sorted(set(given) - DASHBOARD_KEYS)}")
        if given.get("folderUid") not in self.folders:
            raise Refusal(400, message="folder not found")
        check_dashboard(board)
        held, overwrite = self.dashboards.get(board["uid"]), given.get("overwrite") is True
        version = held["dashboard"]["version"] if held else 0
        if held and not overwrite and board.get("version") != version:
            said = "The dashboard has been changed by someone else"
            raise Refusal(412, message=said, status="version-mismatch")
        number = held["dashboard"]["id"] if held else len(self.dashboards) + 1
        stored = board | {"id": number, "version": version + 1}
        self.dashboards[board["uid"]] = {"dashboard": stored, "folder": given["folderUid"]}
        return {"id": number, "uid": board["uid"], "url": f"/d/{board['uid']}/x", "status": "success",
                "version": version + 1}  # fmt: skip

    def _mark(self, given: dict[str, Any]) -> Any:
        if set(given) - ANNOTATION_KEYS or not given.get("text"):
            raise Refusal(400, message="bad request data")
        end = given.get("timeEnd")
        if not isinstance(given.get("time"), int) or not (end is None or end >= given["time"]):
            raise Refusal(400, message="bad times")
        if not all(isinstance(tag, str) and 0 < len(tag) <= MOST_TAG_LENGTH for tag in given["tags"]):
            raise Refusal(400, message="bad tags")
        self.annotations.append(given | {"id": len(self.annotations) + 1})
        return {"id": len(self.annotations), "message": "Annotation added"}

    def _find(self, query: dict[str, list[str]]) -> Any:
        known = {"from", "to", "tags", "limit"}
        if set(query) - known:
            raise Refusal(400, message=f"unknown parameter {sorted(set(query) - known)}")
        first, last = (
            int(query.get(name, [default])[0]) for name, default in (("from", "0"), ("to", "1" * 14))
        )
        found = [
            each
            for each in self.annotations
            if set(query.get("tags", ())) <= set(each["tags"]) and first <= each["time"] <= last
        ]
        newest = sorted(found, key=lambda each: -each["time"])
        return newest[: int(query.get("limit", ["100"])[0])]


def check_dashboard(board: dict[str, Any]) -> None:
    """Refuses what Grafana would not store, or not draw."""
    if board.get("id") is not None:
        raise Refusal(404, message="Dashboard not found")  # ids are the server's own
    if not board.get("title") or not re.fullmatch(r"[\w-]{1,40}", board.get("uid", "")):
        raise Refusal(400, message="Dashboard title cannot be empty")
    if not isinstance(board.get("schemaVersion"), int) or not isinstance(board.get("panels"), list):
        raise Refusal(400, message="not a dashboard")
    ids = [panel.get("id") for panel in board["panels"]]
    if None in ids or len(set(ids)) != len(ids):
        raise Refusal(400, message="panel ids are not unique")
    for panel in board["panels"]:
        at = panel["gridPos"]
        if not (at["x"] >= 0 and at["w"] > 0 and at["h"] > 0 and at["x"] + at["w"] <= 24):
            raise Refusal(400, message=f"panel {panel['id']} is off the grid")
        if panel["type"] != "row" and not all(t["refId"] and t["expr"] for t in panel["targets"]):
            raise Refusal(400, message=f"panel {panel['id']} asks nothing")
