"""What optimizers should do: one entry for each property that `check_optimizer` judges."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry


def _property(name: str, fault: str, example: str, fix: str, on_purpose: str = "") -> Entry:
    return Entry(
        name=name,
        claims=("check_optimizer",),
        fault=fault,
        example=example,
        fix=fix,
        on_purpose=on_purpose or f'pass skip={{"{name}": reason}}; a refusal in words counts as declined.',
    )


ENTRIES: tuple[Entry, ...] = (
    _property(
        "updates",
        "A parameter with an ordinary gradient, or some of its elements, does not move in 20 steps, stops moving, or becomes"
        " NaN.",
        "for p in group['params']:\n    new = p - lr * p.grad  # a new tensor; p is as before",
        "write into each parameter in place, under torch.no_grad(): p.add_(update, alpha=-lr).",
        'pass within=STEPS if it moves later than in step 20, or skip={"updates": reason}.',
    ),
    _property(
        "updates-every-group",
        "Parameters of some groups do not move.",
        "for p in self.param_groups[0]['params']:  # and the others?\n    p.add_(p.grad, alpha=-lr)",
        "loop over all of self.param_groups, and return only after the last.",
    ),
    _property(
        "updates-every-shape",
        "A 0-dim parameter, one with one element, an empty one or one with one to five dimensions does not move, becomes"
        " NaN or crashes the step.",
        "rows = p.grad.norm(dim=1, keepdim=True)  # a 0-dim parameter has no rows",
        "treat each number of dimensions, or raise ValueError in words for those that it does not train.",
    ),
    _property(
        "updates-every-layout",
        "A parameter or gradient that is not contiguous is not trained as its contiguous twin is.",
        "flat = p.reshape(-1)  # a copy, where p is transposed\nflat.add_(p.grad.reshape(-1), alpha=-lr)",
        "work on p itself, or copy the result back with p.copy_(flat.view_as(p)).",
    ),
    _property(
        "updates-every-dtype",
        "A float64, bfloat16 or float16 parameter does not move at the default lr, nor at one a thousand times as large.",
        "p32 = p.float()  # a copy, unless p is float32 already\np32.add_(p.grad.float(), alpha=-lr)",
        "copy the result back: p.copy_(p32).",
    ),
    _property(
        "updates-complex",
        "The real or the imaginary part of a complex parameter does not move, or moves uphill.",
        "exp_avg_sq.mul_(beta2).add_(g * g, alpha=1 - beta2)  # g * g is no square of a size",
        "work on torch.view_as_real(p), or raise in words for complex parameters.",
    ),
    _property(
        "updates-sparse",
        "Rows with a sparse gradient do not move, or entries for the same row do not add up.",
        "rows, values = grad._indices()[0], grad._values()\np[rows] -= lr * values  # of two entries the last wins",
        "coalesce() the gradient first, or raise in words for sparse gradients.",
    ),
    _property(
        "zero-lr-is-identity",
        "Parameters move although lr is 0 (a projection of the weights that does not depend on the gradient is allowed).",
        "lr = group['lr'] or 1e-3  # 0 counts as missing\np.mul_(1 - group['weight_decay'])  # decays at any lr",
        "scale every change of the weights by lr; test for None with `is None`.",
    ),
    _property(
        "follows-lr",
        "A learning rate that is changed in the group, by a scheduler or as a tensor has no effect.",
        "self.lr = lr  # kept at construction\np.add_(p.grad, alpha=-self.lr)",
        "read group['lr'] in every step and for every group.",
    ),
    _property(
        "rejects-bad-hyperparameters",
        "A negative lr or NaN is accepted without a word.",
        "if lr < 0:  # NaN is not less than 0\n    raise ValueError(f'invalid lr: {lr}')",
        "write `if not 0.0 <= lr: raise ValueError(...)`, which catches NaN too.",
    ),
    _property(
        "skips-missing-gradients",
        "A parameter whose gradient is None moves, crashes the step, or disturbs the others.",
        "grads = [p.grad for p in params if p.grad is not None]\nfor p, g in zip(params, grads):  # shifted\n    p.add_(g, alpha=-lr)",
        "pass over parameters without gradient, and only over those.",
    ),
    _property(
        "tolerates-empty-groups",
        "A group without parameters, or without any gradient, crashes the step or stops it before the other groups.",
        "for group in self.param_groups:\n    if not gradients_of(group):\n        break  # the groups after this one are left out",
        "go on to the next group: `continue`.",
    ),
    _property(
        "leaves-gradients-alone",
        "The step changes, replaces or clears gradients, or keeps one as its state and changes that.",
        "p.grad.add_(p, alpha=weight_decay)",
        "compute out of place: grad = p.grad.add(p, alpha=weight_decay).",
    ),
    _property(
        "finite-on-zero-gradient",
        "A gradient that is zero, or zero in places, makes weights NaN or infinite.",
        "p.sub_(lr * p.grad / p.grad.norm())  # 0 / 0",
        "add eps to denominators, or skip the division where the norm is 0.",
    ),
    _property(
        "parameters-independent",
        "The step of one parameter depends on which others are present.",
        "for p in params:\n    self.t += 1  # counts parameters, not steps\n    correction = 1 - beta ** self.t",
        "keep counters and buffers for each parameter in self.state[p].",
        'pass skip={"parameters-independent": reason} if it is meant, as clipping by the global norm is.',
    ),
    _property(
        "descends",
        "The loss of a quadratic or of a small network does not fall, at the default lr or at one within a factor of a hundred.",
        "p.add_(update, alpha=lr)  # uphill",
        "subtract the update; check signs of momentum and corrections.",
    ),
    _property(
        "closure",
        "A closure is not called, not before the update, or without gradients enabled, or its loss is not returned.",
        "@torch.no_grad()\ndef step(self, closure=None):\n    loss = closure()  # backward() fails in here",
        "call it first, as `with torch.enable_grad(): loss = closure()`, and return loss.",
    ),
    _property(
        "hooks-fire",
        "Hooks before and after the step are not called, or cannot be registered.",
        "class Mine(torch.optim.Optimizer):\n    def __init__(self, params, lr):\n        self.param_groups = [{'params': list(params), 'lr': lr}]  # no super().__init__",
        "call super().__init__(params, defaults), and define step in the class.",
    ),
    _property(
        "foreach-and-loop-agree",
        "With foreach=True parameters move otherwise than with foreach=False.",
        "torch._foreach_add_(params, grads, alpha=-lr)  # the loop also has weight decay",
        "keep the two paths alike, or have one.",
    ),
    _property(
        "fused-and-loop-agree",
        "With fused=True parameters move otherwise than in the loop.",
        "torch._fused_adam_(params, grads, m, v, [], steps, lr=lr)  # without weight_decay=",
        "pass every hyperparameter to the fused kernel.",
    ),
    _property(
        "compiles",
        "Under torch.compile the step fails or moves parameters otherwise.",
        "self.t += 1  # a number that is compiled in\ncorrection = 1 - beta ** self.t",
        "keep counters as tensors in self.state[p].",
    ),
    _property(
        "add-param-group",
        "Parameters of a group that was added later are not trained, or the group lacks hyperparameters or its own lr.",
        "self._params = [p for g in self.param_groups for p in g['params']]  # at construction",
        "read self.param_groups in every step; call super().add_param_group where it is overridden.",
    ),
    _property(
        "reproducible",
        "Two runs after the same torch.manual_seed differ.",
        "noise = torch.empty_like(p).normal_(generator=torch.Generator().seed())",
        "draw from torch's random stream, and keep nothing in the class or module.",
    ),
    _property(
        "no-memory-growth",
        "What the optimizer keeps grows with every step: tensors, values, text, or the graph of a tensor.",
        "self.history.append(p.grad.clone())",
        "keep a bounded number, collections.deque(maxlen=...) or a running mean, and keep tensors detached.",
    ),
    _property(
        "state-dict-round-trip",
        "After saving and loading into a fresh optimizer the steps, or the lr, are not those of the uninterrupted run.",
        "self.momentum = {}  # state_dict() does not save it\nself.momentum[p] = torch.zeros_like(p)",
        "keep what steps need in self.state[p] and in the groups, as tensors and plain numbers.",
    ),
    _property(
        "deepcopy-and-pickle",
        "A deep copy or a pickled optimizer crashes, steps otherwise, or moves the parameters of the original.",
        "self.decay = decay  # Optimizer.__getstate__ keeps defaults, state and param_groups only",
        "keep hyperparameters in the groups, or extend __getstate__ and __setstate__.",
    ),
)
