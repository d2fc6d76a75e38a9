from pathlib import Path

import pytest
from rich.text import Text

from infra.screenshot import save_svg
from streams.errors import OperatorError


def test_a_picture_holds_what_was_said_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    file = tmp_path / "out.svg"
    save_svg(Text("p50 3.1 ms", "bold green"), file, "streamrec up")
    text = file.read_text()
    assert "3.1" in text
    assert "streamrec" in text
    assert "url(" not in text.replace("url(#", "")
    assert "@font-face" not in text


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="--picture: cannot write"):
        save_svg(Text("x"), tmp_path / "no" / "out.svg", "title")
