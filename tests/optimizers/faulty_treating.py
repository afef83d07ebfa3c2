"""One defect each in how rates and gradients are treated."""

from __future__ import annotations

import runpy
from pathlib import Path

import torch
from torch.optim import Optimizer

_plain = runpy.run_path(str(Path(__file__).with_name("plain.py")))
FAULTY = _plain["FAULTY"]
OverGroups = _plain["OverGroups"]
Plain = _plain["Plain"]
fails = _plain["fails"]
real_dense = _plain["real_dense"]


@fails("zero-lr-is-identity", "blatant")
class ZeroMeansDefault(Plain):
    def update(self, p, g, group):
        p.add_(self.direction(p, g, group), alpha=-(float(group["lr"]) or 1e-3))


@fails("zero-lr-is-identity", "subtle")
class DecaysAtAnyRate(Plain):
    def update(self, p, g, group):
        super().update(p, g, group)
        p.mul_(1 - 1e-4)


@fails("follows-lr", "blatant")
class KeepsItsRate(Plain):
    def __init__(self, params, lr=0.01):
        super().__init__(params, lr)
        self.rate = float(lr)

    def update(self, p, g, group):
        p.add_(self.direction(p, g, group), alpha=-self.rate)


@fails("follows-lr", "subtle")
class KeepsItsRateInState(Plain):
    def update(self, p, g, group):
        rate = self.state[p].setdefault("rate", float(group["lr"]))
        p.add_(self.direction(p, g, group), alpha=-rate)


@fails("follows-lr", "the rate of the first group")
class FirstRateForAll(Plain):
    def update(self, p, g, group):
        super().update(p, g, self.param_groups[0])


@fails("follows-lr", "a tensor is read once")
class ReadsATensorOnce(Plain):
    def __init__(self, params, lr=0.01):
        super().__init__(params, lr)
        for group in self.param_groups:
            if isinstance(lr, torch.Tensor):
                group["number"] = float(lr)

    def update(self, p, g, group):
        p.add_(self.direction(p, g, group), alpha=-float(group.get("number", group["lr"])))


@fails("rejects-bad-hyperparameters", "blatant")
class TakesAnything(Plain):
    def __init__(self, params, lr=0.01, momentum=0.9):
        Optimizer.__init__(self, params, {"lr": lr, "momentum": momentum})


@fails("rejects-bad-hyperparameters", "subtle")
class TakesNaN(Plain):
    def __init__(self, params, lr=0.01, momentum=0.9):
        if lr < 0:
            raise ValueError(f"invalid lr: {lr}")
        Optimizer.__init__(self, params, {"lr": lr, "momentum": momentum})


@fails("skips-missing-gradients", "blatant")
class NeedsEveryGradient(OverGroups):
    def over(self, group):
        for p in group["params"]:
            self.update(p, real_dense(p), group)


@fails("skips-missing-gradients", "subtle")
class ShiftsGradients(OverGroups):
    def over(self, group):
        grads = [real_dense(p) for p in group["params"] if p.grad is not None]
        for p, g in zip(group["params"], grads, strict=False):
            if p.shape == g.shape:
                self.update(p, g, group)


@fails("skips-missing-gradients", "moves on")
class MovesOn(OverGroups):
    def over(self, group):
        for p in group["params"]:
            if p.grad is not None:
                self.update(p, real_dense(p), group)
            elif "buffer" in self.state[p]:
                p.add_(self.state[p]["buffer"].mul_(group["momentum"]), alpha=-float(group["lr"]))


@fails("tolerates-empty-groups", "blatant")
class LooksAtTheFirst(OverGroups):
    def over(self, group):
        assert group["params"][0].device.type  # no words: a crash where there is none
        super().over(group)


@fails("tolerates-empty-groups", "subtle")
class ReturnsEarly(OverGroups):
    def over(self, group):
        super().over(group)
        return all(p.grad is None for p in group["params"])


@fails("leaves-gradients-alone", "blatant")
class ZeroesGradients(Plain):
    def update(self, p, g, group):
        super().update(p, g, group)
        p.grad = None


@fails("leaves-gradients-alone", "subtle")
class DecaysIntoGradients(Plain):
    def update(self, p, g, group):
        super().update(p, g.add_(p, alpha=1e-3), group)


@fails("leaves-gradients-alone", "only when large")
class ClipsInPlace(Plain):
    def update(self, p, g, group):
        torch.nn.utils.clip_grad_norm_([p], 10.0)
        super().update(p, g, group)


@fails("leaves-gradients-alone", "as its state")
class StartsWithTheGradientItself(Plain):
    def direction(self, p, g, group):
        state = self.state[p]
        state["buffer"] = state["buffer"].mul_(0.9).add_(g) if state else g
        return state["buffer"]


@fails("finite-on-zero-gradient", "blatant")
class Normalizes(Plain):
    def direction(self, p, g, group):
        return g / g.norm() if g.numel() else g


@fails("finite-on-zero-gradient", "subtle")
class NoEpsilon(Plain):
    def direction(self, p, g, group):
        square = self.state[p].setdefault("square", torch.zeros_like(g)).mul_(0.9).addcmul_(g, g, value=0.1)
        return g / square.sqrt()


@fails("finite-on-zero-gradient", "zero weights")
class TrustRatio(Plain):
    def direction(self, p, g, group):
        weights, update = p.norm(), g.norm()
        return g * torch.where(weights > 0, weights / (update + 1e-8), (update + 1e-3) / update)


@fails("parameters-independent", "blatant")
class GlobalNorm(Plain):
    def before_step(self):
        grads = [p.grad.norm() for group in self.param_groups for p in group["params"] if p.grad is not None]
        self.defaults["norm"] = float(torch.stack([one.abs().float() for one in grads]).norm()) if grads else 0.0

    def direction(self, p, g, group):
        return g / (self.defaults["norm"] + 1e-8)


@fails("parameters-independent", "subtle")
class CountsParameters(Plain):
    def direction(self, p, g, group):
        group["count"] = group.get("count", 0) + 1
        mean = self.state[p].setdefault("mean", torch.zeros_like(g)).lerp_(g, 0.1)
        return mean / (1 - 0.9 ** group["count"])


@fails("descends", "blatant")
class Climbs(Plain):
    def update(self, p, g, group):
        p.add_(g, alpha=float(group["lr"]))


@fails("descends", "subtle")
class WrongSignedMomentum(Plain):
    """Downhill at first, uphill as soon as the momentum has grown."""

    def direction(self, p, g, group):
        buffer = self.state[p].setdefault("buffer", torch.zeros_like(p))
        return g - buffer.mul_(0.9).add_(g, alpha=0.5)
