"""Prometheus and Alertmanager as real servers on the loopback, impatient copies of what is shipped."""

import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from infra.child import Child
from infra.local.scraping import SHIPPED, configuration
from infra.ports import free_ports

START_S = 20.0


class Receiver:
    """What Alertmanager's webhook gets; `alerts` in the order in which they were told."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.alerts += told["alerts"]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def told(self, name: str, status: str, **labels: str) -> list[dict[str, Any]]:
        """What came of an alert of that name, status and labels."""
        wanted = {"alertname": name, **labels}.items()
        return [a for a in self.alerts if a["status"] == status and wanted <= a["labels"].items()]

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()


class Monitoring:
    """Both servers. Rules wait for nothing (`for: 0s`), scrapes and evaluations come every half second."""

    def __init__(self, tools: Mapping[str, str], folder: Path, targets: Sequence[Path]) -> None:
        self._tools, self._folder, self._targets = tools, folder, targets
        self._stack = ExitStack()

    def __enter__(self) -> "Monitoring":
        port, manager_port = free_ports(2)
        self.url, self.manager_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{manager_port}"
        self._folder.mkdir(exist_ok=True)
        self.receiver = Receiver()
        self._stack.callback(self.receiver.close)
        with self._stack:
            manager = self._start(
                "prometheus-alertmanager",
                f"--config.file={self._alertmanager()}",
                f"--storage.path={self._folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{manager_port}",
                "--cluster.listen-address=",
            )
            prometheus = self._start(
                "prometheus",
                f"--config.file={self._prometheus(manager_port)}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            )
            for child, url in ((manager, self.manager_url), (prometheus, self.url)):
                child.wait_until(lambda url=url: answers(f"{url}/-/ready"), url, START_S)  # type: ignore[misc]
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stack.close()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series that an expression gives now; fails the test with Prometheus' words if it is wrong."""
        asked = urllib.parse.urlencode({"query": expr.replace("$__rate_interval", "1m")})
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?{asked}", timeout=10) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expr}: {error.read().decode()}") from None
        assert told["data"]["resultType"] == "vector"
        return list(told["data"]["result"])

    def _start(self, name: str, *options: str) -> Child:
        child = Child([self._tools[name], *options, "--log.level=warn"], self._folder / f"{name}.log")
        self._stack.callback(child.stop)
        return child

    def _prometheus(self, manager_port: int) -> Path:
        config = yaml.safe_load(configuration(Path("unused"), f"127.0.0.1:{manager_port}"))
        config["global"] = {
            "scrape_interval": "500ms",
            "scrape_timeout": "500ms",
            "evaluation_interval": "500ms",
        }
        (job,) = config["scrape_configs"]
        job["file_sd_configs"][0] |= {
            "files": [str(path) for path in self._targets],
            "refresh_interval": "1s",
        }
        config["rule_files"] = [str(self._folder / "rules" / "*.yml")]
        (self._folder / "rules").mkdir()
        for path in (SHIPPED / "rules").glob("*.yml"):
            rules = yaml.safe_load(path.read_text())
            for group in rules["groups"]:
                for rule in group["rules"]:
                    rule.pop("for", None)
            (self._folder / "rules" / path.name).write_text(yaml.safe_dump(rules))
        path = self._folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        return path

    def _alertmanager(self) -> Path:
        config = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text())
        for route in (config["route"], *config["route"]["routes"]):
            route |= {"group_wait": "0s", "group_interval": "1s"}
        config["receivers"][0]["webhook_configs"][0]["url"] = self.receiver.url
        path = self._folder / "alertmanager.yml"
        path.write_text(yaml.safe_dump(config))
        return path


def answers(url: str) -> bool:
    """Whether it answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
