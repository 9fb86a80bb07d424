"""Commands that start, show and stop what runs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alina.cli.options import settings_of
from alina.cli.output import AsJson, print_json, print_table, say, text
from alina.cli.told import running_settings_of
from alina.domain.portfolio import WindDown

if TYPE_CHECKING:
    from alina.cli.status import SystemStatus
    from alina.cli.system import Places


def up(
    context: typer.Context,
    paper: Annotated[
        str | None, typer.Option(help="Trade on paper against this exchange's live market, e.g. kraken.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the system until Ctrl-C.

    Servers, workers, schedule, Flower and metrics, each only if nobody else runs it.

    Example: alina --config config.yaml up
    """
    from alina.cli.system import run_system
    from alina.log import configure_logging

    settings, told = settings_of(context), dict[str, str]()
    if paper is not None:
        from alina.cli.data_files import mirrored

        told = mirrored(settings, paper)
        os.environ.update(told)  # every process of the system inherits it
        settings = settings_of(context)
    configure_logging(settings.logging.level, settings.logging.format)
    run_system(settings, print_json if as_json else _announce, told)


def _announce(places: "Places") -> None:
    say(f"ALINA starts: {places.mode}, {', '.join(places.symbols)}. Ctrl-C stops it.")
    lines = {
        "Flower": f"{places.flower}  user {places.flower_user}, password in {places.flower_password}",
        "metrics": places.metrics,
        "venue": places.venue,
        "data": places.data_folder,
        "logs": places.logs,
    }
    for name, value in lines.items():
        if value is not None:
            say(f"  {name:<8} {value}")


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show processes, queues and account.

    Exit code 0: all live; 1: something is down; 3: nothing runs.

    Example: alina status --json
    """
    from alina.cli.status import read_status

    shown = read_status(running_settings_of(context))
    if as_json:
        print_json(shown)
    else:
        _show(shown)
    raise typer.Exit(shown.exit_code)


def _show(shown: "SystemStatus") -> None:
    from alina.cli.status import rows_of

    if shown.exit_code == 3:
        say("nothing runs: `alina up` starts the system")
        return
    print_table("Processes", ("name", "pid", "alive", "MB", "up for", "restarts"), rows_of(shown))
    _show_state(shown)
    _show_answers(shown)
    for position in shown.positions:
        say(f"position    {text(position.quantity)} {position.symbol} at {text(position.average_price)}")
    if shown.waiting:
        say("waiting     " + ", ".join(f"{queue} {number}" for queue, number in shown.waiting.items()))
    if shown.market_time is not None:
        say(f"market time {text(shown.market_time)} UTC")
    for name, url in (("Flower", shown.flower), ("metrics", shown.metrics)):
        if url is not None:
            say(f"{name:<11} {url}")
    for part, fault in shown.faults.items():
        say(f"FAULT       {part}: {fault}")


def _show_state(shown: "SystemStatus") -> None:
    """What may be traded, and why not."""
    if (account := shown.account) is not None:
        reason = f" ({account.reason})" if account.reason else ""
        say(f"account     {account.name}: {account.trading_state.value}{reason}")
        if account.wind_down is not WindDown.NONE:
            say(f"            asked to {account.wind_down.value}: not done yet")
    if (peak := shown.new_peak) is not None:
        say(f"new peak    {peak.number}, {text(peak.begun_at)} UTC by {peak.begun_by}: {peak.reason}")
    if shown.stopped_by_file:
        say("STOPPED     by the stop-file: nothing is sent until `alina resume` removes it")


def _show_answers(shown: "SystemStatus") -> None:
    """What those who look after the system found last."""
    if (health := shown.health) is not None:
        faults = [f"{part}: {said}" for part, said in health.answer.items() if not said.startswith("ok")]
        say(f"health      {text(health.at)} UTC: {'; '.join(faults) or 'ok'}")
    if (reconciled := shown.reconciliation) is not None:
        say(f"reconciled  {text(reconciled.at)} UTC: {'; '.join(reconciled.answer) or 'the books agree'}")


def down(context: typer.Context, as_json: AsJson = False) -> None:
    """Stop the system.

    What a killed `alina up` has left is stopped too.

    Example: alina down
    """
    from alina.cli.system import stop_system

    stopped = stop_system(running_settings_of(context))
    if as_json:
        print_json({"stopped": stopped})
    else:
        say("stopped" if stopped else "nothing was running")


def demo(
    data: Annotated[
        list[str] | None, typer.Option(help="Recorded candles: SYMBOL=FILE.csv; repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another model, as models.default names it.")] = None,
    seconds: Annotated[int, typer.Option(min=1, help="The longest time to watch, wall time.")] = 180,
    folder: Annotated[Path, typer.Option(help="Where each demo makes a folder of its own.")] = Path(
        ".alina/demo"
    ),
    as_json: AsJson = False,
) -> None:
    """Trade a recorded market and watch.

    A local model decides; at the end the books of venue and ledger are compared. Exit code 1: they differ.

    Example: alina demo --data ETH/USDT=candles.csv --seconds 120
    """
    from rich.console import Console

    from alina.cli.demo import run_demo
    from alina.cli.demo_summary import print_outcome

    console = Console(stderr=as_json)
    outcome = run_demo(folder, console, data=data, model=model, seconds=seconds)
    if as_json:
        print_json(outcome.summary)
    else:
        print_outcome(console, outcome)
    raise typer.Exit(1 if outcome.differences else 0)
