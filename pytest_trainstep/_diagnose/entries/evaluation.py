"""What an evaluation must not do, and why two evaluations differ."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry


def _impure(name: str, aspect: str, fault: str, example: str, fix: str) -> Entry:
    purpose = f'pass allowed=["{aspect}"].'
    return Entry(
        name=name, claims=("assert_evaluation_pure",), fault=fault, example=example, fix=fix, on_purpose=purpose
    )


def _differs(name: str, fault: str, example: str, fix: str) -> Entry:
    return Entry(
        name=name,
        claims=("assert_evaluation_repeatable",),
        fault=fault,
        example=example,
        fix=fix,
        on_purpose="leave the value out of what eval_fn returns, or seed what it draws.",
    )


ENTRIES: tuple[Entry, ...] = (
    _impure(
        "trained-in-evaluation",
        "weights",
        "An optimizer that holds parameters of the model stepped during evaluation.",
        "def validate():\n    entropy(model(x)).backward()  # adapts the model itself\n    optimizer.step()",
        "adapt a deep copy with an optimizer of its own, and evaluate that.",
    ),
    _impure(
        "weights-rounded",
        "weights",
        "The weights are the old ones rounded to a coarser dtype: converted and converted back.",
        "model.half()\nscore = model(x.half())\nmodel.float()  # the rounding stays",
        "convert a deep copy, or use autocast.",
    ),
    _impure(
        "weights-replaced",
        "weights",
        "The model holds other tensors under the same names; an optimizer goes on with the old ones.",
        "model.load_state_dict(saved, assign=True)",
        "write into the parameters with copy_ (load_state_dict without assign=True).",
    ),
    _impure(
        "weights-not-put-back",
        "weights",
        "Something wrote other weights and did not put the old ones back. Probably averaged weights that were swapped in.",
        "swap_in(average)\nif score < best:\n    return score  # the way back is below",
        "put the training weights back in a finally block.",
    ),
    _impure(
        "statistics-updated",
        "buffers",
        "A norm layer was in train mode during evaluation and moved its running statistics with the data.",
        "with torch.no_grad():  # model.eval() is missing\n    score = accuracy(model(x), y)",
        "call model.eval() before the evaluation, and restore each module's mode after it.",
    ),
    _impure(
        "buffer-written",
        "buffers",
        "Evaluation wrote a buffer that is part of the model's state: a hidden state, a counter, an average.",
        "self.hidden = h.detach()  # in forward: validation text goes on into training",
        "save such buffers before the evaluation and put them back after it.",
    ),
    _impure(
        "mode-not-restored",
        "modes",
        "Modules that came in train mode are left in eval mode.",
        "model.eval()\nscore = accuracy(model(x), y)\nreturn score  # model.train() is missing",
        "remember the mode and restore it: was = model.training; ...; model.train(was).",
    ),
    _impure(
        "mode-restored-too-broadly",
        "modes",
        "Modules that came in eval mode are left in train mode.",
        "model.backbone.eval()  # frozen\n...\nmodel.train()  # after validation: wakes the backbone too",
        "restore the mode of each module as it was, not with model.train().",
    ),
    _impure(
        "backward-in-evaluation",
        "gradients",
        "Gradients of validation data were left in the parameters.",
        "loss = criterion(model(valid_x), valid_y)\nloss.backward()  # as in training, only the step is left out",
        "evaluate under torch.no_grad(), or ask torch.autograd.grad for what is needed.",
    ),
    _impure(
        "gradients-dropped",
        "gradients",
        "Gradients that were there have been cleared; in the middle of an accumulation window they are lost.",
        'def validate():\n    ...\n    optimizer.zero_grad()  # "to be clean"',
        "leave the gradients alone in evaluation.",
    ),
    _impure(
        "requires-grad-changed",
        "requires_grad",
        "Evaluation left requires_grad of parameters otherwise than it was.",
        "model.requires_grad_(False)\nscore = evaluate(model)\nmodel.requires_grad_(True)  # frozen ones too",
        "use torch.no_grad().",
    ),
    _impure(
        "grad-mode-left-off",
        "grad_mode",
        "Gradients were on before the evaluation and are off after it, or the other way round.",
        "torch.set_grad_enabled(False)\nreturn score(model)  # never set back",
        "use `with torch.no_grad():`.",
    ),
    _impure(
        "optimizer-changed",
        "optimizer",
        "Evaluation changed the optimizer's state or its groups.",
        "def validate():\n    ...\n    optimizer.state.clear()",
        "step schedulers, and reset or load optimizers, in the training loop.",
    ),
    _impure(
        "stream-reset",
        "random",
        "Evaluation set a random stream to a fixed place. Training goes on from there with the same numbers after every"
        " evaluation: the same dropout masks, the same noise.",
        "def sample_sheet():\n    torch.manual_seed(10)\n    return decoder(torch.randn(8, 4))",
        "use a torch.Generator of its own, or restore the stream (torch.random.fork_rng).",
    ),
    _differs(
        "dropout-in-evaluation",
        "Dropout was at work during evaluation.",
        "h = F.dropout(h, 0.5)  # training=True is the default, in eval mode too",
        "call model.eval() before, and pass training=self.training to functional dropout.",
    ),
    _differs(
        "random-in-evaluation",
        "Evaluation draws random numbers; with the same numbers the results agree.",
        "z = torch.randn(8, 4)\nscore = distance(decoder(z), target)",
        "draw them from a generator that is seeded for each evaluation.",
    ),
    _differs(
        "evaluation-carries-state",
        "The second evaluation starts from what the first one left in the model.",
        "score = accuracy(model(x), y)  # in train mode: each evaluation moves the running statistics",
        "put back what evaluation changes; assert_evaluation_pure names it.",
    ),
    _differs(
        "evaluation-reads-outside",
        "Even from the same weights and the same random numbers the result differs: evaluation reads something else that"
        " moves on, like an iterator, a generator of its own, a clock or a cache.",
        "batches = iter(loader)  # made once\n\ndef evaluate():\n    x, y = next(batches)",
        "let each evaluation start its data, its generators and its caches anew.",
    ),
)
