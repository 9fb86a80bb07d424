"""Commands before the first start: write the settings, and see whether this machine fits them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from alina.cli.options import Options
from alina.cli.output import AsJson, print_json, print_table, say
from alina.cli.told import running_settings_of
from alina.errors import SystemStateError


def init(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a commented config.yaml.

    Every setting with its default, its unit and its meaning.

    Example: alina --config trading.yaml init
    """
    from alina.config import render_config
    from alina.embedded.folder import write_atomically

    options: Options = context.find_root().obj
    path = Path(options.config or os.environ.get("ALINA_CONFIG") or "config.yaml").absolute()
    if path.exists() and not force:
        raise SystemStateError(f"{path} is there already: edit it, or `alina init --force` to replace it")
    try:
        write_atomically(path, render_config(), mode=0o644)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise SystemStateError(f"{path} cannot be written: {error.strerror}: choose another path") from None
    if as_json:
        print_json({"config": path})
    else:
        say(f"wrote {path}: read it, then `alina doctor`, then `alina up`")


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check whether everything fits.

    Settings, machine, servers, model and exchange. Exit code 2 if anything would fail.

    Example: alina doctor
    """
    from alina.cli.diagnosis import diagnose

    findings = diagnose(running_settings_of(context))
    if as_json:
        print_json(findings)
    else:
        rows = [(one.check, one.level, one.finding, one.remedy) for one in findings]
        print_table("Doctor", ("check", "", "finding", "remedy"), rows)
    raise typer.Exit(2 if any(one.level == "fail" for one in findings) else 0)
