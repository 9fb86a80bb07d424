"""JSON lists by the million, one element at a time: as objects, all at once, they are ten times the file."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_DECODER = json.JSONDecoder(parse_float=str, parse_int=str)


def json_rows(path: Path) -> Iterator[Any]:
    """The elements of the list in a .json or .json.gz, numbers as text: every digit is kept.

    Raises ValueError where it is no list, OSError or EOFError where it cannot be read.
    """
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        text = file.read()
    at = _after_space(text, 0)
    if text[at : at + 1] != "[":
        raise ValueError("no list")
    at = _after_space(text, at + 1)
    mark = text[at : at + 1]
    at += mark == "]"
    while mark != "]":
        row, at = _DECODER.raw_decode(text, at)
        yield row
        at = _after_space(text, at)
        mark, at = text[at : at + 1], _after_space(text, at + 1)
        if mark not in (",", "]"):
            raise ValueError(f"the list breaks off at character {at}")
    if text[at:].strip():
        raise ValueError(f"the list has ended at character {at}, the file has not")


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at
