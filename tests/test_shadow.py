"""The float64 replay of a step: it predicts what rounding swallows, for every kind of optimizer, and touches nothing."""

import copy
import math

import pytest
import torch
from torch import nn

from pytest_trainstep._watch import shadow


class Outside(torch.optim.Optimizer):
    """Third-party manners: keeps its momentum in an attribute, under the names of parameters it holds in a list."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
        self.flat = [one for group in self.param_groups for one in group["params"]]
        self.averages = [torch.zeros_like(one) for one in self.flat]

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure() if closure is not None else None
        for parameter, average in zip(self.flat, self.averages, strict=True):
            if parameter.grad is not None:
                average.mul_(0.9).add_(parameter.grad)
                parameter.sub_(average, alpha=self.param_groups[0]["lr"])
        return loss


class WithoutReference(torch.optim.Optimizer):
    """Writes through `.data`, and makes its state while it steps."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "count": 0})

    def step(self, _closure=None):
        for group in self.param_groups:
            group["count"] += 1
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                state.setdefault("largest", torch.zeros((), dtype=torch.float32))
                state["largest"] = torch.maximum(state["largest"], parameter.grad.abs().max().float())
                parameter.data = parameter.data - group["lr"] * parameter.grad / state["largest"].to(parameter.dtype)


class Wrapping(torch.optim.Optimizer):
    """An optimizer around another one, as for sharpness-aware steps: it shares the groups."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
        self.base = torch.optim.SGD(self.param_groups, lr=lr)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def step(self, _closure=None):
        self.base.step()


OPTIMIZERS = {
    "sgd": lambda params, lr: torch.optim.SGD(params, lr=lr),
    "momentum": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": torch.optim.Adam,
    "adam-tensor-lr": lambda params, lr: torch.optim.Adam(params, lr=torch.tensor(lr), foreach=False),
    "adamw-fused": lambda params, lr: torch.optim.AdamW(params, lr=lr, fused=True),
    "amsgrad": lambda params, lr: torch.optim.Adam(params, lr=lr, amsgrad=True),
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adafactor": torch.optim.Adafactor,
    "nadam": torch.optim.NAdam,
    "outside": Outside,
    "without-reference": WithoutReference,
    "wrapping": Wrapping,
}


def prepared(name, dtype, lr, steps=3):
    """An optimizer in the middle of a training, with a gradient for its next step."""
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(64, 32).to(dtype)), nn.Parameter(torch.randn(256).to(dtype))]
    optimizer = OPTIMIZERS[name](parameters, lr)
    for _ in range(steps):
        for one in parameters:
            one.grad = torch.randn(one.shape).to(dtype)
        optimizer.step()
    return parameters, optimizer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_replay_predicts_which_elements_stay(name, dtype):
    parameters, optimizer = prepared(name, dtype, lr=1e-3)
    wanted = shadow._run(optimizer, parameters, 1.0)
    predicted = [new.to(dtype) == one.detach() for new, one in zip(wanted, parameters, strict=True)]
    before = [one.detach().clone() for one in parameters]
    optimizer.step()

    stayed = [old == one.detach() for old, one in zip(before, parameters, strict=True)]
    same = sum(int((a == b).sum()) for a, b in zip(predicted, stayed, strict=True))
    total = sum(one.numel() for one in parameters)
    assert same / total > 0.95  # NAdam rounds twice, the others agree nearly everywhere
    assert 0 < sum(int(one.sum()) for one in stayed) < total  # neither all nor none: the test can fail


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_replay_touches_nothing(name):
    parameters, optimizer = prepared(name, torch.bfloat16, lr=1e-3)
    twin_parameters, twin = prepared(name, torch.bfloat16, lr=1e-3)
    stream = torch.get_rng_state()

    verdicts = shadow.verdicts(optimizer, parameters)
    assert [verdict.kind for verdict in verdicts] == ["would-move"] * 2 or all(
        verdict.kind == "underflow" for verdict in verdicts
    )

    assert torch.equal(torch.get_rng_state(), stream)
    for one in (optimizer, twin):
        one.step()
    for a, b in zip(parameters, twin_parameters, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_smallest_lr_that_is_named_moves_most_elements(name):
    parameters, optimizer = prepared(name, torch.bfloat16, lr=1e-9, steps=1)
    for verdict in shadow.verdicts(optimizer, parameters):
        assert verdict.kind == "underflow"
        assert verdict.lr == pytest.approx(1e-9)
        assert verdict.swallowed > 0.9
        assert verdict.smallest_lr > 1e-9
    named = max(verdict.smallest_lr for verdict in shadow.verdicts(optimizer, parameters))

    before = [one.detach().clone() for one in parameters]
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(named) if isinstance(group["lr"], torch.Tensor) else named
    optimizer.step()

    moved = sum(int((old != one).sum()) for old, one in zip(before, parameters, strict=True))
    assert moved / sum(one.numel() for one in parameters) > 0.45


def test_an_optimizer_that_writes_nothing_is_told_from_rounding():
    class Idle(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1})

        def step(self, closure=None):
            """Returns early."""

    class Asking(Idle):
        @torch.no_grad()
        def step(self, closure=None):
            if closure is None:
                return
            closure()
            for one in self.param_groups[0]["params"]:
                one.sub_(one.grad, alpha=0.1)

    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    (idle,) = shadow.verdicts(Idle([parameter]), [parameter])
    (asking,) = shadow.verdicts(Asking([parameter]), [parameter])

    assert (idle.kind, idle.closure_helps) == ("writes-nothing", False)
    assert (asking.kind, asking.closure_helps) == ("writes-nothing", True)


@pytest.mark.still
def test_hooks_of_the_user_do_not_run_in_a_replay():
    parameters, optimizer = prepared("adam", torch.bfloat16, lr=1e-9, steps=1)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

    assert shadow.verdicts(optimizer, parameters)[0].kind == "underflow"
    assert calls == []


def test_an_optimizer_that_refuses_to_be_copied_is_unknown():
    class Stubborn(torch.optim.SGD):
        def __deepcopy__(self, memo):
            raise TypeError

    parameters, optimizer = prepared("sgd", torch.float32, lr=0.1)
    optimizer.lock = (value for value in ())  # generators cannot be copied
    assert shadow.verdicts(optimizer, parameters) == [shadow.UNKNOWN] * 2
    assert copy.copy(shadow.UNKNOWN) == shadow.UNKNOWN


def test_sparse_and_complex_parameters_are_replayed_too():
    table = nn.Parameter(torch.ones(5, 2))
    nn.functional.embedding(torch.tensor([1, 3]), table, sparse=True).sum().backward()
    wave = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    wave.grad = torch.ones(3, dtype=torch.complex64)

    (sparse,) = shadow.verdicts(torch.optim.SGD([table], lr=1e-12), [table])
    (complex_,) = shadow.verdicts(torch.optim.SGD([wave], lr=1e-12), [wave])
    assert (sparse.kind, complex_.kind) == ("underflow", "underflow")
    assert sparse.swallowed == complex_.swallowed == 1
    assert not math.isnan(complex_.spacing)
