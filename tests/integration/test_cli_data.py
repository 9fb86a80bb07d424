"""`alina data`: what comes in is checked, told and gone on with; what goes out comes in again."""

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest
from cli_command import InProcess, Said
from system import FIRST_OPEN, NOW, WARMUP, RunningVenue

from alina.cli.backtest import chosen_series
from alina.config import load_settings
from alina.domain.records import ms_from_utc
from alina.venue.ccxt_options import venue_options
from alina.venue.spec import Listing

VENUE_SYMBOLS = 2
HOUR = timedelta(hours=1)
HEADER = "timestamp,open,high,low,close,volume"


@pytest.fixture
def command(
    tmp_path: Path, ledger_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> InProcess:
    (tmp_path / "config.yaml").write_text("{}")
    monkeypatch.setenv("ALINA_DATABASE_URL", ledger_url)
    return InProcess(tmp_path, monkeypatch, capsys)


def write(path: Path, *hours: int, volume: str = "1.50", price: str = "100.10") -> Path:
    rows = (
        f"{ms_from_utc(FIRST_OPEN + hour * HOUR)},{price},{price},{price},{price},{volume}" for hour in hours
    )
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def assert_refused(said: Said, *words: str) -> None:
    assert (said.code, said.out) == (2, "")
    for word in words:
        assert word in said.err


def test_what_is_imported_is_stored_once(tmp_path: Path, command: InProcess) -> None:
    write(tmp_path / "ONCE_USDT-1h.csv", 0, 1, 2, 5)
    outcome = {
        "file": "ONCE_USDT-1h.csv",
        "exchange": "binance",
        "symbol": "ONCE/USDT",
        "timeframe": "1h",
        "candles": 4,
        "missing": 2,
    }
    assert command("data", "import", "ONCE_USDT-1h.csv", "--json").json == [{**outcome, "new": 4}]
    assert command("data", "import", "ONCE_USDT-1h.csv", "--json").json == [{**outcome, "new": 0}]
    write(tmp_path / "ONCE_USDT-1h.csv", 3, 4)
    assert command("data", "import", "ONCE_USDT-1h.csv", "--json").json[0]["new"] == 2
    said = command("data", "check", "--symbol", "ONCE/USDT", "--json")
    assert said.code == 0
    assert said.json[0]["candles"] == 6


def test_a_folder_is_imported_whole_and_shown_as_a_table(tmp_path: Path, command: InProcess) -> None:
    (tmp_path / "candles").mkdir()
    write(tmp_path / "candles/ALL_USDT-1h.csv", 0, 1)
    write(tmp_path / "candles/ALL_BTC-1h.csv", 0, 1)
    said = command("data", "import", "candles")
    assert said.code == 0
    assert "ALL/USDT" in said.out
    assert "ALL/BTC" in said.out


def test_the_candle_that_still_forms_is_not_imported(tmp_path: Path, command: InProcess) -> None:
    far = int(timedelta(days=36500) / HOUR)
    write(tmp_path / "FORM_USDT-1h.csv", 0, far)
    assert command("data", "import", "FORM_USDT-1h.csv", "--json").json[0]["new"] == 1


@pytest.mark.parametrize(
    ("hours", "price", "words"), [((0, 0), "1", "are there twice"), ((0, 1), "-1", "cannot be true")]
)
def test_candles_that_no_store_takes_are_refused_with_the_remedy(
    tmp_path: Path, command: InProcess, hours: tuple[int, ...], price: str, words: str
) -> None:
    write(tmp_path / "BAD_USDT-1h.csv", *hours, price=price)
    assert_refused(command("data", "import", "BAD_USDT-1h.csv"), words, "alina data check")
    assert_refused(command("data", "check", "--symbol", "BAD/USDT"), "no candles of BAD/USDT are stored")


def test_a_timeframe_that_does_not_fit_the_times_is_refused(tmp_path: Path, command: InProcess) -> None:
    write(tmp_path / "prices.csv", 0, 1, 2)
    said = command("data", "import", "prices.csv", "--symbol", "FIT/USDT", "--timeframe", "4h")
    assert_refused(said, "no whole multiple of the timeframe", "another --timeframe than 4h")


def test_a_check_names_every_fault_and_ends_with_one(tmp_path: Path, command: InProcess) -> None:
    write(tmp_path / "CHECK_USDT-1h.csv", 0, 1, 1, 4, volume="0")
    said = command("data", "check", "CHECK_USDT-1h.csv", "--json")
    assert said.code == 1
    counts = {fault["kind"]: fault["count"] for fault in said.json[0]["faults"]}
    assert counts == {"gap": 2, "duplicate": 1, "no volume": 4}
    assert command("data", "check", "CHECK_USDT-1h.csv").code == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_exported_comes_in_again(tmp_path: Path, command: InProcess, kind: str) -> None:
    write(tmp_path / "OUT_USDT-1h.csv", 0, 1, 2)
    command("data", "import", "OUT_USDT-1h.csv")
    said = command("data", "export", "out", "--symbol", "OUT/USDT", "--format", kind, "--json")
    name = f"binance-OUT_USDT-1h.{kind}"
    market = {"exchange": "binance", "symbol": "OUT/USDT", "timeframe": "1h"}
    assert said.json == [{"file": f"out/{name}", **market}]
    (again,) = command("data", "import", "out", "--json").json
    assert (again["candles"], again["new"]) == (3, 0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_an_export_is_cut_where_it_is_told_to(tmp_path: Path, command: InProcess) -> None:
    path = write(tmp_path / "CUT_USDT-1h.csv", *range(30))
    command("data", "import", path.name)
    command(
        "data", "export", "out", "--symbol", "CUT/USDT", "--from", "2026-01-01T12:00:00", "--to", "2026-01-02"
    )
    lines = path.read_text().splitlines()
    assert (tmp_path / "out/binance-CUT_USDT-1h.csv").read_text().splitlines() == [HEADER, *lines[13:25]]


def test_a_span_that_ends_before_it_begins_is_refused(tmp_path: Path, command: InProcess) -> None:
    write(tmp_path / "SPAN_USDT-1h.csv", 0)
    command("data", "import", "SPAN_USDT-1h.csv")
    said = command(
        "data", "export", "out", "--symbol", "SPAN/USDT", "--from", "2025-01-02", "--to", "2025-01-01"
    )
    assert_refused(said, "--from 2025-01-02 00:00 is not before --to 2025-01-01")


def test_a_download_fills_what_lacks(tmp_path: Path, command: InProcess, venue: RunningVenue) -> None:
    exchange = {"mode": "live", "options": venue_options(venue.url)}
    symbol, hours = venue.symbol(), (10, 11, 12, 20)
    market = {"exchange": exchange, "symbols": [symbol]}
    (tmp_path / "config.yaml").write_text(json.dumps({"market": market}))
    stored = write(tmp_path / f"{symbol.replace('/', '_')}-1h.csv", *hours)
    command("data", "import", stored.name)
    span = ("--from", f"{FIRST_OPEN:%Y-%m-%d}", "--to", f"{NOW:%Y-%m-%dT%H:%M:%S}")
    said = command("data", "download", *span, "--json")
    assert said.err == ""
    corrected = 1
    new = WARMUP - len(hours) + corrected
    (told,) = said.json
    assert (told["exchange"], told["symbol"], told["timeframe"]) == ("binance", symbol, "1h")
    assert (told["new"], told["missing"]) == (new, 0)
    assert (told["from"], told["to"]) == (FIRST_OPEN.isoformat(), NOW.isoformat())


def test_how_far_back_an_exchange_reaches_is_told(
    tmp_path: Path, command: InProcess, venue: RunningVenue
) -> None:
    market = {"exchange": {"mode": "live", "options": venue_options(venue.url)}, "symbols": [venue.symbol()]}
    (tmp_path / "config.yaml").write_text(json.dumps({"market": market}))
    said = command("data", "download", "--from", "2020-01-01", "--to", f"{NOW:%Y-%m-%dT%H:%M:%S}", "--json")
    assert said.json[0]["missing"] == 0
    assert said.json[0]["from"] == FIRST_OPEN.isoformat()


def test_two_exchanges_of_one_symbol_are_two_series(tmp_path: Path, command: InProcess) -> None:
    write(tmp_path / "kraken-TWO_USDT-1h.csv", 0, 1, price="99")
    write(tmp_path / "TWO_USDT-1h.csv", 0, 1, 2)
    for name, *option in (("kraken-TWO_USDT-1h.csv",), ("TWO_USDT-1h.csv", "--exchange", "okx")):
        assert command("data", "import", name, *option).code == 0
    both = command("data", "check", "--symbol", "TWO/USDT", "--json").json
    assert [(one["source"], one["candles"]) for one in both] == [("store: kraken", 2), ("store: okx", 3)]
    command("data", "export", "out", "--symbol", "TWO/USDT", "--exchange", "kraken")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kraken-TWO_USDT-1h.csv"]
    command("data", "export", "out", "--symbol", "TWO/USDT")
    again = command("data", "import", "out", "--json").json
    assert [(one["exchange"], one["new"]) for one in again] == [("kraken", 0), ("okx", 0)]


def test_a_word_before_the_symbol_that_is_no_exchange_names_none(tmp_path: Path, command: InProcess) -> None:
    write(tmp_path / "prices-WORD_USDT-1h.csv", 0)
    (told,) = command("data", "import", "prices-WORD_USDT-1h.csv", "--json").json
    assert (told["exchange"], told["symbol"]) == ("binance", "WORD/USDT")


def test_what_is_stored_is_traded_on_as_the_file_it_came_from(tmp_path: Path, command: InProcess) -> None:
    with gzip.open(Listing("BTC/USD").path, "rt") as sample:
        (tmp_path / "kraken-STORE_USDT-1h.csv").write_text("".join(islice(sample, 800)))
    command("data", "import", "kraken-STORE_USDT-1h.csv")
    settings, names = load_settings(), ["STORE/USDT"]
    stored = chosen_series(settings, (), names, exchange="kraken", timeframe="1h")["STORE/USDT"]
    filed = chosen_series(settings, ["kraken-STORE_USDT-1h.csv"], names)["STORE/USDT"]
    assert (len(stored.bars), stored.interval_ms, stored.gaps) == (799, filed.interval_ms, filed.gaps)
    assert list(stored.bars) == list(filed.bars)
    rule = ("backtest", "--agent", "rule", "--symbols", "STORE/USDT")
    assert_refused(command(*rule, "--exchange", "okx"), "no candles of STORE/USDT 1h okx are stored")
    assert_refused(command(*rule, "--timeframe", "1h"), "name the exchange")


def test_an_unknown_exchange_is_named(command: InProcess) -> None:
    said = command("data", "download", "--from", "2026-01-01", "--exchange", "binanc")
    assert_refused(said, "'binanc'", "binance")


def test_the_first_import_makes_the_database(
    tmp_path: Path, own_folder: Path, command: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALINA_DATABASE_URL")
    (tmp_path / "config.yaml").write_text(json.dumps({"system": {"data_folder": str(own_folder)}}))
    assert_refused(command("data", "check"), "nothing was recorded yet")
    write(tmp_path / "FIRST_USDT-1h.csv", 0, 1)
    for words in (("import", "FIRST_USDT-1h.csv"), ("check",)):
        said = command("data", *words)
        assert (said.code, said.err) == (0, "")


@pytest.fixture
def own_folder() -> Iterator[Path]:
    # not pytest's own: a second session of pytest resets the rights the server's user needs on it
    path = Path(tempfile.mkdtemp(prefix="alina-tests-"))
    yield path
    shutil.rmtree(path)
