"""Training steps that do nothing under one condition, each with its correct twin, for test_collection.py.

``CASES`` maps a name to a ``Case``. ``faulty`` is the step with the slip; ``correct`` is the same without it; ``shows``
names the parts of a set-up that may differ from the ordinary one after shrinking, and no others.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Case:
    shape: str
    shows: frozenset[str]
    faulty: Callable[..., Any]
    correct: Callable[..., Any]


CASES: dict[str, Case] = {}


def case(shape: str, *shows: str):
    """Register what the decorated function returns for True, the faulty step, and for False, its twin."""

    def register(make: Callable[[bool], Callable[..., Any]]):
        CASES[make.__name__] = Case(shape, frozenset(shows), make(True), make(False))
        return make

    return register


def backward(model, inputs, targets, loss_fn):
    model.zero_grad()
    loss = loss_fn(model(inputs), targets)
    loss.backward()
    return loss


def with_rate(skipped: Callable[..., bool]) -> Callable[[bool], Callable[..., Any]]:
    """Plain gradient descent that leaves out parameters."""

    def make(faulty):
        def step(model, lr, inputs, targets, loss_fn):
            backward(model, inputs, targets, loss_fn)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if parameter.requires_grad and not (faulty and skipped(name, parameter)):
                        parameter.sub_(lr * parameter.grad)

        return step

    return make


def unless(refused: Callable[..., bool]) -> Callable[[bool], Callable[..., Any]]:
    """Plain gradient descent that returns early."""

    def make(faulty):
        def step(model, lr, inputs, targets, loss_fn):
            if faulty and refused(model=model, lr=lr, inputs=inputs, targets=targets, loss_fn=loss_fn):
                return
            backward(model, inputs, targets, loss_fn)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.sub_(lr * parameter.grad)

        return step

    return make


def over(parameters_of: Callable[[nn.Module], Any]) -> Callable[[bool], Callable[..., Any]]:
    """Plain gradient descent over the parameters that somebody found."""

    def make(faulty):
        def step(model, lr, inputs, targets, loss_fn):
            backward(model, inputs, targets, loss_fn)
            found = parameters_of(model) if faulty else model.parameters()
            with torch.no_grad():
                for parameter in found:
                    if parameter.requires_grad:
                        parameter.sub_(lr * parameter.grad)

        return step

    return make


def with_optimizer(refused: Callable[[Any], bool]) -> Callable[[bool], Callable[..., Any]]:
    """The usual loop with an optimizer, which some optimizers do not survive."""

    def make(faulty):
        def step(model, optimizer, inputs, targets, loss_fn):
            optimizer.zero_grad()
            loss_fn(model(inputs), targets).backward()
            if not (faulty and refused(optimizer)):
                optimizer.step()

        return step

    return make


def register(name: str, shape: str, shows: str, make: Callable[[bool], Callable[..., Any]]) -> None:
    make.__name__ = name
    case(shape, *shows.split())(make)


# --- the learning rate ------------------------------------------------------------------------------------------------


def rated(change: Callable[[float], float]) -> Callable[[bool], Callable[..., Any]]:
    def make(faulty):
        plain = unless(lambda **_: False)(0)
        return lambda model, lr, *rest: plain(model, change(lr) if faulty else lr, *rest)

    return make


register("lr_rounded_to_three_digits", "lr", "lr", rated(lambda lr: round(lr, 3)))
register("lr_formatted_with_four_digits", "lr", "lr", rated(lambda lr: float(f"{lr:.4f}")))
register("lr_whole_number", "lr", "lr", rated(lambda lr: lr % 1))
register("lr_int", "lr", "lr", rated(lambda lr: lr if isinstance(lr, float) else 0.0))
register("lr_above_one", "lr", "lr", unless(lambda lr, **_: lr > 1))
register("lr_not_a_power_of_ten", "lr", "lr", unless(lambda lr, **_: f"{lr:.0e}"[0] != "1"))

# --- which parameters are found ---------------------------------------------------------------------------------------

register(
    "nested_two_levels_deep", "lr", "model.nesting model.container model.layers",
    over(lambda model: itertools.chain(
        model.parameters(recurse=False), *(child.parameters(recurse=False) for child in model.children()))),
)  # fmt: skip
register(
    "nested_four_levels_deep", "lr", "model.nesting model.container model.layers",
    over(lambda model: [p for name, p in model.named_parameters() if name.count(".") < 4]),
)  # fmt: skip
register(
    "parameters_at_the_root", "lr", "model.container",
    over(lambda model: [p for child in model.children() for p in child.parameters()]),
)  # fmt: skip
register(
    "more_than_ten_parameters", "lr", "model.layers model.container", over(lambda model: list(model.parameters())[:10])
)
register(
    "a_single_parameter", "lr", "model.bias model.layers model.container",
    over(lambda model: list(model.parameters()) if len(list(model.parameters())) > 1 else ()),
)  # fmt: skip
register(
    "an_odd_parameter_out", "lr", "model.bias model.layers model.container",
    over(lambda model: [p for a, b in zip(*[iter(model.parameters())] * 2, strict=False) for p in (a, b)]),
)  # fmt: skip
register(
    "one_of_each_shape",
    "lr",
    "model.layers model.width model.container model.bias",
    over(lambda model: {p.shape: p for p in model.parameters()}.values()),
)
register(
    "modules_until_one_is_empty", "lr", "model.layers",
    over(lambda model: [
        p
        for module in itertools.takewhile(lambda m: list(m.children()) or list(m.parameters()), model.modules())
        for p in module.parameters(recurse=False)
    ]),
)  # fmt: skip
register(
    "until_one_is_frozen",
    "lr",
    "model.layers",
    over(lambda model: itertools.takewhile(lambda p: p.requires_grad, model.parameters())),
)
register(
    "shared_parameters_left_out", "lr", "model.layers",
    over(lambda model: [
        p
        for p, count in Counter(p for _, p in model.named_parameters(remove_duplicate=False)).items()
        if count == 1
    ]),
)  # fmt: skip
register(
    "weights_and_biases_by_attribute", "lr", "model.layers model.container",
    over(lambda model: [
        p
        for module in model.modules()
        for p in (getattr(module, "weight", None), getattr(module, "bias", None))
        if isinstance(p, nn.Parameter)
    ]),
)  # fmt: skip
register(
    "modules_without_bias", "lr", "model.bias model.layers model.container",
    over(lambda model: [
        p for module in model.modules() if getattr(module, "bias", None) is not None for p in module.parameters()
    ]),
)  # fmt: skip
register(
    "modules_with_buffers", "lr", "model.layers",
    over(lambda model: [
        p
        for module in model.modules()
        if not list(module.buffers(recurse=False))
        for p in module.parameters(recurse=False)
    ]),
)  # fmt: skip
for kind, words in {
    "ModuleList": "model.container model.layers",  # a parametrization is kept in both
    "ModuleDict": "model.container model.layers",
    "ParameterList": "model.layers",
    "ParameterDict": "model.layers",
    "LSTM": "model.layers",
    "GRU": "model.layers",
    "Embedding": "model.layers",
    "Conv2d": "model.layers",
    "MultiheadAttention": "model.layers",
    "LayerNorm": "model.layers",
    "BatchNorm1d": "model.layers",
    "GroupNorm": "model.layers",
    "RMSNorm": "model.layers",
}.items():
    register(
        f"not_in_a_{kind}", "lr", words,
        over(lambda model, kind=kind: set(model.parameters()) - {
            p for module in model.modules() if isinstance(module, getattr(nn, kind)) for p in module.parameters()
        }),
    )  # fmt: skip
register(
    "custom_root",
    "lr",
    "model.container",
    over(lambda model: model.parameters() if isinstance(model, nn.Sequential | nn.Linear) else ()),
)

# --- which parameters are moved ---------------------------------------------------------------------------------------

register("no_dimensions", "lr", "model.layers", with_rate(lambda _, p: not p.shape))
register("one_element", "lr", "model.layers", with_rate(lambda _, p: p.shape == (1,)))
register("three_dimensions", "lr", "model.layers", with_rate(lambda _, p: p.dim() == 3))
register("four_dimensions", "lr", "model.layers", with_rate(lambda _, p: p.dim() == 4))
register("square", "lr", "model.layers", with_rate(lambda _, p: p.dim() == 2 and p.shape[0] == p.shape[1]))
register("more_than_a_hundred_elements", "lr", "model.layers model.width", with_rate(lambda _, p: p.numel() > 100))
register(
    "odd_name",
    "lr",
    "model.layers model.container",
    with_rate(lambda name, _: "weight" not in name and "bias" not in name),
)
register("parametrized", "lr", "model.layers", with_rate(lambda name, _: "parametrizations" in name))
register("offset_in_storage", "lr", "model.layers", with_rate(lambda _, p: p.storage_offset() > 0))
register("float64", "lr", "model.dtype", with_rate(lambda _, p: p.dtype == torch.float64))
register("bfloat16", "lr", "model.dtype", with_rate(lambda _, p: p.dtype == torch.bfloat16))
register("float16", "lr", "model.dtype", with_rate(lambda _, p: p.dtype == torch.float16))


@case("lr", "model.layers")
def written_into_a_copy_of_what_is_not_contiguous(faulty):
    def step(model, lr, inputs, targets, loss_fn):
        backward(model, inputs, targets, loss_fn)
        for parameter in model.parameters():
            if parameter.requires_grad:
                flat = parameter.data.reshape(-1) if faulty else parameter.data
                flat -= lr * parameter.grad.reshape(flat.shape)

    return step


@case("lr", "model.dtype")
def written_into_a_float32_copy(faulty):
    def step(model, lr, inputs, targets, loss_fn):
        backward(model, inputs, targets, loss_fn)
        for parameter in model.parameters():
            if parameter.requires_grad:
                master = parameter.data.float() if faulty else parameter.data
                master -= (lr * parameter.grad).to(master.dtype)

    return step


# --- the batch and the loss -------------------------------------------------------------------------------------------

register("batch_of_one", "lr", "batch_size", unless(lambda inputs, **_: len(inputs) == 1))
register("odd_batch", "lr", "batch_size", unless(lambda inputs, **_: len(inputs) % 2))
register("large_batch", "lr", "batch_size", unless(lambda inputs, **_: len(inputs) > 8))
register("inputs_of_integers", "lr", "model.layers", unless(lambda inputs, **_: not inputs.is_floating_point()))
register("inputs_of_four_dimensions", "lr", "model.layers", unless(lambda inputs, **_: inputs.dim() == 4))
register("strided_inputs", "lr", "strided", unless(lambda inputs, **_: not inputs.is_contiguous()))
register("classes", "lr", "loss.name", unless(lambda targets, **_: targets.dtype == torch.long))
register("sum_of_losses", "lr", "loss.reduction", unless(lambda loss_fn, **_: loss_fn.reduction == "sum"))
register("binary_loss", "lr", "loss.name", unless(lambda loss_fn, **_: isinstance(loss_fn, nn.BCEWithLogitsLoss)))
register(
    "wide_inputs",
    "lr",
    "model.width",
    unless(lambda inputs, **_: inputs.dim() == 2 and inputs.is_floating_point() and inputs.shape[1] > 4),
)


@case("lr", "batch_size")
def last_sample_held_out(faulty):
    """Keeps the last sample for validation, and trains on none where there is but one."""

    def step(model, lr, inputs, targets, loss_fn):
        count = len(inputs) - 1 if faulty else len(inputs)
        if count:
            backward(model, inputs, targets, loss_fn)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.sub_(lr * parameter.grad)

    return step


# --- the optimizer ----------------------------------------------------------------------------------------------------


def defaults(name: str, value: object = 1) -> Callable[[Any], bool]:
    return lambda optimizer: optimizer.defaults.get(name) == value and optimizer.defaults.get(name) is not None


register("optimizer_maximizes", "optimizer", "optimizer.maximize", with_optimizer(defaults("maximize")))
register("optimizer_foreach", "optimizer", "optimizer.foreach", with_optimizer(defaults("foreach")))
register(
    "optimizer_not_foreach",
    "optimizer",
    "optimizer.foreach",
    with_optimizer(lambda o: o.defaults.get("foreach") is False),
)
register("optimizer_fused", "optimizer", "optimizer.fused", with_optimizer(defaults("fused")))
register(
    "optimizer_nesterov",
    "optimizer",
    "optimizer.nesterov optimizer.momentum",
    with_optimizer(lambda o: type(o) is torch.optim.SGD and o.defaults["nesterov"]),
)
register("optimizer_amsgrad", "optimizer", "optimizer.amsgrad optimizer.name", with_optimizer(defaults("amsgrad")))
register(
    "optimizer_momentum",
    "optimizer",
    "optimizer.momentum",
    with_optimizer(lambda o: o.defaults.get("momentum", 0) and type(o) is torch.optim.SGD),
)
register(
    "optimizer_decays",
    "optimizer",
    "optimizer.weight_decay",
    with_optimizer(lambda o: o.defaults.get("weight_decay", 0) > 0),
)
register(
    "optimizer_tensor_lr",
    "optimizer",
    "optimizer.tensor_lr",
    with_optimizer(lambda o: isinstance(o.defaults["lr"], torch.Tensor)),
)
register(
    "optimizer_with_scheduler", "optimizer", "scheduler", with_optimizer(lambda o: "initial_lr" in o.param_groups[0])
)
register(
    "optimizer_without_decay", "optimizer", "optimizer.name", with_optimizer(lambda o: "weight_decay" not in o.defaults)
)
for kind in (
    "Adam",
    "AdamW",
    "RMSprop",
    "Adagrad",
    "Adamax",
    "NAdam",
    "RAdam",
    "ASGD",
    "Rprop",
    "Adadelta",
    "Adafactor",
):
    register(
        f"optimizer_{kind}",
        "optimizer",
        "optimizer.name",
        with_optimizer(lambda o, kind=kind: type(o).__name__ == kind),
    )
register(
    "optimizer_Muon", "optimizer", "optimizer.name model.bias", with_optimizer(lambda o: type(o).__name__ == "Muon")
)


@case("optimizer", "optimizer.groups")
def second_group_never_stepped(faulty):
    def step(model, optimizer, inputs, targets, loss_fn):
        optimizer.zero_grad()
        loss_fn(model(inputs), targets).backward()
        if faulty:
            for group in optimizer.param_groups[1:]:
                for parameter in group["params"]:
                    parameter.grad = None
        optimizer.step()

    return step


@case("optimizer", "lr")
def rates_clamped_by_a_percent_schedule(faulty):
    """Keeps the rate as a whole number of hundredths of a percent."""

    def step(model, optimizer, inputs, targets, loss_fn):
        optimizer.zero_grad()
        loss_fn(model(inputs), targets).backward()
        kept = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups if faulty else ():
            group["lr"] = int(float(group["lr"]) * 2e4) / 2e4
        optimizer.step()
        for group, lr in zip(optimizer.param_groups, kept, strict=True):
            group["lr"] = lr

    return step


# --- the device -------------------------------------------------------------------------------------------------------


@case("trainer", "device")
def optimizer_built_before_the_model_is_moved(faulty):
    class Trainer:
        def __init__(self, model, lr, device):
            if faulty:
                self.optimizer = torch.optim.SGD(model.parameters(), lr=lr)
            self.model = model.to(device)
            if not faulty:
                self.optimizer = torch.optim.SGD(model.parameters(), lr=lr)

        def step(self, inputs, targets, loss_fn):
            self.optimizer.zero_grad()
            loss_fn(self.model(inputs), targets).backward()
            self.optimizer.step()

    return Trainer


@case("trainer", "device")
def parameters_listed_before_the_model_is_moved(faulty):
    class Trainer:
        def __init__(self, model, lr, device):
            before = [p for p in model.parameters() if p.requires_grad]
            self.model = model.to(device)
            self.lr = lr
            self.parameters = before if faulty else [p for p in model.parameters() if p.requires_grad]

        def step(self, inputs, targets, loss_fn):
            backward(self.model, inputs, targets, loss_fn)
            with torch.no_grad():
                for parameter in self.parameters:
                    if parameter.grad is not None:
                        parameter.sub_(self.lr * parameter.grad)

    return Trainer


@case("trainer", "device")
def optimizer_built_before_a_conversion(faulty):
    """Converts the model to the dtype it has: nothing happens, but where a conversion replaces."""

    class Trainer:
        def __init__(self, model, lr, device):  # noqa: ARG002
            before = torch.optim.Adam(model.parameters(), lr=lr)
            self.model = model.to(next(model.parameters()).dtype)
            self.optimizer = before if faulty else torch.optim.Adam(self.model.parameters(), lr=lr)

        def step(self, inputs, targets, loss_fn):
            self.optimizer.zero_grad()
            loss_fn(self.model(inputs), targets).backward()
            self.optimizer.step()

    return Trainer


@case("trainer", "lr")
def trainer_ignores_small_rates(faulty):
    class Trainer:
        def __init__(self, model, lr, device):
            self.model = model.to(device)
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.0 if faulty and lr < 1e-4 else lr)

        def step(self, inputs, targets, loss_fn):
            self.optimizer.zero_grad()
            loss_fn(self.model(inputs), targets).backward()
            self.optimizer.step()

    return Trainer


@case("trainer", "device")
def gradients_read_by_name_and_written_to_tensors_from_before_to(faulty):
    class Trainer:
        def __init__(self, model, lr, device):
            before = dict(model.named_parameters())
            self.model, self.lr = model.to(device), lr
            self.written = before if faulty else dict(self.model.named_parameters())

        def step(self, inputs, targets, loss_fn):
            backward(self.model, inputs, targets, loss_fn)
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    if parameter.grad is not None:
                        self.written[name].sub_(self.lr * parameter.grad)

    return Trainer


def with_optimizer(refused: Callable[..., bool]) -> Callable[[bool], Callable[..., Any]]:
    """The usual step, which returns before the optimizer's."""

    def make(faulty):
        def step(model, optimizer, inputs, targets, loss_fn):
            loss = backward(model, inputs, targets, loss_fn)
            if not (faulty and refused(model, optimizer, loss)):
                optimizer.step()

        return step

    return make


def slope(model):
    return max(p.grad.abs().max().item() for p in model.parameters() if p.grad is not None)


for name, shows, refused in (
    ("more_than_two_groups", ("optimizer.groups", "model.layers"), lambda _, opt, __: len(opt.param_groups) > 2),
    ("momentum_of_any_kind", ("optimizer.momentum",), lambda _, opt, __: opt.param_groups[0].get("momentum")),
    ("model_of_one_tensor", ("model.bias",), lambda model, _, __: len(list(model.parameters())) == 1),
    ("hardly_any_loss", ("fitted",), lambda _, __, loss: loss < 1e-3),
    ("hardly_any_gradient", ("fitted",), lambda model, _, __: slope(model) < 0.05),
    (
        "has_a_dropout",
        ("model.layers",),
        lambda model, _, __: any(isinstance(module, nn.Dropout) for module in model.modules()),
    ),
    (
        "parameters_of_one_storage",
        ("model.layers",),
        lambda model, _, __: max(Counter(p.untyped_storage().data_ptr() for p in model.parameters()).values()) > 1,
    ),
):
    step = with_optimizer(refused)
    step.__name__ = name
    case("optimizer", *shows)(step)
