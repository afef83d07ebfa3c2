"""The ledger: overhears the optimizers of a whole suite, and reports at the end. Registered only when asked for."""

from __future__ import annotations

import argparse
from pathlib import Path  # noqa: TC003 - the class below is looked into at run time
from typing import NamedTuple

import pytest

INI = "trainstep_audit"
MODES = ("off", "report", "fail")
SUFFIXES = (".html", ".json", ".md")


class Asked(NamedTuple):
    """What was asked of the audit."""

    mode: str
    paths: tuple[Path, ...]


def _mode(text: str) -> str:
    if text not in MODES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no mode of the audit; valid are {', '.join(MODES)} (before a path: --trainstep-audit=report)"
        )
    return text


def declare(parser: pytest.Parser) -> None:
    """Add the options and ini keys."""
    group = parser.getgroup("trainstep", "training-step assertions")
    group.addoption(
        "--trainstep-audit",
        dest=INI,
        nargs="?",
        type=_mode,
        const=True,
        default=None,
        metavar="MODE",
        help=(
            "watch every optimizer step of the suite, and report the tests that train nothing; with =fail, a test whose"
            " optimizer never updated anything in it fails"
        ),
    )
    group.addoption(
        "--trainstep-report",
        dest="trainstep_report",
        action="append",
        default=None,
        metavar="PATH",
        help=f"write what the audit found to PATH ({', '.join(SUFFIXES)}); may be repeated; switches the audit on",
    )
    parser.addini(INI, f"watch the optimizers of the suite: {', '.join(MODES)} (default: off)", default="off")


def asked(config: pytest.Config) -> Asked:
    """Read what was asked for.

    Raises:
        pytest.UsageError: A mode or the kind of a report is none of the valid ones.
    """
    said = str(config.getini(INI))
    if said not in MODES:
        raise pytest.UsageError(f"ini key {INI}: {said!r} is no mode of the audit; valid are {', '.join(MODES)}")
    paths = tuple(config.invocation_params.dir / path for path in config.getoption("trainstep_report") or ())
    for path in paths:
        if path.suffix not in SUFFIXES:
            raise pytest.UsageError(
                f"--trainstep-report: {path.name!r} is no kind of report; valid are names that end in {', '.join(SUFFIXES)}"
            )
    option = config.getoption(INI)
    mode = option if isinstance(option, str) else said
    if mode == "off" and (option is True or paths):
        mode = "report"  # the option without a mode says only: on
    return Asked(mode, paths)


def register(config: pytest.Config) -> None:
    """Register what the audit needs, if it was asked for."""
    wanted = asked(config)
    if wanted.mode == "off":
        return
    distributes = bool(config.getoption("tx", None)) and not hasattr(config, "workerinput")
    if not distributes:
        from .listener import Listener

        config.pluginmanager.register(Listener(config, wanted), "trainstep-listener")
    if not hasattr(config, "workerinput"):
        from .ledger import Ledger

        config.pluginmanager.register(Ledger(config, wanted), "trainstep-ledger")
