"""What the commands of `streamrec bench` share: numbers in an option, a bar of steps, files for figures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.errors import OperatorError

__all__ = ["numbers_of", "reals_of", "seeds_told", "write_json", "write_picture"]


def numbers_of(text: str, option: str, such_as: str = "1,2") -> list[int]:
    """The numbers of an option such as `--seeds 1,2`.

    Raises:
        OperatorError: it has something else.
    """
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise OperatorError(f"bench: {option}: expected numbers such as {such_as}, got {text!r}") from None


def reals_of(text: str, option: str) -> list[float]:
    """The weights of an option such as `--completion 0,0.5`: finite, at least 0.

    Raises:
        OperatorError: it has something else.
    """
    try:
        found = [float(each) for each in text.split(",")]
    except ValueError:
        found = [-1.0]
    if not all(0 <= each < float("inf") for each in found):
        raise OperatorError(f"bench: {option}: expected weights such as 0,0.5,1, got {text!r}")
    return found


@contextmanager
def seeds_told(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar of so many steps on standard error; what it gives is told of each that ended."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("", total=steps)
        yield lambda said: bars.update(task, advance=1, description=f"seed {said} done")


def write_json(report: object, file: Path) -> None:
    """Writes a report for machines.

    Raises:
        OperatorError: the file cannot be written.
    """
    import msgspec

    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    except OSError as error:
        raise OperatorError(f"bench: --json: cannot write {file}: {error.strerror}") from None


def write_picture(bench: str, out: Path, svg: str) -> None:
    """Writes a bench's picture into a folder, which is made, under the bench's name.

    Raises:
        OperatorError: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{bench}.svg").write_text(svg)
    except OSError as error:
        raise OperatorError(
            f"bench {bench}: --out: cannot write {error.filename}: {error.strerror}"
        ) from None
