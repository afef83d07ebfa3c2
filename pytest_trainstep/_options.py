"""The wishes and the three ways to say them: an option, an environment variable, an ini key; and the marker on top.

Every wish has one word, from which all its names are derived. What is said wrongly is a `pytest.UsageError` that lists
what is valid.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest

from pytest_trainstep import _devices, _seeding
from pytest_trainstep._settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


class Wish(NamedTuple):  # not a dataclass, which every start of pytest would pay for
    """One thing that can be asked for, with the same word everywhere."""

    word: str
    read: Callable[[str], Any]
    """Turns text into the value; what it raises says what would have been valid."""
    ini: Literal["args", "int", "float"]
    metavar: str
    help: str
    from_environment: bool = False

    @property
    def option(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def key(self) -> str:
        """The ini key, which is also the name under which pytest stores the option."""
        return f"trainstep_{self.word}"

    @property
    def variable(self) -> str:
        return self.key.upper()

    @property
    def many(self) -> bool:
        return self.ini == "args"


def _device(text: str) -> str:
    if text not in _devices.NAMES:
        raise argparse.ArgumentTypeError(f"unknown device {text!r}; valid are {', '.join(_devices.NAMES)}")
    return text


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= _seeding.LIMIT:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; valid are the whole numbers from 0 to 2**32 - 1")
    return int(text)


def _steps(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of steps; valid are the whole numbers from 1")
    return int(text)


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no update ratio; valid are the numbers from 0")
    return ratio


WISHES = (
    Wish(
        "device",
        _device,
        ini="args",
        metavar="NAME",
        help=f"the device of trainstep_device (default: cpu); may be repeated; one of {', '.join(_devices.NAMES)}",
        from_environment=True,
    ),
    Wish(
        "seed",
        _seed,
        ini="int",
        metavar="INT",
        help="seed the random streams before every test (default: leave them alone)",
        from_environment=True,
    ),
    Wish(
        "steps",
        _steps,
        ini="int",
        metavar="INT",
        help="how often an assertion runs its step (default: what the claim needs)",
    ),
    Wish(
        "min_update",
        _ratio,
        ini="float",
        metavar="RATIO",
        help="the smallest update ratio that counts as an update (default: any change)",
    ),
)
FROZEN = "trainstep_frozen"


def declare(parser: pytest.Parser) -> None:
    """Add every wish to pytest's options and ini keys."""
    group = parser.getgroup("trainstep", "training-step assertions")
    for wish in WISHES:
        action = "append" if wish.many else "store"
        group.addoption(wish.option, action=action, type=wish.read, default=None, metavar=wish.metavar, help=wish.help)
        parser.addini(wish.key, f"{wish.help}; the same as {wish.option}", type=wish.ini, default=None)
    parser.addini(FROZEN, "patterns of parameters that may stand still in this suite", type="linelist", default=[])


def ini(config: pytest.Config, key: str) -> Any:  # noqa: ANN401 (its type is the one that was declared)
    """Return an ini value; before pytest 9.2 one of the wrong type was no usage error."""
    try:
        return config.getini(key)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(str(error)) from None


def _said_elsewhere(config: pytest.Config, wish: Wish) -> tuple[str, list[str]]:
    """Return where a wish was said other than on the command line, and the texts that say it."""
    said = os.environ.get(wish.variable, "") if wish.from_environment else ""
    if said:
        return wish.variable, said.replace(",", " ").split() if wish.many else [said]
    value = ini(config, wish.key)
    values = value if wish.many else [value]
    return f"ini key {wish.key}", [] if value is None else [str(each) for each in values]


def _asked(config: pytest.Config, wish: Wish) -> Any:  # noqa: ANN401 (its type is the one that the wish reads)
    source, texts = _said_elsewhere(config, wish)
    try:  # in any case, so that an option does not hide a slip
        values = [wish.read(text) for text in texts]
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"{source}: {error}") from None
    option = config.getoption(wish.key)
    if option is not None:
        return option
    if wish.many or not values:
        return values or None
    return values[0]


class Asked(NamedTuple):
    """What was asked for a whole session."""

    settings: Settings
    devices: tuple[str, ...]

    @property
    def anything(self) -> bool:
        return self.settings != Settings()


def asked(config: pytest.Config) -> Asked:
    """Read command line, environment and ini file, the first that speaks winning."""
    device, seed, steps, min_update = (_asked(config, wish) for wish in WISHES)
    settings = Settings(
        steps=steps,
        ini_frozen=tuple(ini(config, FROZEN)),
        min_update=min_update,
        seed=seed,
        device=device[0] if device else None,
    )
    return Asked(settings, tuple(device or ("cpu",)))


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise argparse.ArgumentTypeError(f"{value!r} is no list of patterns; valid is for example ['head.*']")
    return tuple(value)


def _whole(read: Callable[[str], int]) -> Callable[[object], int]:
    return lambda value: read(str(value))


def _off(word: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value != "off":
            raise argparse.ArgumentTypeError(f"{word}={value!r} is no excuse; valid is {word}='off', with reason='...'")
        return "off"

    return read


def _reason(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise argparse.ArgumentTypeError(f"{value!r} is no reason; valid is a text that is not empty")
    return value


MARKER: dict[str, Callable[[Any], Any]] = {
    "steps": _whole(_steps),
    "frozen": _patterns,
    "only": _patterns,
    "seed": _whole(_seed),
    "audit": _off("audit"),
    "mutate": _off("mutate"),
    "reason": _reason,
}
MARKER_HELP = (
    "trainstep(*, steps, frozen, only, seed, audit, mutate, reason): what the training-step assertions of this test take for granted. "
    "steps: how often they run the step; frozen: patterns of parameters that are excused; only: patterns of those "
    "that are judged; seed: seeds the random streams before the test; "
    "audit='off' with reason='...': the audit finds nothing in it; "
    "mutate='off' with reason='...': no fault is planted into it."
)


def _marker_keywords(node: pytest.Item) -> Iterator[tuple[str, Any]]:
    for mark in reversed(list(node.iter_markers("trainstep"))):  # the closest comes last, and so wins
        if mark.args:
            raise argparse.ArgumentTypeError(f"takes keywords only, not {mark.args!r}; valid are {', '.join(MARKER)}")
        for keyword, value in mark.kwargs.items():
            if keyword not in MARKER:
                raise argparse.ArgumentTypeError(f"unknown keyword {keyword!r}; valid are {', '.join(MARKER)}")
            if value is not None:
                yield keyword, MARKER[keyword](value)


def _complete(words: dict[str, Any]) -> dict[str, Any]:
    if ("audit" in words or "mutate" in words) != ("reason" in words):
        raise argparse.ArgumentTypeError("audit='off' or mutate='off' and reason='...' are said together")
    return words


def marked(node: pytest.Item, settings: Settings) -> Settings:
    """Lay the markers of a test, its class and its module over what was asked for the session."""
    try:
        return settings._replace(**_complete(dict(_marker_keywords(node))))
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"{node.nodeid}: marker trainstep: {error}") from None
