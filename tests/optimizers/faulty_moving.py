"""One defect each: something does not move."""

from __future__ import annotations

import runpy
from pathlib import Path

import torch

_plain = runpy.run_path(str(Path(__file__).with_name("plain.py")))
FAULTY = _plain["FAULTY"]
Plain = _plain["Plain"]
Rooted = _plain["Rooted"]
fails = _plain["fails"]
real_dense = _plain["real_dense"]


@fails("updates", "blatant")
class WritesCopies(Plain):
    def update(self, p, g, group):
        p = p - float(group["lr"]) * g


@fails("updates", "subtle")
class StopsAfterTheFirst(Plain):
    def update(self, p, g, group):
        if not self.state[p]:
            self.state[p]["buffer"] = torch.zeros_like(p)
            super().update(p, g, group)


@fails("updates", "the last of a group only")
class LeaksTheLoopVariable(Plain):
    def before_step(self):
        self.defaults["last"] = [id(group["params"][-1]) for group in self.param_groups if group["params"]]

    def update(self, p, g, group):
        if id(p) in self.defaults["last"]:
            super().update(p, g, group)


@fails("updates", "stops later")
class StopsAfterEight(Plain):
    def update(self, p, g, group):
        count = self.state[p]["step"] = self.state[p].get("step", 0) + 1
        if count <= 8:
            super().update(p, g, group)


@fails("updates", "the first elements only")
class FirstFourElements(Plain):
    def direction(self, p, g, group):
        first = torch.arange(g.numel()).view(g.shape) < 4
        return super().direction(p, torch.where(first, g, torch.zeros_like(g)), group)


@fails("updates", "crashes in the second step")
class LooksForTheWrongKey(Plain):
    def update(self, p, g, group):
        if self.state[p]:
            self.state[p]["bufer"].mul_(0.9)
        super().update(p, g, group)


@fails("updates", "idle without a closure")
class IdleWithoutClosure(Plain):
    def step(self, closure=None):
        return None if closure is None else super().step(closure)


@fails("updates-every-group", "blatant")
class FirstGroupOnly(Plain):
    def update(self, p, g, group):
        if group is self.param_groups[0]:
            super().update(p, g, group)


@fails("updates-every-group", "subtle")
class AtMostTwoGroups(Plain):
    def update(self, p, g, group):
        if any(group is one for one in self.param_groups[:2]):
            super().update(p, g, group)


@fails("updates-every-shape", "blatant")
class SkipsScalars(Plain):
    def update(self, p, g, group):
        if p.ndim:
            super().update(p, g, group)


@fails("updates-every-shape", "subtle")
class Standardizes(Plain):
    def direction(self, p, g, group):
        return super().direction(p, (g - g.mean()) / (g.std(correction=0) + 1e-8) if g.numel() == 1 else g, group)


@fails("updates-every-shape", "crashes on nothing")
class DividesByCount(Plain):
    def direction(self, p, g, group):
        return super().direction(p, g, group) * (1.0 / g.numel())


@fails("updates-every-shape", "matrices only, in silence")
class SkipsVectors(Plain):
    def update(self, p, g, group):
        if p.ndim > 1:
            super().update(p, g, group)


@fails("updates-every-layout", "blatant")
class FlattensCopies(Plain):
    def update(self, p, g, group):
        p.reshape(-1).add_(self.direction(p, g, group).reshape(-1), alpha=-float(group["lr"]))


@fails("updates-every-layout", "subtle")
class ScramblesStorage(Plain):
    def update(self, p, g, group):
        way = self.direction(p, g, group).contiguous().view(-1)
        target = p if p.is_contiguous() else p.as_strided((p.numel(),), (1,)) if p.t().is_contiguous() else p
        target.add_(way.view(target.shape), alpha=-float(group["lr"]))

    def direction(self, p, g, group):
        if p.ndim != 2:
            return g
        return g


@fails("updates-every-dtype", "blatant")
class FloatOnly(Plain):
    def update(self, p, g, group):
        if p.dtype in (torch.float32, torch.complex64):
            super().update(p, g, group)


@fails("updates-every-dtype", "subtle")
class UpcastsACopy(Plain):
    def update(self, p, g, group):
        p.float().add_(self.direction(p, g, group).float(), alpha=-float(group["lr"]))


@fails("updates-complex", "blatant")
class RealPartOnly(Rooted):
    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.is_complex():
                    self.complex(p, float(group["lr"]))
                elif p.grad is not None:
                    g = p.grad.coalesce().to_dense() if p.grad.is_sparse else p.grad
                    self.update(p, g, group, self.state[p])
        return loss

    def complex(self, p, lr):
        p.real.sub_(lr * p.grad.real)


@fails("updates-complex", "subtle")
class SquaresWithoutConjugate(RealPartOnly):
    def complex(self, p, lr):
        p.sub_(lr * p.grad / (p.grad * p.grad).sqrt())


@fails("updates-complex", "half uphill")
class Conjugates(RealPartOnly):
    def complex(self, p, lr):
        p.sub_(lr * p.grad.conj())


@fails("updates-sparse", "blatant")
class SkipsSparse(Plain):
    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.is_sparse:
                    self.sparse(p, p.grad, float(group["lr"]))
                elif p.grad is not None:
                    self.update(p, real_dense(p), group)
        return loss

    def sparse(self, p, g, lr):
        pass


@fails("updates-sparse", "subtle")
class LastEntryWins(SkipsSparse):
    def sparse(self, p, g, lr):
        p[g._indices()[0]] -= lr * g._values()
