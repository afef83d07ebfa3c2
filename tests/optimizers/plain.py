"""Sound optimizers to build others from, and how classes are registered as sound or faulty.

Every faulty class is registered under the one property that it must fail; every sound one, however odd, must fail
none. The other files of the collection take what they need from here by `runpy`, so each has registers of its own.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch.optim import Optimizer

SOUND: list[type] = []
FAULTY: dict[str, dict[str, type]] = defaultdict(dict)


def sound(cls):
    SOUND.append(cls)
    return cls


def fails(name, kind):
    def register(cls):
        assert kind not in FAULTY[name], (name, kind)
        FAULTY[name][kind] = cls
        return cls

    return register


def real_dense(p):
    """Refuse what these do not do, in words."""
    if p.grad.is_sparse:
        raise RuntimeError("sparse gradients are not supported")
    if p.is_complex():
        raise RuntimeError("complex parameters are not supported")
    return p.grad


class Plain(Optimizer):
    """Momentum SGD with no defect; the others change one thing."""

    def __init__(self, params, lr=0.01, momentum=0.9):
        if not lr >= 0.0:
            raise ValueError(f"invalid lr: {lr}")
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.before_step()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, real_dense(p), group)
        return loss

    def before_step(self):
        pass

    def update(self, p, g, group):
        p.add_(self.direction(p, g, group), alpha=-float(group["lr"]))

    def direction(self, p, g, group):
        state = self.state[p]
        if "buffer" not in state:
            state["buffer"] = torch.zeros_like(p)
        return state["buffer"].mul_(group["momentum"]).add_(g)


sound(Plain)


@sound
class Rooted(Plain):
    """Adam in miniature, complex numbers and sparse gradients included."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    g = p.grad.coalesce().to_dense() if p.grad.is_sparse else p.grad
                    real = torch.view_as_real if p.is_complex() else (lambda one: one)
                    self.update(real(p), real(g), group, self.state[p])
        return loss

    def update(self, p, g, group, state):
        if not state:
            state["mean"], state["square"], state["step"] = torch.zeros_like(g), torch.zeros_like(g), 0
        state["step"] += 1
        mean = state["mean"].lerp_(g, 0.1) / (1 - 0.9 ** state["step"])
        square = state["square"].mul_(0.99).addcmul_(g, g, value=0.01) / (1 - 0.99 ** state["step"])
        p.sub_(float(group["lr"]) * mean / (square.sqrt() + 1e-6))


@sound
class Switched(Plain):
    """With both paths, foreach and loop, and a kernel of its own called fused."""

    def __init__(self, params, lr=0.01, *, foreach=None, fused=None):
        super().__init__(params, lr)
        for group in self.param_groups:
            group.setdefault("foreach", foreach)
            group.setdefault("fused", fused)
        self.defaults.update(foreach=foreach, fused=fused)

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            grads = [real_dense(p) for p in params]
            if group["fused"]:
                self.fused(params, grads, group)
            elif group["foreach"] and params:
                self.foreach(params, grads, group)
            else:
                for p, g in zip(params, grads, strict=True):
                    p.add_(g, alpha=-float(group["lr"]))
        return loss

    def foreach(self, params, grads, group):
        torch._foreach_add_(params, grads, alpha=-float(group["lr"]))

    def fused(self, params, grads, group):
        for p, g in zip(params, grads, strict=True):
            p.copy_(torch.add(p, g, alpha=-float(group["lr"])))


class OverGroups(Plain):
    """Steps over lists of parameters and gradients, as foreach code does."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if self.over(group):
                return loss
        return loss

    def over(self, group):
        for p in group["params"]:
            if p.grad is not None:
                self.update(p, real_dense(p), group)
