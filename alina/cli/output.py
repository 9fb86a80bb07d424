"""What commands print: a table or plain lines for people, one JSON value for programs. Never both."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any
from uuid import UUID

import typer

#: the option of every command
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
#: columns where no terminal says how wide it is
_WIDTH = 160
#: what moves a cursor, sets a colour or turns the direction of writing, but for tabs and new lines
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(value: Any) -> Any:
    """`value` in JSON's types: decimals and ids as text, times in ISO, durations in seconds."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, Enum):
        return value.name if isinstance(value, int) else value.value
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 3)
    if isinstance(value, UUID | Path):
        return str(value)
    return value


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    say(json.dumps(plain(value), indent=1, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table for people; empty cells for None."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text(cell)) for cell in row))  # Text: what models say is no markup
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)


def text(value: Any) -> str:
    """One cell: short times, decimals to eight places."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Decimal):
        return f"{round(value, 8).normalize():f}"
    if isinstance(value, timedelta):
        return str(timedelta(seconds=round(value.total_seconds())))
    return printable(str(plain(value)))


def prepare_folder(folder: Path) -> None:
    """Make the folder that a long work's result is written to: better refused before it than after.

    Raises OSError where nothing can be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    TemporaryFile(dir=folder).close()


def say(line: str) -> None:
    """One line on standard output, at once: whoever reads through a pipe waits for it."""
    sys.stdout.write(f"{printable(line)}\n")
    sys.stdout.flush()


def printable(words: str) -> str:
    """What agents and models say, with control characters as JSON writes them.

    A terminal would obey them: the reason for a trade could write over the amount that a person approves.
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", words)
