"""The live table of the demo."""

import io
from datetime import UTC, datetime

from rich.console import Console

from alina.cli.live_view import Event, TableView


def test_what_a_model_says_is_no_markup() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    why = "a [/red] tag that was never opened"
    with TableView(console) as view:
        view.show(Event(candle=datetime(2026, 1, 1, tzinfo=UTC), symbol="BTC/USDT", decision="hold", why=why))
    assert why in console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above
