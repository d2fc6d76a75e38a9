"""The story of one trial, step by step, against a running system."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from infra.benchmarks.throughput import child_env
from infra.child import Child
from infra.loop.plan import Plan
from infra.loop.receiver import Receiver
from infra.loop.report import AFTER, BEFORE, DRIFT, EXIT, Loop, Moment, Reading, phase_of
from infra.loop.topics import Topics
from infra.loop.viewers import Slate, Viewers
from monitors.alarms import PERFORMANCE, fingerprints
from streams.errors import OperatorError
from streams.events import ModelRecord, RetrainTrigger
from streams.kafka import create_topics
from streams.settings import Settings

__all__ = ["close_the_loop"]

AHEAD = 1  # windows that may be over and not yet judged
UNLEARNED = 1_000  # examples that may wait for the learner: beliefs far behind would be a drift of their own
PAUSE_S = 0.05
BETWEEN_S = 0.5  # two rounds, while the trainer looks whether rows are enough
TOLD = ("auc_click", "log_loss_click", "champion_log_loss_click", "base_log_loss_click", "rows")

Note = Callable[[Moment], None]


def close_the_loop(settings: Settings, plan: Plan, note: Note = lambda _: None) -> Loop:
    """Starts a system on these settings' Kafka and Redis, lives through it, stops the system.

    Raises:
        OperatorError: a step did not come in time, or the system ended.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        file = settings.state / "receivers.toml"
        secret = receiver.configure(file)
        settings = settings.model_copy(update={"alert_receivers": str(file)})
        create_topics(settings)
        command = [sys.executable, "-m", "infra.cli", "up", "--kafka", settings.kafka]
        command += ["--redis", settings.redis, "--traffic", "none", "--state", str(settings.state)]
        system = Child(command, settings.state / "up.log", child_env(settings) | secret)
        stack.callback(system.stop, 60.0)
        viewers = stack.enter_context(Viewers(settings, plan))
        topics = stack.enter_context(Topics(settings))
        rows = settings.drift_window_rows
        story = _Story(plan, rows, system, viewers, topics, receiver, note, began)
        story.live_through(settings.namespace)
        system.stop(60.0)
        return story.told(settings.namespace, system.code)


