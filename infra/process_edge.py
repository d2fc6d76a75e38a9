"""What every process of the system does at its edges: logging, signals, last metrics, exit code."""

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from logging.handlers import RotatingFileHandler
from pathlib import Path

from prometheus_client import generate_latest

from infra.local.processes import end_with_parent
from streams.errors import StreamrecError
from streams.metrics import BUILD
from streams.settings import Settings, unencrypted

__all__ = ["LAST_METRICS", "configure_logging", "in_process", "one_thread", "stop_on_signals"]

LAST_METRICS = "STREAMREC_LAST_METRICS"  # a file that gets the final metrics of a clean stop

log = logging.getLogger(__name__)


def configure_logging(level: str, path: Path | None = None) -> None:
    """Logs to standard error, or to a bounded file; one line an entry, UTC; libraries from WARNING on."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=4_000_000, backupCount=1)
    form = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    form.converter = time.gmtime
    handler.setFormatter(form)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("streams", "models", "monitors", "infra"):
        logging.getLogger(name).setLevel(level)


def stop_on_signals(stop: threading.Event) -> None:
    """SIGTERM and SIGINT set `stop`; a second SIGINT ends the process at once."""

    def asked(number: int, _: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            os._exit(130)
        stop.set()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)


def one_thread() -> None:
    """Has libraries that are imported from now on use one thread each, unless the environment says otherwise.

    The product scales by processes; threads of many of them would wait for each other on few cores.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def in_process(name: str, settings: Settings, work: Callable[[threading.Event], None]) -> None:
    """Runs `work(stop)` as this process's whole life and exits: 0, or 1 if it raised.

    Raises:
        StreamrecError: what `work` raised of our own errors; the command line makes it one line.
    """
    one_thread()
    configure_logging(settings.log_level)
    faulthandler.enable()
    end_with_parent()
    BUILD.info({"version": _version()})
    for line in unencrypted(settings):
        log.warning(line)
    stop = threading.Event()
    stop_on_signals(stop)
    try:
        work(stop)
    except StreamrecError:
        raise
    except Exception:
        log.exception("%s ended by an error", name)
        _leave(1)
    _write_last_metrics()
    _leave(0)


def _version() -> str:
    try:
        return version("streamrec")
    except PackageNotFoundError:
        return "0"


def _write_last_metrics() -> None:
    path = os.environ.get(LAST_METRICS)
    if path:
        Path(path).write_bytes(generate_latest())


def _leave(code: int) -> None:
    """Ends now: a library's thread that does not end must not keep a stopped role alive."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
