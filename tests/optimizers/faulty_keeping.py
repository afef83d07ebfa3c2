"""One defect each in how steps are called and what is kept between them."""

from __future__ import annotations

import math
import runpy
import time
from collections import defaultdict
from pathlib import Path

import torch

_plain = runpy.run_path(str(Path(__file__).with_name("plain.py")))
FAULTY = _plain["FAULTY"]
Plain = _plain["Plain"]
Switched = _plain["Switched"]
fails = _plain["fails"]


@fails("closure", "blatant")
class IgnoresTheClosure(Plain):
    def step(self, closure=None):
        return super().step()


@fails("closure", "subtle")
class ClosureWithoutGradient(Plain):
    @torch.no_grad()
    def step(self, closure=None):
        loss = closure() if closure is not None else None
        super().step()
        return loss


@fails("closure", "returns nothing")
class SwallowsTheLoss(Plain):
    def step(self, closure=None):
        super().step(closure)


@fails("closure", "too late")
class ClosureAfterwards(Plain):
    def step(self, closure=None):
        super().step()
        if closure is not None:
            with torch.enable_grad():
                return closure()
        return None


@fails("hooks-fire", "blatant")
class NoSuper(Plain):
    def __init__(self, params, lr=0.01):
        if not lr >= 0.0:
            raise ValueError(f"invalid lr: {lr}")
        self.defaults = {"lr": lr, "momentum": 0.9}
        self.state = defaultdict(dict)
        groups = list(params)
        groups = groups if groups and isinstance(groups[0], dict) else [{"params": groups}]
        self.param_groups = [{**self.defaults, **group} for group in groups]


@fails("hooks-fire", "subtle")
class InstanceStep(Plain):
    def __init__(self, params, lr=0.01):
        super().__init__(params, lr)
        self.step = self._step

    def _step(self, closure=None):
        return Plain.step.__wrapped__(self, closure) if hasattr(Plain.step, "hooked") else Plain.step(self, closure)


@fails("foreach-and-loop-agree", "blatant")
class ForeachDoesNothing(Switched):
    def foreach(self, params, grads, group):
        pass


@fails("foreach-and-loop-agree", "subtle")
class ForeachDecays(Switched):
    def foreach(self, params, grads, group):
        torch._foreach_mul_(params, 1 - 0.1 * float(group["lr"]))
        super().foreach(params, grads, group)


@fails("fused-and-loop-agree", "blatant")
class FusedDoesNothing(Switched):
    def fused(self, params, grads, group):
        pass


@fails("fused-and-loop-agree", "subtle")
class FusedMissesTheFourth(Switched):
    def fused(self, params, grads, group):
        super().fused(params[:3], grads[:3], group)
        if len(params) > 3:
            super().fused(params[3:], [g * 0.5 for g in grads[3:]], group)


@fails("add-param-group", "blatant")
class ParametersOfTheBeginning(Plain):
    def __init__(self, params, lr=0.01):
        super().__init__(params, lr)
        self.known = {id(p) for group in self.param_groups for p in group["params"]}

    def update(self, p, g, group):
        if id(p) in self.known:
            super().update(p, g, group)


@fails("add-param-group", "subtle")
class BypassesTheDefaults(Plain):
    def add_param_group(self, group):
        if not hasattr(self, "param_groups") or not self.state:
            super().add_param_group(group)
        else:
            self.param_groups.append({"lr": self.defaults["lr"], **group})

    def update(self, p, g, group):
        super().update(p, g, {"momentum": 0.9, **group})


@fails("add-param-group", "not with its own lr")
class OneRateForAddedGroups(Plain):
    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        if self.state:
            self.param_groups[-1]["lr"] = self.defaults["lr"]


@fails("reproducible", "blatant")
class NoiseOfTheClock(Plain):
    def update(self, p, g, group):
        noise = torch.rand(p.shape, generator=torch.Generator().manual_seed(time.perf_counter_ns()))
        p.add_(g * (0.5 + noise), alpha=-float(group["lr"]))


