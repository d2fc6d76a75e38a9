"""What a command prints, as an SVG file that asks nothing of the network."""

import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType

from streams.errors import OperatorError

__all__ = ["save_svg"]

WIDTH = 110  # characters
# Rich's own page loads its font from a public server; without that a reader's monospace font serves.
PAGE = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def save_svg(what: RenderableType, file: Path, title: str, width: int = WIDTH) -> None:
    """Writes what a terminal `width` characters wide would show.

    Raises:
        OperatorError: the file cannot be written.
    """
    console = Console(record=True, file=io.StringIO(), width=width, force_terminal=True)
    console.print(what)
    try:
        file.write_text(console.export_svg(title=title, code_format=PAGE))
    except OSError as error:
        raise OperatorError(f"--picture: cannot write {file}: {error.strerror}") from None
