"""The fix names the model and the call as the test itself names them."""

import pytest

pytest.importorskip("torch._dynamo")
pytest.importorskip("hypothesis.internal.entropy")

HEAD = """
import functools
import pytest, torch
from torch import nn

MODEL = nn.Linear(4, 1)

def fit(model, times=1):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(times):
        optimizer.zero_grad()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()

class Trainer:
    def __init__(self):
        self.net = nn.Linear(4, 1)
    def run(self, times):
        fit(self.net, times)
"""
CASES = {
    "a call of the test": (
        "def test_it():\n    net = nn.Linear(4, 1)\n    fit(net)\n",
        "at test_it.py:*, add assert_weights_update(net, lambda: fit(net))",
    ),
    "over several lines": (
        "def test_it():\n    net = nn.Linear(4, 1)\n    fit(\n        net,\n        times=2,\n    )\n",
        "at test_it.py:*, add assert_weights_update(net, lambda: fit(net, times=2))",
    ),
    "in a comprehension": (
        "def test_it():\n    net = nn.Linear(4, 1)\n    [fit(net) for _ in range(2)]\n",
        "at test_it.py:*, add assert_weights_update(net, lambda: fit(net))",
    ),
    "in an assertion": (
        "def test_it():\n    net = nn.Linear(4, 1)\n    assert fit(net) is None\n",
        "at test_it.py:*, add assert_weights_update(net, lambda: fit(net))",
    ),
    "a model of the module": (
        "def test_it():\n    fit(MODEL)\n",
        "at test_it.py:*, add assert_weights_update(MODEL, lambda: fit(MODEL))",
    ),
    "the attribute of a trainer": (
        "def test_it():\n    trainer = Trainer()\n    trainer.run(times=3)\n",
        "at test_it.py:*, add assert_weights_update(trainer.net, lambda: trainer.run(times=3))",
    ),
    "an open loop": (
        """
def test_it():
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(torch.ones(1, 4)).sum().backward()
    optimizer.step()
""",
        "at test_it.py:*, put `with watch(net) as watched:` around the training, and watched.assert_weights_update() bel",
    ),
    "the whole model, not a layer of it": (
        "def test_it():\n    head = nn.Linear(4, 1)\n    whole = nn.Sequential(nn.Identity(), head)\n    fit(whole)\n",
        "add assert_weights_update(head, lambda: fit(whole))",  # both hold what is trained; the smaller is named
    ),
    "a model that the test does not see": (
        "def test_it():\n    fit(nn.Linear(4, 1))\n",
        "at test_it.py:*, put `with watch(model) as watched:` around the training, and watched.assert_weights_update() b",
    ),
    "a fixture": (
        "@pytest.fixture\ndef trained():\n    net = nn.Linear(4, 1)\n    fit(net)\n\ndef test_it(trained):\n    pass\n",
        "in fixture trained (test_it.py:*), add assert_weights_update(net, lambda: fit(net))",
    ),
    "behind a decorator": (
        """
def twice(test):
    @functools.wraps(test)
    def wrapper():
        test()
        test()
    return wrapper

@twice
def test_it():
    net = nn.Linear(4, 1)
    fit(net)
""",
        "at test_it.py:*, add assert_weights_update(net, lambda: fit(net))",
    ),
}


@pytest.mark.parametrize(("test", "said"), CASES.values(), ids=CASES)
def test_the_place_is_found(pytester, test, said):
    pytester.makepyfile(test_it=HEAD + "\n" + test)
    result = pytester.runpytest_inprocess("--trainstep-mutate=noop-step")
    result.stdout.fnmatch_lines([f"*fix: *{said.replace('[', '[[]')}*"])
