"""A list in JSON is read element by element, and only if all of it is one."""

import gzip
import json
from pathlib import Path

import pytest

from alina.market_data.json_rows import json_rows


def rows(folder: Path, text: str) -> list[object]:
    path = folder / "rows.json"
    path.write_text(text)
    return list(json_rows(path))


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    assert rows(tmp_path, ' [ [1, 0.10] ,\n {"a": 1e-8}, null ] \n') == [["1", "0.10"], {"a": "1e-8"}, None]


@pytest.mark.parametrize("text", ["[]", "[ ]\n"])
def test_an_empty_list_has_no_rows(tmp_path: Path, text: str) -> None:
    assert rows(tmp_path, text) == []


def test_a_compressed_list_reads_like_the_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.json.gz"
    path.write_bytes(gzip.compress(json.dumps([[1, 2], [3, 4]]).encode()))
    assert list(json_rows(path)) == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("text", ["", "{}", "[", "[1", "[1,", "[1,]", "[1 2]", "[1]]", "[1][2]", "[,1]", "1"])
def test_what_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"list|Expecting"):
        rows(tmp_path, text)
