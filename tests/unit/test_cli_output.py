"""What commands print, for people and for programs."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from alina.cli.output import plain, print_json, print_table, say, text
from alina.domain.decisions import ReasonCode
from alina.domain.orders import OrderSide


@dataclass(frozen=True)
class Inner:
    amount: Decimal


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]
    at: datetime
    side: OrderSide


def test_records_become_json_without_losing_a_digit() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    outer = Outer((Inner(Decimal("1E-8")), Inner(Decimal("10000.10"))), at, OrderSide.BUY)
    assert plain(outer) == {
        "inner": [{"amount": "0.00000001"}, {"amount": "10000.10"}],
        "at": "2026-01-02T03:04:05+00:00",
        "side": "buy",
    }


def test_ids_paths_durations_and_reason_codes_become_text_and_seconds() -> None:
    value = {
        1: UUID(int=7),
        "path": Path("a/b"),
        "for": timedelta(milliseconds=1500),
        "why": ReasonCode.COOLDOWN,
    }
    assert plain(value) == {
        "1": "00000000-0000-0000-0000-000000000007",
        "path": "a/b",
        "for": 1.5,
        "why": "COOLDOWN",
    }


def test_json_is_one_value_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"fee": Decimal("0.10"), "none": None})
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"fee": "0.10", "none": None}
    assert shown.err == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (Decimal("1.50000"), "1.5"),
        (Decimal("100"), "100"),
        (Decimal(1) / Decimal(3), "0.33333333"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02 03:04:05"),
        (timedelta(seconds=61.4), "0:01:01"),
        (OrderSide.SELL, "sell"),
    ],
)
def test_a_cell_is_short(value: object, shown: str) -> None:
    assert text(value) == shown


def test_what_a_model_said_is_never_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Decisions", ("why",), [("[red]buy[/red] [/]",)])
    assert "[red]buy[/red] [/]" in capsys.readouterr().out


def test_no_word_of_an_agents_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Else the reason for a trade could write over the amount that a person is asked about."""
    forged = "cheap\x1b[1A\x1b[9G0.1 \x9b8m\u202e\ttab\nline"
    print_table("Approvals", ("quantity", "why"), [("100", forged)])
    say(forged)
    print_json({"why": forged})
    shown = capsys.readouterr().out
    assert not set(shown) & {"\x1b", "\x9b", "\u202e"}
    assert shown.count("cheap\\u001b[1A") == 3
    assert "\ttab\nline" in shown
    assert json.loads(shown[shown.index("{") :]) == {"why": forged}
