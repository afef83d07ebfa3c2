"""Why a training parts from its recording."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry

_ANEW = "run once with --trainstep-record=all to record anew, and commit the file."


def _cause(name: str, fault: str, example: str, fix: str) -> Entry:
    return Entry(
        name=name, claims=("trainstep_recording.check",), fault=fault, example=example, fix=fix, on_purpose=_ANEW
    )


ENTRIES: tuple[Entry, ...] = (
    _cause(
        "loss-changed",
        "The loss is another one although the learning rate is the same: the model, its initialisation, the data,"
        " dropout or the loss itself has changed.",
        "self.dropout = nn.Identity()  # was nn.Dropout(0.1)",
        "look at what the forward pass and the loss are made of.",
    ),
    _cause(
        "gradient-changed",
        "From the same loss another gradient comes: its scale, accumulation, clipping or what is detached has changed.",
        "(loss / 4).backward()  # was 8 micro-batches",
        "look between the loss and the optimizer step.",
    ),
    _cause(
        "option-changed",
        "An option of the optimizer (weight decay, momentum, betas, eps) is another one.",
        "optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)  # was 0.01",
        "look at how the optimizer is built.",
    ),
    _cause(
        "update-changed",
        "From the same gradient another update comes: the optimizer itself, or what is done to the weights besides.",
        "optimizer = torch.optim.Adam(model.parameters())  # was AdamW",
        "look at how the optimizer is built, and at what it is told during training.",
    ),
    _cause(
        "lr-changed",
        "The learning rate is another one at this step.",
        "scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)  # was 5",
        "look at the optimizer's groups and the scheduler.",
    ),
    _cause(
        "weights-changed",
        "Every step agrees, and the weights at the end do not: something else writes to them.",
        "model.head.weight.data.clamp_(-1, 1)",
        "look for what writes to the weights after the last step.",
    ),
    _cause(
        "parameters-changed",
        "The model has other parameters than when it was recorded.",
        "self.head = nn.Linear(8, 3, bias=False)  # had a bias",
        "record anew if that was meant.",
    ),
    _cause(
        "steps-changed",
        "The number of recorded steps is another one.",
        "trainstep_recording.check(model, step, steps=10)  # was 5",
        "record anew if that was meant.",
    ),
    _cause(
        "recording-missing",
        "There is no recording, and this run may not make one (the default in CI).",
        "trainstep_recording.check(model, step)  # with --trainstep-record=none",
        "run the test once with --trainstep-record=new outside CI, and commit the file.",
    ),
)
