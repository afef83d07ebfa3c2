"""Sound optimizers that are odd by design: none of them may fail anything."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import torch
from torch.optim import Optimizer

_plain = runpy.run_path(str(Path(__file__).with_name("plain.py")))
SOUND = _plain["SOUND"]
Plain = _plain["Plain"]
sound = _plain["sound"]


@sound
class FillsFirst(Plain):
    """The first step only fills its state."""

    def update(self, p, g, group):
        if not self.state[p]:
            self.state[p]["previous"] = g.clone()
            return
        p.add_(g * 2 - self.state[p]["previous"], alpha=-float(group["lr"]))
        self.state[p]["previous"].copy_(g)


@sound
class WarmsUp(Plain):
    """Nothing moves in the first five steps."""

    def update(self, p, g, group):
        count = self.state[p]["step"] = self.state[p].get("step", 0) + 1
        p.add_(g, alpha=-float(group["lr"]) * min(max(count - 5, 0) / 10, 1.0))


@sound
class RateInside(Plain):
    """The learning rate is inside the momentum, as in Caffe."""

    def update(self, p, g, group):
        buffer = self.state[p].setdefault("buffer", torch.zeros_like(p))
        p.sub_(buffer.mul_(group["momentum"]).add_(g, alpha=float(group["lr"])))


@sound
class OwnStepSize(Plain):
    """It sets its own step size and has no lr."""

    def __init__(self, params, scale=0.1):
        Optimizer.__init__(self, params, {"scale": scale})

    def update(self, p, g, group):
        count = self.state[p]["step"] = self.state[p].get("step", 0) + 1
        p.add_(g / (g.norm() + 1e-8), alpha=-group["scale"] / math.sqrt(count))


@sound
class RelativeStep(Plain):
    """Without lr it sets its own step size, as Adafactor does."""

    def __init__(self, params, lr=None):
        if lr is not None and not lr >= 0.0:
            raise ValueError(f"invalid lr: {lr}")
        Optimizer.__init__(self, params, {"lr": lr})

    def update(self, p, g, group):
        count = self.state[p]["step"] = self.state[p].get("step", 0) + 1
        lr = 0.01 / math.sqrt(count) if group["lr"] is None else group["lr"]
        p.add_(g, alpha=-lr)


@sound
class GrowsItsSteps(Plain):
    """The lr is only where its own step sizes start, as in Rprop."""

    def update(self, p, g, group):
        state = self.state[p]
        if not state:
            state["sign"], state["size"] = torch.zeros_like(g), torch.full_like(g, float(group["lr"]))
        same = state["sign"] * g.sign()
        state["size"].mul_(torch.where(same > 0, 1.2, torch.where(same < 0, 0.5, 1.0))).clamp_(1e-6, 50)
        state["sign"] = g.sign()
        p.sub_(state["size"] * g.sign())


@sound
class OnTheSphere(Plain):
    """Weights are brought back to norm 1 after each update."""

    def update(self, p, g, group):
        super().update(p, g, group)
        p.div_(p.norm().clamp_min(1e-12))


@sound
class InTheBox(Plain):
    """Weights are clipped after each update."""

    def update(self, p, g, group):
        super().update(p, g, group)
        p.clamp_(-1.0, 1.0)


@sound
class MatricesOnly(Plain):
    """It trains matrices only, and says so."""

    def __init__(self, params, lr=0.02):
        super().__init__(params, lr)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"MatricesOnly trains 2-D parameters, not one of shape {tuple(p.shape)}")

    def direction(self, p, g, group):
        momentum = super().direction(p, g, group)
        return momentum / (momentum.norm() + 1e-7)


@sound
class Slow(Plain):
    """At its default lr bfloat16 weights of ordinary size cannot move."""

    def __init__(self, params, lr=1e-6):
        super().__init__(params, lr)


@sound
class Centered(Plain):
    """Gradients of matrices are centered."""

    def direction(self, p, g, group):
        return g - g.mean(dim=tuple(range(1, g.ndim)), keepdim=True) if g.ndim > 1 else g


@sound
class Noisy(Plain):
    """Langevin noise from torch's random stream."""

    def update(self, p, g, group):
        p.add_(g, alpha=-float(group["lr"]))
        p.add_(torch.randn_like(p), alpha=0.01 * math.sqrt(float(group["lr"])))


