"""Set-ups drawn and built per second, beside hypothesis-torch where that is installed; and what each finds and prints.

Run: python benchmarks/strategies.py [--seeds N] [--examples N]
"""

import argparse
import contextlib
import time

import torch
from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from torch import nn

from pytest_trainstep import strategies as ts

try:
    import hypothesis_torch
except ImportError:
    hypothesis_torch = None


def calm(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


DENSE = [
    getattr(torch.optim, name)
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop", "Adadelta")
]


class Theirs:
    """What a set-up looks like that is put together from hypothesis-torch's strategies."""

    def __init__(self, model, optimizer, inputs, targets):
        self.model, self.optimizer, self.inputs, self.targets = model, optimizer, inputs, targets
        self.loss_fn = nn.MSELoss()

    def __repr__(self):
        return f"{self.model!r}, {self.optimizer!r}, {self.inputs!r}, {self.targets!r}"


@st.composite
def their_setups(draw):
    cpu = torch.device("cpu")
    size = draw(st.sampled_from([2, 4, 8, 3, 5, 1, 7, 16]))
    model = draw(
        hypothesis_torch.linear_network_strategy(
            input_shape=(3,),
            output_shape=(2,),
            activation_layer=hypothesis_torch.same_shape_activation_strategy(),
            hidden_layer_size=st.integers(1, 8),
            num_hidden_layers=st.integers(0, 3),
            device=cpu,
        )
    )
    # Left to itself it draws options and layouts that torch refuses: it is helped, and what is still refused is dropped.
    make = draw(hypothesis_torch.optimizer_strategy(st.sampled_from(DENSE)))
    values = st.floats(-2, 2, width=32)
    inputs = draw(
        hypothesis_torch.tensor_strategy(torch.float32, (size, 3), elements=values, device=cpu, layout=torch.strided)
    )
    targets = draw(
        hypothesis_torch.tensor_strategy(torch.float32, (size, 2), elements=values, device=cpu, layout=torch.strided)
    )
    try:
        optimizer = make(model.parameters())
    except (RuntimeError, TypeError, ValueError):
        reject()
    return Theirs(model, optimizer, inputs, targets)


def correct(setup):
    setup.optimizer.zero_grad()
    setup.loss_fn(setup.model(setup.inputs), setup.targets).backward()
    setup.optimizer.step()


def unless(refused):
    def step(setup):
        if not refused(setup):
            correct(setup)

    step.refused = refused
    return step


BUGS = {
    "(none: a correct step)": correct,
    "learning rate below 5e-4": unless(lambda s: float(s.optimizer.param_groups[0]["lr"]) < 5e-4),
    "batch of one": unless(lambda s: len(s.inputs) == 1),
    "odd batch": unless(lambda s: len(s.inputs) % 2),
    "a second parameter group": unless(lambda s: len(s.optimizer.param_groups) > 1),
    "Adam": unless(lambda s: type(s.optimizer) is torch.optim.Adam),
    "weight decay": unless(lambda s: s.optimizer.defaults.get("weight_decay", 0) > 0),
    "nested two levels deep": unless(lambda s: any(n.count(".") > 1 for n, _ in s.model.named_parameters())),
    "a layer norm": unless(lambda s: any(isinstance(m, nn.LayerNorm) for m in s.model.modules())),
    "no dimensions": unless(lambda s: any(not p.shape for p in s.model.parameters())),
    "no bias": unless(lambda s: not any("bias" in n for n, _ in s.model.named_parameters())),
    "not contiguous": unless(lambda s: any(not p.is_contiguous() for p in s.model.parameters())),
    "bfloat16": unless(lambda s: next(s.model.parameters()).dtype == torch.bfloat16),
}


def still(setup, step):
    before = [p.detach().clone() for p in setup.model.parameters()]
    trainable = [p.requires_grad for p in setup.model.parameters()]
    step(setup)
    after = [p.detach() for p in setup.model.parameters()]
    return any(wanted and torch.equal(old, new) for wanted, old, new in zip(trainable, before, after, strict=True))


def rate(strategy, examples):
    count = 0

    @seed(0)
    @calm(examples)
    @given(strategy)
    def draws(setup):
        nonlocal count
        count += 1
        _ = setup.model, setup.optimizer, setup.inputs, setup.targets, setup.loss_fn

    wall, cpu = time.perf_counter(), time.process_time()
    with contextlib.suppress(Exception):  # theirs raises what torch raises; what was drawn so far counts
        draws()
    return count / (time.perf_counter() - wall), count / (time.process_time() - cpu)


def finds(strategy, step, number):
    """Return the smallest set-up that stands still, if any, whether the bug is why, and how often torch raised."""
    found, guilty, raised = [], False, 0

    @seed(number)
    @calm(100)
    @given(strategy)
    def check(setup):
        nonlocal guilty, raised
        try:
            stood_still = still(setup, step)
        except Exception:  # noqa: BLE001  # what torch raises on a set-up that makes no sense
            raised += 1
            reject()
        if stood_still:
            found[:] = [repr(setup)]
            guilty = bool(getattr(step, "refused", lambda _: False)(setup))
            raise AssertionError

    with contextlib.suppress(AssertionError, Unsatisfiable):
        check()
    return (found[0] if found else ""), guilty, raised


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=1000)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sides = {"pytest-trainstep": ts.training_setups()}
    if hypothesis_torch is not None:
        sides["hypothesis-torch"] = their_setups()
    for name, strategy in sides.items():
        wall, cpu = rate(strategy, chosen.examples)
        print(f"{name}: {wall:.0f} set-ups per second drawn and built ({cpu:.0f} per second of CPU)")
    for bug, step in BUGS.items():
        for name, strategy in sides.items():
            results = [finds(strategy, step, number) for number in range(chosen.seeds)]
            found = [text for text, _, _ in results if text]
            guilty = sum(guilty for _, guilty, _ in results)
            raised = sum(count for _, _, count in results)
            print(
                f"{bug:26} {name:17} found {guilty}/{chosen.seeds}, false alarms {len(found) - guilty}, "
                f"torch raised {raised} times: {' '.join(min(found, key=len).split())[:160] if found else '-'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
