"""What every import of a file shares: reading it as text whatever wrote it, and saying what became of each row."""

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clinic.status import StepRefused

Progress = Callable[[int, int], None]  # rows done, rows there are
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class FileRefused(StepRefused):
    """The file as a whole cannot be read; nothing of it was kept."""

    code = "file_unreadable"


class RowRefused(StepRefused):
    """One row cannot be kept; the rest of the file can."""

    code = "row_invalid"


@dataclass(frozen=True, order=True)
class Reject:
    """One row and what is to be said about it: why it was rejected or, in a warning, what of it was left out."""

    line: int
    reason: str


@dataclass
class ImportReport:
    """What became of a file. `read` is always created + updated + unchanged + rejected."""

    read: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0  # what was never meant to be a row here, such as the other resources of a FHIR Bundle
    unit: str = "line"  # what the numbers of rejects and warnings count
    rejects: list[Reject] = field(default_factory=list)
    warnings: list[Reject] = field(default_factory=list)

    @property
    def kept(self) -> int:
        return self.created + self.updated + self.unchanged

    def count(self, outcome: str) -> None:
        setattr(self, outcome, getattr(self, outcome) + 1)


def read_bytes(path: Path | str) -> bytes:
    """The file's bytes, as UTF-8 without a byte order mark. Raises FileRefused if there is nothing to read."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as missing:
        raise FileRefused(f"There is no file {path}.") from missing
    except IsADirectoryError as folder:
        raise FileRefused(f"{path} is a folder, not a file.") from folder
    except PermissionError as closed:
        raise FileRefused(f"{path} may not be read by this user.") from closed
    except (OSError, ValueError) as broken:
        raise FileRefused(f"{path} cannot be read: {broken}.") from broken
    if content.startswith(UTF_16):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeError as broken:
            raise FileRefused(f"{path.name} begins as UTF-16 text and goes on as something else.") from broken
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.strip():
        raise FileRefused(f"{path.name} is empty.")
    return content


def lines_of(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that have something in them. Only line feeds (with or without CR) end a line: the other line
    separators of Unicode may stand inside a name."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if stripped := line.strip():
            yield number, stripped


def decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as broken:
        raise RowRefused("Not UTF-8 text. Save the file as UTF-8.") from broken
