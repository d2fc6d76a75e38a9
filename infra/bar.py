"""The progress bar of long commands, on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Bar", "bar"]


class Bar:
    """A task under way."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=None)

    def total(self, steps: int) -> None:
        """How many steps there will be, at the most."""
        self._progress.update(self._task, total=steps)

    def folded(self, steps: int) -> None:
        """So many more are done."""
        self._progress.advance(self._task, steps)


@contextmanager
def bar(title: str) -> Iterator[Bar]:
    """A bar while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(progress, title)
