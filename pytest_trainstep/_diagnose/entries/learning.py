"""Why a loss does not fall, or does not start at chance."""

from __future__ import annotations

from pytest_trainstep._diagnose.catalogue import Entry

_FALLS = ("assert_batch_overfits", "assert_loss_falls")
_STARTS = ("assert_loss_starts_at",)


def _falls(name: str, fault: str, example: str, fix: str, claims: tuple[str, ...] = _FALLS) -> Entry:
    on_purpose = "pass a higher below= (or a smaller by=) if the loss has a floor, or a larger steps=."
    return Entry(name=name, claims=claims, fault=fault, example=example, fix=fix, on_purpose=on_purpose)


def _starts(name: str, fault: str, example: str, fix: str) -> Entry:
    on_purpose = "pass the expected= of a model that knows something already, or a larger rtol=."
    return Entry(name=name, claims=_STARTS, fault=fault, example=example, fix=fix, on_purpose=on_purpose)


ALSO = {"loss-not-finite": (*_FALLS, *_STARTS), "gradients-not-cleared": _FALLS}
ENTRIES: tuple[Entry, ...] = (
    _falls(
        "loss-broadcast",
        "Predictions and targets have different shapes, and the loss broadcasts them against each other.",
        "prediction = model(x)             # (N, 1)\nloss = F.mse_loss(prediction, y)  # y is (N,): N x N differences",
        "give both the same shape: prediction.squeeze(-1), or target.unsqueeze(-1).",
        (*_FALLS, *_STARTS),
    ),
    _falls(
        "loss-maximized",
        "The step climbs: backward starts from the negative of the loss, or the optimizer maximizes.",
        "(-loss).backward()\noptimizer = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True)",
        "call backward on the loss itself, and build the optimizer without maximize.",
    ),
    _falls(
        "double-softmax",
        "The predictions are probabilities already, and the loss takes a softmax (or a sigmoid, or a logarithm that"
        " never came) of them.",
        "model = nn.Sequential(nn.Linear(8, 5), nn.Softmax(dim=1))\nloss = F.cross_entropy(model(x), y)  # applies log_softmax itself",
        "return logits.",
        (*_FALLS, *_STARTS),
    ),
    _falls(
        "target-out-of-range",
        "Targets lie where the output's activation cannot reach.",
        "model = nn.Sequential(nn.Linear(8, 1), nn.ReLU())  # never negative\nloss = F.mse_loss(model(x), y)                     # y is",
        "put no such activation behind the last layer, or scale the targets.",
    ),
    _falls(
        "output-constant",
        "The prediction is the same for every sample: dead units, or the input does not reach the output.",
        "nn.init.constant_(layer.bias, -100.0)  # every unit behind it is dead",
        "look for dead or saturated units, and for an input that is not used.",
    ),
    _falls(
        "learning-rate-vanishes",
        "The learning rate decays to nothing long before the end.",
        "scheduler = StepLR(optimizer, step_size=5, gamma=0.1)\nfor batch in loader:\n    train(batch)\n    scheduler.step()  # meant once per epoch",
        "step the scheduler once per epoch, or give it its length in steps.",
    ),
    _falls(
        "dropout-too-strong",
        "Only with dropout off is the loss low enough.",
        "nn.Dropout(p=0.9)  # p is what is dropped, not what is kept",
        "lower the rate, or measure in eval mode in loss_fn.",
        ("assert_batch_overfits",),
    ),
    _falls(
        "units-alike",
        "All units of a layer are copies of one: they started equal and receive equal gradients.",
        "for p in model.parameters():\n    nn.init.constant_(p, 0.1)",
        "initialise weights randomly; only biases may be constant.",
    ),
    _falls(
        "loss-diverges",
        "The loss grows: steps overshoot.",
        "optimizer = torch.optim.SGD(model.parameters(), lr=10.0)",
        "lower the learning rate, warm it up, or clip the gradients.",
    ),
    _falls(
        "still-falling",
        "The loss is on its way and had not arrived: too few steps, or too small ones.",
        "optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)",
        "run more steps, or raise the learning rate.",
    ),
    _falls(
        "no-better-than-constant",
        "The loss settles where the best constant prediction would put it. The input tells nothing about the target.",
        "x, y = x[torch.randperm(n)], y[torch.randperm(n)]  # two permutations",
        "check that one permutation picks inputs and targets, and that forward uses its input.",
    ),
    _starts(
        "wrong-reduction",
        "The loss is a sum where a mean is expected, or was divided once too often.",
        'loss = F.cross_entropy(logits, y, reduction="sum")',
        "use a mean, or expect the sum.",
    ),
    _starts(
        "other-class-count",
        "The output has another number of classes than the expected value stands for.",
        "head = nn.Linear(64, 1000)  # the data have 10 classes",
        "give the last layer one output for each class.",
    ),
    _starts(
        "outputs-too-large",
        "The untrained outputs are so far apart that the model is confident before it has learned anything.",
        "nn.init.normal_(head.weight, std=1.0)  # 64 inputs: logits with a deviation of 8",
        "initialise the last layer with smaller weights, or normalise what goes into it.",
    ),
)
