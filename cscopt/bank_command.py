"""The command `cscopt bank build|list|show|verify|report`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cscopt.bank import Bank, Spec, build, verify
from cscopt.bank.words import dictionaries
from cscopt.report import COLUMNS, facts, write_report


def add_to(parent: Any) -> None:
    """Add the command and its own commands to the subcommands of a parser."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(description="Fill a folder with learned dictionaries, and look at it.")
    parent.add_subcommand("bank", parser)
    commands = parser.add_subcommands()
    making = ArgumentParser(description="Learn what a bank lacks of a spec; stopped at any moment, it goes on later.")
    making.add_argument(
        "spec", type=str, help="YAML file: data and grid; holdout, seed, engine, initial, max_epochs, stop_below"
    )
    making.add_argument("-o", "--output", type=str, required=True, help="folder of the bank")
    making.add_argument("--data", type=str, help="folder or .npz file, in the place of the spec's; its other keys hold")
    making.add_argument(
        "--cases", type=str, nargs="+", default=[], help="part of the grid: 3, 5-8 (numbers from 1), support=8, lam=0.1"
    )
    making.add_argument("--workers", type=int, help="processes; by default one for each thread")
    making.add_argument(
        "--cluster", type=str, help="address of a dask.distributed scheduler, in the place of processes"
    )
    making.add_argument(
        "--checkpoint-seconds",
        type=float,
        help="between two saved states; by default 1, or more where writing is slow",
    )
    commands.add_subcommand("build", making, help=making.description)
    for name, what in (
        ("list", "Print a line for each dictionary."),
        ("show", "Print the provenance of one dictionary."),
        ("verify", "Read every file as a whole, and name those that are not good."),
        ("report", "Write one HTML page with every dictionary drawn."),
    ):
        one = ArgumentParser(description=what)
        one.add_argument("bank", type=str, help="folder of the bank")
        if name == "show":
            one.add_argument("name", type=str, help="name of the dictionary")
        if name == "report":
            one.add_argument("-o", "--output", type=str, default="bank.html", help="page to write")
        commands.add_subcommand(name, one, help=what)


def bank(subcommand: str, **options: Any) -> None:
    """Run one of the commands."""
    given = dict(options[subcommand])
    given.pop("config", None)
    COMMANDS[subcommand](**given)


def _build(
    spec: str,
    output: str,
    data: str | None,
    cases: list[str],
    workers: int | None,
    cluster: str | None,
    checkpoint_seconds: float | None,
) -> None:
    filled = build(
        Spec.read(spec, data),
        output,
        cases=cases,
        workers=workers,
        cluster=cluster,
        checkpoint_seconds=checkpoint_seconds,
        progress=True,
    )
    print(f"{output}: {dictionaries(len(filled))}")


def _list(bank: str) -> None:
    found = Bank.open(bank)
    rows = [("name", *COLUMNS), *((entry.name, *facts(entry)) for entry in found)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print(f"{row[0]:{widths[0]}}  {'  '.join(cells)}")


def _show(bank: str, name: str) -> None:
    for key, value in sorted(Bank.open(bank)[name].provenance.items()):
        print(f"{key:18}{value}")


def _verify(bank: str) -> None:
    wrong = verify(bank)
    for sentence in wrong.values():
        print(sentence, file=sys.stderr)
    if wrong:
        raise ValueError(f"{bank}: not good: {', '.join(wrong)}")
    found = Bank.open(bank)
    if not len(found):
        raise ValueError(f"there is no dictionary in {bank}")
    print(f"{bank}: {dictionaries(len(found))}, all good")


def _report(bank: str, output: str) -> None:
    write_report(Bank.open(bank), output)
    print(f"report: {Path(output).resolve()}")


COMMANDS: dict[str, Callable[..., None]] = {
    "build": _build,
    "list": _list,
    "show": _show,
    "verify": _verify,
    "report": _report,
}
