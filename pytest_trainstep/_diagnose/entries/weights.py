"""Why weights did not update, and why frozen ones did."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry

_UPDATE = ("assert_weights_update",)
_FROZEN = ("assert_weights_frozen",)
_ALSO_FLOW = {
    "detached",
    "gradients-cleared",
    "no-backward",
    "other-model-trained",
    "requires-grad-false",
    "unused",
    "zero-gradient",
}
_EXCUSE = "pass frozen=[patterns] for the parameters that are meant to stand still."


def _cause(name: str, fault: str, example: str, fix: str, on_purpose: str = _EXCUSE) -> Entry:
    claims = (*_UPDATE, "assert_gradients_flow") if name in _ALSO_FLOW else _UPDATE
    return Entry(name=name, claims=claims, fault=fault, example=example, fix=fix, on_purpose=on_purpose)


ENTRIES: tuple[Entry, ...] = (
    _cause(
        "no-step",
        "No optimizer that holds them stepped (or there is none), and nothing else wrote them.",
        "optimizer.zero_grad()\nloss = criterion(model(x), y)\nloss.backward()\n# optimizer.step() is missing",
        "call optimizer.step() after loss.backward(); if gradients are accumulated, run a whole window (steps=).",
    ),
    _cause(
        "no-backward",
        "An optimizer stepped but no backward pass ran for these parameters. All gradients were None, and"
        " optimizers pass over parameters without gradient in silence.",
        "loss = criterion(model(x), y)\n# loss.backward() is missing\noptimizer.step()",
        "call loss.backward() before optimizer.step().",
    ),
    _cause(
        "step-before-backward",
        "The step ran before the first backward. There was no gradient yet, and what backward left was cleared"
        " before the next step.",
        "optimizer.zero_grad()\nloss = criterion(model(x), y)\noptimizer.step()\nloss.backward()",
        "put the calls in this order: zero_grad(), forward, backward(), step().",
    ),
    _cause(
        "closure-without-backward",
        "A closure was given and never ran backward. The optimizer saw no gradient.",
        "def closure():\n    optimizer.zero_grad()\n    return criterion(model(x), y)  # no backward\n\noptimizer.step(closure)",
        "in the closure: zero_grad(), compute the loss, loss.backward(), return the loss.",
    ),
    _cause(
        "closure-not-passed",
        "The optimizer needs a closure to do anything and got none. A float64 replay of its step writes when"
        " it is given one.",
        "loss.backward()\nsam.step()  # returns at once: this optimizer works only through its closure",
        "pass a closure that clears the gradients, computes the loss, calls backward and returns the loss.",
    ),
    _cause(
        "update-not-written",
        "An optimizer stepped with a usable gradient and an lr that would move them, and wrote nothing to them."
        " A custom step that updates copies, or returns early, does this; so does `p = p - lr * p.grad`.",
        "with torch.no_grad():\n    for p in model.parameters():\n        p = p - 0.1 * p.grad  # a new tensor; the model keeps the old one",
        "write into the parameters themselves: `p -= lr * p.grad`, or p.copy_(new), under torch.no_grad().",
    ),
    _cause(
        "gradients-cleared",
        "Gradients existed and were set to None or zeroed between backward and step, by zero_grad, zero_ or a hook.",
        "loss.backward()\noptimizer.zero_grad()\noptimizer.step()",
        "clear gradients before the forward pass or after the step, not in between.",
    ),
    _cause(
        "detached",
        "The loss was computed from them, or should be, but the graph is cut: detach, .item(), no_grad, numpy,"
        " argmax, a new tensor, or a re-entrant checkpoint on an input that needs no gradient.",
        "features = encoder(x).detach()\nloss = criterion(head(features), y)\nloss.backward()  # never reaches the encoder",
        "keep the tensors in the graph; the message names the line where it ends, when the step could be run once more.",
    ),
    _cause(
        "unused",
        "Registered and trainable, but nothing the loss depends on uses them.",
        "h = self.conv1(x)\nh = self.conv2(x)  # x in place of h: conv1 is computed and dropped",
        "use them in forward, or remove them.",
    ),
    _cause(
        "zero-gradient",
        "A gradient arrived and every element is exactly zero. Dead or saturated units, both factors of a product"
        " initialised with zeros, rounding, masks and clipping to a norm of 0 do this.",
        "self.a = nn.Parameter(torch.zeros(4, 2))\nself.b = nn.Parameter(torch.zeros(2, 4))  # d(ab)/da = b = 0, d(ab)/db = a = 0",
        "find the operation whose output or derivative is 0; initialise one of two factors randomly.",
    ),
    _cause(
        "non-finite",
        "Gradients or weights are NaN or infinite. A NaN that stays NaN has not moved.",
        "loss = torch.log(probabilities).mean()  # log(0)",
        "find the first operation that is not finite; torch.autograd.set_detect_anomaly(True) names it.",
    ),
    _cause(
        "step-skipped",
        "A gradient scaler skipped the step because of NaN or infinity. A few skips at the beginning are normal"
        " (the scale is settling); a skip in every step is not.",
        "scaler.scale(loss).backward()  # infinite gradients each time\nscaler.step(optimizer)        # skips\nscaler.update()",
        "find the operation that overflows, or run more steps.",
        "pass a larger steps=: moving in one of the steps is enough.",
    ),
    _cause(
        "lr-zero",
        "The learning rate of their group was 0 at the step.",
        "optimizer = torch.optim.Adam(model.parameters(), lr=0.0)",
        "give the group a learning rate above 0; with a warm-up from 0, step the scheduler and run more steps.",
        "pass a larger steps= for a warm-up from 0, or frozen=[patterns] for a group that is switched off.",
    ),
    _cause(
        "update-underflow",
        "The update is below the resolution of the dtype: rounding puts the old value back. A float64 replay of"
        " the step confirms it, and the message says which lr or dtype would move them.",
        "model.bfloat16()  # near 1.0 the next bfloat16 number is 0.0078 away\noptimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)",
        "keep the weights in float32 (autocast for the arithmetic), or use the lr that the message names.",
    ),
    _cause(
        "not-in-optimizer",
        "An optimizer stepped, and no known optimizer holds them.",
        "optimizer = torch.optim.SGD(model.encoder.parameters(), lr=0.1)  # the head is forgotten",
        "build it over model.parameters(), or add_param_group for what was added later.",
    ),
    _cause(
        "stale-optimizer",
        "Not in the optimizer, which holds orphans: tensors that the model no longer has and no living module owns.",
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\nmodel.head = nn.Linear(8, 2)  # the optimizer still holds the old head",
        "build the optimizer after the layer is replaced (or the model converted).",
    ),
    _cause(
        "not-registered",
        "The model uses tensors of its own that parameters() does not list: in a Python list, a dict, a plain"
        " object, or as the result of a cast.",
        "self.layers = [nn.Linear(4, 4), nn.Linear(4, 4)]  # use nn.ModuleList\nself.scale = nn.Parameter(torch.ones(1)).double()  # no nn.Parameter any more",
        "register them: nn.ModuleList, nn.ModuleDict, nn.ParameterList; cast first, then wrap in nn.Parameter.",
        "pass frozen=[the printed names]; a fixed network in eval() is left alone without it.",
    ),
    _cause(
        "requires-grad-false",
        "Frozen, although the claim covers them (or nothing at all is trainable).",
        "table = nn.Embedding.from_pretrained(vectors)  # freeze=True is the default",
        "call requires_grad_(True) before the step; from_pretrained takes freeze=False.",
    ),
    _cause(
        "other-model-trained",
        "The step trained another copy of the model, which is alive and owns the tensors that were updated.",
        "optimizer = torch.optim.Adam(target_net.parameters())  # policy_net is the one that learns",
        "build the optimizer, the loss and the check over one and the same model object.",
    ),
    _cause(
        "weights-restored",
        "They changed and were put back within one call of the step.",
        "train_one_epoch(model)\nmodel.load_state_dict(ema_weights)  # the average was never updated",
        "look for what writes old weights back: an average, a best checkpoint, a swap that is undone twice.",
    ),
    _cause(
        "decay-only",
        "They moved, but in every step in which they moved their gradient was exactly zero: weight decay moved them.",
        "optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)\nloss = model(x).clamp(max=-1).mean()  # constant: all gradients are 0",
        "find out why no gradient arrives; decay alone only shrinks the weights.",
    ),
    _cause(
        "momentum-only",
        "They moved, but in every step in which they moved their gradient was exactly zero: the optimizer's state"
        " from earlier steps moved them.",
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)\n# gradients arrived once, and are 0 ever since",
        "find out why no gradient arrives any more.",
    ),
    _cause(
        "optimizer-not-observed",
        "The optimizer cannot report (no super().__init__, a replaced or mocked step) and nothing moved.",
        "with mock.patch.object(torch.optim.SGD, 'step'):\n    train_step()",
        "let the real step run in this test.",
    ),
    _cause(
        "accumulating",
        "Gradients are being accumulated and none was thrown away, and an earlier step or a framework shows that an"
        " optimizer step is due later.",
        "loss.backward()  # one of four micro-batches",
        "watch a whole accumulation window: pass steps= with the number of micro-batches.",
        "pass a larger steps=.",
    ),
    _cause(
        "update-too-small",
        "They moved, but less than min_update asks.",
        "assert_weights_update(model, step, min_update=1e-3)",
        "raise the learning rate, or lower min_update.",
        "leave min_update out: any change is then enough.",
    ),
    _cause(
        "unexplained",
        "None of the known causes fits; the message carries the facts.",
        "# please report the step: a cause is missing in this catalogue",
        "read the facts in the message, and report the step.",
    ),
    *(
        Entry(
            name=name,
            claims=_FROZEN,
            fault=fault,
            example=example,
            fix=fix,
            on_purpose="name only the parameters that must stand still with only=[patterns].",
        )
        for name, fault, example, fix in (
            (
                "frozen-in-optimizer",
                "An optimizer that stepped holds them and changed them.",
                "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # the backbone too",
                "leave them out of the optimizer, and set requires_grad_(False) before the step.",
            ),
            (
                "decay-on-frozen",
                "requires_grad is False, and the optimizer moved them all the same: a left-over gradient with weight decay.",
                "loss.backward()\nmodel.backbone.requires_grad_(False)  # .grad is still there\noptimizer.step()",
                "give the optimizer only the parameters with requires_grad, and clear their gradients.",
            ),
            (
                "written-outside-optimizer",
                "They changed although no optimizer that stepped holds them: something wrote them directly.",
                "for p, q in zip(target.parameters(), online.parameters()):\n    p.data.lerp_(q.data, 0.01)",
                "look for .data writes, copy_, load_state_dict, or an averaged copy.",
            ),
            (
                "buffer-updated",
                "A buffer was written during the step: running statistics of a norm layer in train mode, an average.",
                "model.backbone.requires_grad_(False)  # but its BatchNorm layers are in train mode",
                "put the frozen part into eval() before the step.",
            ),
        )
    ),
)