@fails("reproducible", "subtle")
class RemembersInTheClass(Plain):
    seen: dict = {}  # noqa: RUF012

    def direction(self, p, g, group):
        count = self.seen[p.shape] = self.seen.get(p.shape, 0) + 1
        return g * (1 + 1 / count)


@fails("no-memory-growth", "blatant")
class KeepsGradients(Plain):
    def direction(self, p, g, group):
        self.state[p].setdefault("history", []).append(g.clone())
        return super().direction(p, g, group)


LOG = []


@fails("no-memory-growth", "subtle")
class LogsInTheModule(Plain):
    def direction(self, p, g, group):
        LOG.append(p.shape)
        return super().direction(p, g, group)


@fails("no-memory-growth", "a graph")
class KeepsTheGraph(Plain):
    """What is computed from a parameter outside of `no_grad` keeps the graph of all steps."""

    def before_step(self):
        with torch.enable_grad():
            for p in self.param_groups[0]["params"]:
                self.defaults["penalty"] = self.defaults.get("penalty", 0.0) + p.abs().sum()

    def __getstate__(self):
        return {**super().__getstate__(), "defaults": {**self.defaults, "penalty": 0.0}}


@fails("no-memory-growth", "text")
class WritesALog(Plain):
    def update(self, p, g, group):
        super().update(p, g, group)
        group["log"] = group.get("log", "") + "."


@fails("state-dict-round-trip", "blatant")
class StateOutside(Plain):
    def __init__(self, params, lr=0.01):
        super().__init__(params, lr)
        self.buffers = {}

    def direction(self, p, g, group):
        buffer = self.buffers.setdefault(p, torch.zeros_like(p))
        return buffer.mul_(group["momentum"]).add_(g)


@fails("state-dict-round-trip", "subtle")
class ForgetsItsCount(Plain):
    """The number of steps lives in `defaults`, which a state_dict has not."""

    def before_step(self):
        self.defaults["count"] = self.defaults.get("count", 0) + 1

    def update(self, p, g, group):
        p.add_(g, alpha=-float(group["lr"]) / math.sqrt(self.defaults["count"]))


@fails("state-dict-round-trip", "not plain")
class KeepsObjects(Plain):
    def direction(self, p, g, group):
        self.state[p].setdefault("began", time.struct_time(range(9)))
        return super().direction(p, g, group)


@fails("state-dict-round-trip", "not the groups")
class LoadsStateOnly(Plain):
    def load_state_dict(self, state_dict):
        lrs = [group["lr"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, lr in zip(self.param_groups, lrs, strict=True):
            group["lr"] = lr


@fails("deepcopy-and-pickle", "blatant")
class HyperparameterOnSelf(Plain):
    def __init__(self, params, lr=0.01):
        super().__init__(params, lr)
        self.nesterov = True

    def direction(self, p, g, group):
        way = super().direction(p, g, group)
        return g + 0.9 * way if self.nesterov else way


@fails("deepcopy-and-pickle", "subtle")
class SharesOnCopy(Plain):
    def __deepcopy__(self, memo):
        twin = type(self)([torch.zeros(1, requires_grad=True)])
        twin.__setstate__({"state": self.state, "param_groups": self.param_groups, "defaults": self.defaults})
        return twin


@fails("deepcopy-and-pickle", "holds a lambda")
class HoldsALambda(Plain):
    def __getstate__(self):
        return {**super().__getstate__(), "schedule": lambda step: step}


@fails("compiles", "blatant")
class IdleWhenCompiled(Plain):
    def update(self, p, g, group):
        if not torch.compiler.is_compiling():
            super().update(p, g, group)


@fails("compiles", "subtle")
class OtherWhenCompiled(Plain):
    def direction(self, p, g, group):
        way = super().direction(p, g, group)
        return way * 0.9 if torch.compiler.is_compiling() else way
