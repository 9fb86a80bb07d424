"""`alina`: one message and exit code 2 for everything that can be put right, never a traceback.

Exit codes: 0 done; 1 the answer is no (different, down); 2 an error and its remedy; 3 nothing runs;
130 Ctrl-C.
"""

import errno
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from alina.cli import (
    approvals,
    asking,
    backtest,
    data,
    doing,
    markets,
    models,
    optimize,
    prompts,
    reading,
    running,
    setup,
    spending,
    stopping,
    venue,
)
from alina.cli.options import Options
from alina.cli.output import printable
from alina.errors import AlinaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Trade with agents that think with local language models, behind a risk kernel.",
    epilog="Begin with `alina init`, then `alina doctor`, then `alina up`.",
)
for command in (
    setup.init,
    setup.doctor,
    running.up,
    running.status,
    running.down,
    doing.run,
    asking.ask,
    backtest.backtest,
    optimize.optimize,
    stopping.halt,
    stopping.resume,
    reading.decisions,
    reading.trades,
    reading.replay,
    spending.spending,
    venue.venue,
    markets.markets,
    markets.balance,
    markets.exchanges,
    running.demo,
):
    app.command()(command)
app.add_typer(prompts.app, name="prompts")
app.add_typer(approvals.app, name="approvals")
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"alina {version('alina')}\n")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="The settings. Default: ALINA_CONFIG, else ./config.yaml.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    show_version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version)] = False,
) -> None:
    from alina.log import configure_logging

    configure_logging("DEBUG" if debug else "WARNING", "console")
    context.obj = Options(config)


def main() -> None:
    """The entry point."""
    try:
        app(prog_name="alina")
    except AlinaError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _fail("the disk is full: free some space, or set system.data_folder to another disk")
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}: name another path, or let this user read and write it")


def _fail(message: str) -> None:
    """Called while the error is handled."""
    if "--debug" in sys.argv or os.environ.get("ALINA_LOGGING__LEVEL") == "DEBUG":
        raise
    sys.stderr.write(f"error: {printable(message)}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