class _Story:
    """One trial as it goes on."""

    def __init__(
        self,
        plan: Plan,
        rows: int,
        system: Child,
        viewers: Viewers,
        topics: Topics,
        receiver: Receiver,
        note: Note,
        began: float,
    ) -> None:
        self._plan, self._rows, self._system, self._viewers = plan, rows, system, viewers
        self._topics, self._receiver, self._tell, self._began = topics, receiver, note, began
        self._moments: list[Moment] = []
        self._noted = 0  # steps of models
        self._marks: list[int] = []  # slates at the ends of phases
        self._versions: list[str] = []
        self._quiet: tuple[int, float, tuple[str, ...]] = (0, 0.0, ())
        self._trigger: RetrainTrigger | None = None
        self._columns: tuple[str, ...] = ()

    # --- the story ----------------------------------------------------------------------------------

    def live_through(self, namespace: str) -> None:
        """A quiet day, a drift, its end."""
        drift, stuck = fingerprints(namespace)
        self._await(self._viewers.answers, "an answer")
        self._note("the system answers; viewers come", mark=True)
        first = self._first()
        self._quiet_day(first, (drift, stuck, *fingerprints(namespace, PERFORMANCE)))
        self._viewers.drift()
        self._note("tastes turn, new and longer items come", mark=True)
        self._asked(first)
        self._await(lambda: self._receiver.changes(drift), "the alert at the receiver")
        self._note(f"alert at the receiver: {self._receiver.summary(drift)}", mark=True)
        second = self._crowned()
        self._mark()
        self._serve(
            second,
            lambda: self._is_over(second, drift),
        )
        self._mark()
        self._note(f"PSI {self._psi(second):.3f} under {second}", mark=False)
        self._note(f"receiver: {', '.join(self._receiver.changes(drift))}", mark=True)

    def _is_over(self, second: str, alert: str) -> bool:
        """True once the alert ended and the drift did, or will not."""
        windows, least = len(self._topics.windows(second)), self._plan.after_windows
        ended = self._psi(second) < EXIT or windows >= 3 * least
        return windows >= least and ended and len(self._receiver.changes(alert)) > 1

    def _first(self) -> str:
        """The first champion; more rows where they were too few, or where a candidate was rejected."""
        most = 5 * self._plan.first_slates
        while not (found := self._champions()):
            self._await(lambda: not self._trains(), "the end of a training")
            if len(self._viewers.slates) > most:
                raise OperatorError(f"bench loop: no first model after {most} slates")
            self._round()
            if len(self._viewers.slates) >= self._plan.first_slates:
                time.sleep(BETWEEN_S)
        self._versions.append(found[-1].version)
        self._mark()
        return self._versions[-1]

    def _trains(self) -> bool:
        """True while a version is made."""
        return bool(steps := self._steps()) and steps[-1].state in ("training", "candidate")

    def _quiet_day(self, first: str, ours: Sequence[str]) -> None:
        since = self._viewers.hours
        self._serve(first, lambda: self._viewers.hours - since >= self._plan.quiet_hours)
        self._judged_to(first, 0)
        news = [f"trigger {each.reason}" for each in self._topics.triggers()]
        news += [f"alert {name}" for name in ours if self._receiver.changes(name)]
        windows, hours = len(self._topics.windows(first)), self._viewers.hours - since
        self._quiet = (windows, hours, tuple(news))
        self._note(
            f"a quiet day: {windows} windows of {hours:.0f} h judged, {', '.join(news) or 'no trigger'}"
        )
        self._mark()

    def _asked(self, first: str) -> None:
        before = len(self._topics.triggers())
        self._serve(first, lambda: len(self._topics.triggers()) > before)
        trigger = self._topics.triggers()[before]
        self._columns = tuple(sorted({line.split(" ")[1] for line in trigger.evidence if " >= " in line}))
        self._trigger = trigger
        self._note(f"retrain.triggers: {trigger.trigger_id}: {'; '.join(trigger.evidence[:3])}", mark=True)

    def _crowned(self) -> str:
        """The next champion. A candidate may be rejected; then drift goes on and the monitor asks again."""
        while self._champions()[-1].version == self._versions[0]:
            self._serve(self._versions[0], lambda: self._open_triggers())
            self._settle(lambda: not self._open_triggers(), "the answer to a trigger")
        self._versions.append(self._champions()[-1].version)
        return self._versions[-1]

    def _open_triggers(self) -> set[str]:
        """Those without an answer."""
        over = ("champion", "rejected", "failed")
        answered = {step.trigger_id for step in self._steps() if step.state in over}
        return {trigger.trigger_id for trigger in self._topics.triggers()} - answered

    # --- parts --------------------------------------------------------------------------------------

    def _serve(self, version: str, done: Callable[[], object]) -> None:
        """Viewers ask until `done()`, not much ahead of what is judged and learned."""
        most = len(self._viewers.slates) + self._plan.slates * (self._plan.most_windows + 2)
        while not done():
            if len(self._viewers.slates) > most:
                raise OperatorError(
                    f"bench loop: {most} slates, and nothing came; see {self._moments[-1].what}"
                )
            self._judged_to(version, AHEAD, done)
            self._await(lambda: self._topics.unlearned() <= UNLEARNED or done(), "the learner")
            self._round()

    def _judged_to(self, version: str, ahead: int, done: Callable[[], object] = lambda: False) -> None:
        """Waits until all but so many of the windows that a version served are judged; the first is not."""

        def near() -> bool:
            return self._due(version) - 1 - len(self._topics.windows(version)) <= ahead

        self._await(lambda: near() or done(), "the monitor")

    def _due(self, version: str) -> int:
        """Windows of what a version served that are over by now, the first included."""
        due, opened_ms, rows = 0, 0, 0
        for slate in self._viewers.slates:
            if slate.ranker != version:
                continue
            if rows >= self._rows and slate.ts_ms - opened_ms >= self._plan.window_ms:
                due, rows = due + 1, 0
            opened_ms = opened_ms if rows else slate.ts_ms
            rows += slate.places
        return due

    def _round(self) -> None:
        if not self._system.running:
            raise OperatorError(f"bench loop: the system ended (see {self._system.log_file})")
        self._viewers.round()
        self._steps()

    def _settle(self, done: Callable[[], object], what: str) -> None:
        self._await(done, what)
        self._steps()

    def _await(self, done: Callable[[], object], what: str) -> None:
        give_up = time.monotonic() + self._plan.patience_s
        while not done():
            if time.monotonic() > give_up or not self._system.running:
                raise OperatorError(f"bench loop: {what} did not come (see {self._system.log_file})")
            time.sleep(PAUSE_S)

    def _steps(self) -> list[ModelRecord]:
        """Every step of a model; those that are new go to the timeline."""
        steps = self._topics.steps()
        for step in steps[self._noted :]:
            told = {name: round(step.metrics[name], 3) for name in TOLD if name in step.metrics}
            said = f" {told}" if told and step.state in ("champion", "rejected") else ""
            self._note(f"models: {step.version} {step.state}{said}", mark=step.state == "champion")
        self._noted = len(steps)
        return steps

    def _champions(self) -> list[ModelRecord]:
        return [step for step in self._steps() if step.state == "champion"]

    def _psi(self, version: str) -> float:
        """The greatest PSI of the columns that asked, in the last window judged."""
        windows = self._topics.windows(version)
        last = windows[-1] if windows else {}
        return max((last[c].score or 0.0 for c in self._columns if c in last), default=float("inf"))

    def _mark(self) -> None:
        self._marks.append(len(self._viewers.slates))

    def _note(self, what: str, mark: bool = False) -> None:
        moment = Moment(time.monotonic() - self._began, self._viewers.hours, what, mark)
        self._moments.append(moment)
        self._tell(moment)

    # --- what it showed -----------------------------------------------------------------------------

    def told(self, namespace: str, code: int | None) -> Loop:
        """The report."""
        slates, (begun, quiet, drifted, _) = self._viewers.slates, self._marks
        first, second, window = self._versions[0], self._versions[-1], self._plan.slates
        windows, hours, news = self._quiet
        asked = self._trigger.evidence if self._trigger else ()
        scores = [float(line.split(" ")[2]) for line in asked if line.startswith("psi ")]
        return Loop(
            seconds=time.monotonic() - self._began,
            quiet_windows=windows,
            quiet_hours=hours,
            quiet_news=news,
            columns=self._columns,
            psi_asked=max(scores, default=0.0),
            psi_after=self._psi(second),
            alerts=tuple(self._receiver.changes(fingerprints(namespace)[0])),
            versions=(first, second),
            errors=dict(self._viewers.errors),
            exit_code=code,
            phases=(
                phase_of("popularity", slates[:begun]),
                phase_of("quiet day", slates[begun:quiet]),
                phase_of(BEFORE, slates[max(begun, quiet - 2 * window) : quiet]),
                phase_of(DRIFT, slates[quiet : min(quiet + window, drifted)]),
                phase_of("answered", slates[min(quiet + window, drifted) : drifted]),
                phase_of(AFTER, slates[drifted:]),
            ),
            moments=tuple(self._moments),
            readings=tuple(self._readings()),
            course=tuple(self._course(slates)),
        )

    def _readings(self) -> list[Reading]:
        found = []
        for version in self._versions:
            for window in self._topics.windows(version):
                reports = [window[c] for c in self._columns if c in window]
                if reports:
                    hours = (reports[0].window.to_ms - self._viewers.start_ms) / 3_600_000
                    psi = max(report.score or 0.0 for report in reports)
                    found.append(Reading(hours, version, psi))
        return found

    def _course(self, slates: Sequence[Slate]) -> list[tuple[float, float]]:
        size = self._plan.slates // 2
        parts = [slates[i : i + size] for i in range(0, len(slates) - size + 1, size)]
        middle = ((part[size // 2].ts_ms - self._viewers.start_ms) / 3_600_000 for part in parts)
        return [(at, phase_of("", part).of_best) for at, part in zip(middle, parts, strict=True)]