@sound
class Averaging(Plain):
    """A slow copy is met every third step (lookahead)."""

    def update(self, p, g, group):
        state = self.state[p]
        if "slow" not in state:
            state["slow"], state["count"] = p.clone(), 0
        p.add_(g, alpha=-float(group["lr"]))
        state["count"] += 1
        if state["count"] % 3 == 0:
            p.copy_(state["slow"].lerp_(p, 0.5))


@sound
class EveryFourth(Plain):
    """Gradients are collected for four steps."""

    def update(self, p, g, group):
        state = self.state[p]
        if "sum" not in state:
            state["sum"], state["count"] = torch.zeros_like(p), 0
        state["sum"].add_(g)
        state["count"] += 1
        if state["count"] % 4 == 0:
            p.add_(state["sum"], alpha=-float(group["lr"]) / 4)
            state["sum"].zero_()


@sound
class NeedsClosure(Plain):
    """It works only through its closure."""

    def step(self, closure):
        return super().step(closure)


@sound
class RateAsALimit(Plain):
    """The lr only caps a step size that it sets by the size of the gradient."""

    def __init__(self, params, lr=1.0):
        super().__init__(params, lr)

    def update(self, p, g, group):
        p.sub_(g * torch.clamp(0.01 / (g.square().sum() + 1e-12), max=float(group["lr"])))


@sound
class LargestElement(Plain):
    """Of each gradient it takes the largest element only."""

    def direction(self, p, g, group):
        size = g.abs()
        return torch.where(size == size.max(), g, torch.zeros_like(g)) if g.numel() else g


@sound
class OneVector(Plain):
    """All its parameters are one vector, in one group."""

    def add_param_group(self, param_group):
        if self.param_groups:
            raise ValueError("OneVector takes one group of parameters")
        super().add_param_group(param_group)

    def before_step(self):
        grads = [p.grad for p in self.param_groups[0]["params"] if p.grad is not None]
        self.norm = torch.stack([g.to_dense().abs().square().sum().float() for g in grads]).sum().sqrt()

    def update(self, p, g, group):
        p.add_(g / (self.norm.to(p.dtype) + 1e-8), alpha=-float(group["lr"]))


@sound
class Backtracks(NeedsClosure):
    """It tries shorter and shorter steps by its closure, and puts the gradients back."""

    @torch.no_grad()
    def update(self, p, g, group):
        start, drawn = p.clone(), g.clone()
        for shrink in (1.0, 0.5, 0.25):
            p.copy_(start - drawn * float(group["lr"]) * shrink)
        g.copy_(drawn)


@sound
class WeightsOnASimplex(Plain):
    """Weights along the last dimension are positive and add up to one from the first step on."""

    def update(self, p, g, group):
        if not self.state[p]:
            self.state[p]["logits"] = p.log_softmax(-1) if p.ndim else p.clone()
        if p.ndim and p.shape[-1] == 1:
            raise ValueError("WeightsOnASimplex needs two entries in the last dimension")
        logits = self.state[p]["logits"].sub_(g, alpha=float(group["lr"]))
        p.copy_(logits.softmax(-1) if p.ndim else logits)


@sound
class DefaultsOfItsOwn(Plain):
    """A default that no group ever has."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, lr)
        self.defaults = {**self.defaults, "pace": 5}


@sound
class FillsGroupsInTheStep(Plain):
    """A group gets the rest of its defaults in its first step."""

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        self.param_groups[-1].pop("pace", None)

    @torch.no_grad()
    def step(self, closure=None):
        self.defaults.setdefault("pace", 5)
        for group in self.param_groups:
            group.setdefault("pace", self.defaults["pace"])
        return super().step(closure)
