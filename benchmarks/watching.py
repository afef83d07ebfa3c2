"""What watching costs, beside the alternatives: time per step and peak memory, in one run.

    python benchmarks/watching.py [--model tiny transformer large] [--steps 20] [--rounds N] [--device cpu]

How to read the tables is said in README.md, beside this file.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from pytest_trainstep import assert_weights_update, watch

MIB = 2**20
ROUNDS = {"tiny": 15, "transformer": 7, "large": 3}


# -- the models


class Parallel(nn.Module):
    """A hundred small layers side by side: 200 parameters, each with a gradient that neither explodes nor vanishes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(100))

    def forward(self, inputs):
        return sum(layer(inputs) for layer in self.layers)


def tiny():
    return Parallel(), torch.randn(16, 8), torch.randn(16, 8), torch.optim.SGD


def transformer():
    layer = nn.TransformerEncoderLayer(128, nhead=4, dim_feedforward=256, batch_first=True)
    model = nn.TransformerEncoder(layer, num_layers=6)
    return model, torch.randn(8, 32, 128), torch.randn(8, 32, 128), torch.optim.Adam


def large():
    layers = [nn.Linear(4096, 4096) for _ in range(6)]
    model = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    return model, torch.randn(16, 4096), torch.randn(16, 4096), torch.optim.SGD


MODELS = {
    "tiny": ("200 tiny parameters, SGD", tiny),
    "transformer": ("a Transformer of 6 layers, Adam", transformer),
    "large": ("100 M parameters, SGD", large),
}


def setup(name, device):
    """Build one model with all that its step needs; `step` is the user's own, and the same for everybody."""
    torch.manual_seed(0)
    model, inputs, targets, kind = MODELS[name][1]()
    model, inputs, targets = model.to(device), inputs.to(device), targets.to(device)
    optimizer = kind(model.parameters(), lr=1e-3)
    loss_fn = nn.functional.mse_loss

    def step():
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()

    return SimpleNamespace(
        model=model, optimizer=optimizer, batch=[inputs, targets], loss_fn=loss_fn, step=step, device=device
    )


# -- the contestants: each runs `steps` steps, and returns the seconds it spent inside them if that is less


def bare(case, steps):
    for _ in range(steps):
        case.step()


def clone_and_compare(case, steps):
    for _ in range(steps):
        before = [parameter.detach().clone() for parameter in case.model.parameters()]
        case.step()
        pairs = zip(before, case.model.parameters(), strict=True)
        if any(torch.equal(old, new) for old, new in pairs):
            raise AssertionError("some parameter did not change")


def torchtest(case, steps):
    import torchtest

    for _ in range(steps):  # it runs its own step, which is the same as ours
        torchtest.assert_vars_change(case.model, case.loss_fn, case.optimizer, case.batch, case.device)


def pytest_torch(case, steps):
    from pytest_torch import run_training

    run_training(
        lambda: (case.model, case.optimizer),
        case.batch,
        step=lambda _setup, _batch: case.step(),
        steps=steps,
        device=case.device,
    )


def watched(case, steps):
    with watch(case.model) as seen:
        start = now(case.device)
        bare(case, steps)
        inside = now(case.device)[0] - start[0]
    seen.assert_weights_update()
    return inside


def asserted(case, steps):
    for _ in range(steps):
        assert_weights_update(case.model, case.step)


CONTESTANTS = {
    "bare": ("bare step", bare, None),
    "clone": ("naive clone and compare", clone_and_compare, None),
    "torchtest": ("torchtest", torchtest, "torchtest"),
    "pytest-torch": ("pytest-torch, run_training", pytest_torch, "pytest_torch"),
    "watch": ("trainstep, one watch over all", watched, None),
    "assert": ("trainstep, one assertion a step", asserted, None),
}


def present(contestant):
    package = CONTESTANTS[contestant][2]
    return package is None or importlib.util.find_spec(package) is not None


# -- measuring


def now(device):
    """Return the wall clock and the clock of this process, once the device has nothing left to do."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def timed(contestant, case, steps):
    """Return wall and CPU seconds of one step of this contestant, and of the step alone."""
    start = now(case.device)
    inside = CONTESTANTS[contestant][1](case, steps)
    end = now(case.device)
    wall, cpu = ((b - a) / steps for a, b in zip(start, end, strict=True))
    return wall, cpu, wall if inside is None else inside / steps


def measure_times(name, steps, rounds, device):
    """Run the bare step before and after each contestant, so that both meet the same weather."""
    case = setup(name, device)
    others = [one for one in CONTESTANTS if one != "bare" and present(one)]
    for one in ("bare", *others):  # the first time of anything is special
        timed(one, case, min(steps, 2))
    rows = {one: [] for one in ("bare", *others)}
    for _ in range(rounds):
        before = timed("bare", case, steps)
        rows["bare"].append((before[0], 1.0, 1.0, 1.0))
        for one in others:
            own = timed(one, case, steps)
            after = timed("bare", case, steps)
            wall, cpu = (before[0] + after[0]) / 2, (before[1] + after[1]) / 2
            rows[one].append((own[0], own[0] / wall, own[1] / cpu, own[2] / wall))
            before = after
    return {one: [statistics.median(column) for column in zip(*values, strict=True)] for one, values in rows.items()}


def measure_memory(name, contestant, device):
    """Return the peak of a process of its own, in MiB; None where nothing tells it."""
    command = [sys.executable, __file__, "--peak", name, contestant, "--device", device]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    return json.loads(answer.stdout) if answer.returncode == 0 else None


def peak(name, contestant, device):
    case = setup(name, device)
    bare(case, 2)
    CONTESTANTS[contestant][1](case, 3)
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):  # ru_maxrss would count the parent
            return int(line.split()[1]) / 1024
    return None


# -- printing


def report(name, steps, rounds, device):
    case = setup(name, device)
    tensors = list(case.model.parameters())
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    print(f"\n{MODELS[name][0]}: {len(tensors)} tensors, {weights / MIB:.1f} MiB of weights, {rounds} rounds")
    del case, tensors
    print(f"{'':34}{'ms/step':>9}{'added':>8}{'(CPU)':>8}{'(steps alone)':>15}{'peak MiB':>10}{'added':>8}")
    times = measure_times(name, steps, rounds, device)
    floor = measure_memory(name, "bare", device)
    for one, (title, _, _) in CONTESTANTS.items():
        if one not in times:
            print(f"{title:34}not installed")
            continue
        wall, ratio, cpu, alone = times[one]
        line = f"{title:34}{wall * 1e3:9.2f}"
        line += f"{'':31}" if one == "bare" else f"{ratio - 1:8.1%}{cpu - 1:8.1%}{alone - 1:15.1%}"
        memory = floor if one == "bare" else measure_memory(name, one, device)
        if memory is not None and floor is not None:
            line += f"{memory:10.0f}" + ("" if one == "bare" else f"{memory - floor:8.0f}")
        print(line, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description="What watching costs, beside the alternatives.")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--steps", type=int, default=20, help="steps in one watch, and in every other block")
    parser.add_argument("--rounds", type=int, help=f"how often everything is measured (default: {ROUNDS})")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    if options.peak:
        print(json.dumps(peak(*options.peak, options.device)))
        return
    device = "the CPU" if options.device == "cpu" else torch.cuda.get_device_name()
    print(f"Python {platform.python_version()}, torch {torch.__version__} on {device}, ", end="")
    print(f"{torch.get_num_threads()} threads; {options.steps} steps a block")
    for name in options.model:
        report(name, options.steps, options.rounds or ROUNDS[name], options.device)


if __name__ == "__main__":
    main()
