"""Waits until what was sent has had its effect: slates logged, roles caught up, weights published."""

import logging
import time

from infra.replay.progress import Progress
from streams.codec import decode
from streams.events import EXAMPLES, MAX_MS, MODELS, SERVED
from streams.settings import Settings

__all__ = ["Settling"]

log = logging.getLogger(__name__)

SERVED_S = 10.0  # how long a slate's record may follow its reply
POLL_S = 0.3  # how often scorers look for new weights, and a little more
TRAINING_S = 180.0


class Settling:
    """The waits between two slices of a lockstep replay."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self._examples = 0

    def items(self, count: int) -> None:
        """Gives every role a moment to read `count` items, which they follow without telling how far."""
        time.sleep(min(5.0, 0.5 + count / 20_000) if count else 0.0)

    def served(self) -> int:
        """Messages on `served` so far."""
        return sum(self._progress.ends((SERVED,)).values())

    def served_grew(self, before: int, replies: int) -> None:
        """Waits until as many slates are logged as were sent; a watermark must not overtake them."""
        give_up = time.monotonic() + SERVED_S
        while (logged := self.served() - before) < replies:
            if time.monotonic() > give_up:
                log.warning("only %d of %d slates were logged on served", logged, replies)
                return
            time.sleep(0.02)

    def roles(self, wait_for: tuple[str, ...]) -> None:
        """Waits for the roles, then for a training under way, then for the weights to reach scorers."""
        self._progress.roles()
        if "learner" not in wait_for:
            return
        self._training()
        examples = sum(self._progress.ends((EXAMPLES,)).values())
        if examples != self._examples:
            self._examples = examples
            time.sleep(self._settings.publish_ms / 1_000 + POLL_S)

    def _training(self) -> None:
        """Waits while a model is being trained, so that the next slice is scored by it."""
        give_up = time.monotonic() + TRAINING_S
        while waiting := self._under_way():
            if time.monotonic() > give_up:
                log.warning("model %s is still in training after %g s", waiting, TRAINING_S)
                return
            time.sleep(0.2)

    def _under_way(self) -> str | None:
        """A version whose last step on `models` is not its last."""
        steps: dict[str, str] = {}
        for message in self._progress.read(MODELS):
            for record in decode(MODELS, message.key, message.value, MAX_MS).records:
                steps[record.version] = record.state
        return next((v for v, state in steps.items() if state in ("training", "candidate")), None)
