"""docs/strategies.md keeps its word: its blocks are run, and its message is the one printed."""

import re
from pathlib import Path
from types import FunctionType

import pytest
from hypothesis import is_hypothesis_test, settings
from torch.optim import SGD

from pytest_trainstep import WeightsNotUpdated
from pytest_trainstep import strategies as ts

PAGE = Path(__file__).parents[2].joinpath("docs", "strategies.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def step(model, optimizer, inputs, targets, loss_fn):
    optimizer.zero_grad()
    loss_fn(model(inputs), targets).backward()
    optimizer.step()


def rounding_step(model, lr, inputs, targets, loss_fn):
    step(model, SGD(model.parameters(), lr=round(lr, 3)), inputs, targets, loss_fn)


def test_every_block_of_the_page_runs():
    room = {"my_step": step}
    for block in BLOCKS:
        exec(block, room)  # noqa: S102
    tests = [value for name, value in room.items() if name.startswith("test_")]
    assert len(tests) >= 3
    for test in tests:
        settings(deadline=None, max_examples=10, database=None)(test)() if is_hypothesis_test(test) else test()


def test_the_failure_on_the_page_is_the_one_printed():
    assert "    setup=TrainingSetup(lr=0.0001)\n" in PAGE
    with pytest.raises(WeightsNotUpdated) as raised:
        ts.check_train_step(rounding_step, shape="lr", seed=0)
    assert "TrainingSetup(lr=0.0001)" in raised.value.__notes__[-1]


def test_the_table_of_the_page_names_every_strategy():
    strategies = {name for name, value in vars(ts).items() if isinstance(value, FunctionType) and name[-1] == "s"}
    assert {name for name in strategies if f"`{name}(" not in PAGE} == set()
