"""The README keeps its word: its blocks are run by pytest, as a user's would be, and its message is the one printed."""

import re
from pathlib import Path

import pytest

pytest.importorskip("torch._dynamo")  # before any inner run, see test_plugin
pytest.importorskip("hypothesis.internal.entropy")

README = Path(__file__).parent.parent.joinpath("README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)

# The user's own training code, with the optimizer on the line that the README's message names.
TRAIN = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.head = nn.Linear(8, 10)

    def forward(self, inputs):
        return self.head(self.body(inputs).relu())


def train_step(model, optimizer, batch):
    inputs, targets = batch
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), targets)
    loss.backward()
    optimizer.step()
    return loss


torch.manual_seed(0)
batch = torch.randn(16, 4), torch.randint(0, 2, (16,))


# The head is replaced: two classes instead of ten.
model = Model()

"""
HEALTHY = "model.head = nn.Linear(8, 2)\noptimizer = torch.optim.Adam(model.parameters())\n"
STALE = "optimizer = torch.optim.Adam(model.parameters())\nmodel.head = nn.Linear(8, 2)\n"


@pytest.fixture
def run(pytester):
    """Runs a block beside the training code, and returns what pytest said."""

    def run(block, train):
        pytester.makepyfile(train=TRAIN + train, test_block="from train import *\n" + block)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-W", "error", "--tb=short")

    return run


def test_the_first_block_is_three_lines():
    assert README.index("```python") < README.index("# pytest-trainstep")
    assert len([line for line in BLOCKS[0].splitlines() if line]) == 3


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_passes_on_healthy_training(run, number):
    outcomes = run(BLOCKS[number], HEALTHY).parseoutcomes()

    assert set(outcomes) == {"passed"}
    assert outcomes["passed"] == BLOCKS[number].count("def test_")


def error_lines(text):
    return [line.rstrip() for line in re.findall(r"^E(?: .*)?$", text, re.MULTILINE)]


def test_the_message_is_the_one_that_is_printed(run):
    message, printed = error_lines(README), error_lines("\n".join(run(BLOCKS[0], STALE).outlines))

    assert printed == message
