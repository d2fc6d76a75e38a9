"""One `streamrec up` as a person sees it: signals, the table or plain lines, the verdict."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live

from infra.local.live import SPARK, Picture, line, table
from infra.local.readings import Numbers
from infra.local.stack import Stack, Wish
from infra.local.summary import Summary, require_writable, write
from infra.process_edge import stop_on_signals
from infra.screenshot import save_svg

__all__ = ["end_by_force", "run_session"]

log = logging.getLogger(__name__)

LINE_S = 5.0  # between two plain lines
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SAY_S = 0.5
STOPPED_S = 120.0  # from a wish to stop; each step of an orderly end has a bound, together some 100 s


class _Screen:
    """A live table on a terminal, else a plain line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = (
            Live(console=console, refresh_per_second=4, transient=False) if console.is_terminal else None
        )
        self._next_s = 0.0
        self._past: deque[Numbers] = deque(maxlen=SPARK)
        self.last: Picture | None = None  # of the system as it ran

    def opened(self) -> AbstractContextManager[object]:
        """The table's life; it stays on the screen when it ends."""
        return self._live or nullcontext()

    def draw(self, picture: Picture) -> None:
        """Shows the newest picture."""
        picture = msgspec.structs.replace(picture, past=tuple(self._past))
        self._past.append(picture.numbers)
        if not picture.doing:
            self.last = picture
        if self._live is not None:
            self._live.update(table(picture))
        elif (now_s := time.monotonic()) >= self._next_s:
            self._next_s = now_s + LINE_S
            print(line(picture), flush=True)


def end_by_force(after_s: float) -> None:
    """Ends this process, and all that it started, where it still runs `after_s` after a signal to end.

    Whatever holds it up: a pipe that nobody reads, or a client library's call on a neighbour that is gone.
    In such a call Python's own handlers do not run, so the signal is heard by a thread that waits for it.
    Call it in the main thread, after the handlers were set.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)

    def force() -> None:
        while heard.recv(1)[0] not in ENDING:
            pass
        time.sleep(after_s)
        told.close()
        said = "did not stop within %g s of being asked to: ended by force"
        threading.Thread(target=log.error, args=(said, after_s), daemon=True).start()  # it may be held up too
        time.sleep(SAY_S)
        os._exit(1)

    threading.Thread(target=force, name="end", daemon=True).start()


def run_session(wish: Wish, json: Path | None, svg: Path | None = None) -> int:
    """Runs a stack to its end; returns the exit code: 0, or 1 if something was not well.

    `json` gets the summary, `svg` the last table of the running system.

    Raises:
        OperatorError: what was asked for cannot be.
        KafkaUnavailable, StoreUnavailable: a neighbour does not answer.
    """
    for option, file in (("--json", json), ("--picture", svg)):
        if file is not None:
            require_writable(file, option)
    stop = threading.Event()
    stop_on_signals(stop)
    signal.signal(signal.SIGHUP, lambda *_: stop.set())
    end_by_force(STOPPED_S)
    console = Console()
    screen = _Screen(console)
    with screen.opened():
        summary = Stack(wish, stop, screen.draw).run()
    if json is not None:
        write(summary, json)
    if svg is not None and screen.last is not None:
        save_svg(table(screen.last), svg, "streamrec up")
    _say(summary, json)
    if wish.traffic.once:
        print(f"report of the replay: {wish.state / 'logs' / 'traffic.log'}")
    sys.stdout.flush()
    return 0 if summary.ok else 1


def _say(summary: Summary, json: Path | None) -> None:
    """The end in a few lines; what was wrong goes to standard error."""
    p50, p99 = (summary.latency_ms[name] for name in ("p50", "p99"))
    latency = "" if p50 is None or p99 is None else f", p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    print(
        f"{summary.seconds:.0f} s on {summary.kafka}: "
        f"{summary.events_in} events in, {summary.events_applied} applied, {summary.repeats} repeats, "
        f"{summary.late} late, {summary.dead_letters} dead letters; "
        f"{summary.requests} requests, {summary.replies} replies, {summary.errors} errors{latency}"
    )
    if json is not None:
        print(f"summary: {json}")
    for problem in summary.problems:
        print(f"streamrec: {problem}", file=sys.stderr)
