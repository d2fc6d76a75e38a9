"""Evidently's reports on windows that asked or alarmed, as files; the newest are kept."""

import logging
import re
from pathlib import Path

from monitors.drift.evidence import Evidence, shown

__all__ = ["MOST", "Shelf"]

log = logging.getLogger(__name__)

MOST = 10  # windows; a page is 4 MB, most of it the library that draws it
NAME = re.compile(r".+-(\d+)\.(html|json)")


class Shelf:
    """A folder of reports: for each window a page for people and its JSON."""

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self.folder, self._most = folder, most

    def keep(self, evidence: Evidence) -> list[Path]:
        """Writes the report of a window and drops those of the oldest beyond the bound.

        A disk that is full, or a drawing that fails, loses the report and not the monitor: then the list
        is empty.
        """
        try:
            html, told = shown(evidence)
            self.folder.mkdir(parents=True, exist_ok=True)
            written = [self._write(f"{evidence.name}.html", html), self._write(f"{evidence.name}.json", told)]
            self._drop()
        except Exception:
            log.exception("no report of %s", evidence.name)
            return []
        log.info("report: %s", written[0])
        return written

    def _write(self, name: str, text: str) -> Path:
        """Whole or not at all."""
        draft = self.folder / f".{name}.part"
        draft.write_text(text)
        return draft.replace(self.folder / name)

    def _drop(self) -> None:
        found = [
            (int(match[1]), path) for path in self.folder.iterdir() if (match := NAME.fullmatch(path.name))
        ]
        kept = sorted({began for began, _ in found})[-self._most :]
        for began, path in found:
            if began not in kept:
                path.unlink(missing_ok=True)
