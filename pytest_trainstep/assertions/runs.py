"""Two runs of the same training give the same result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_trainstep._diagnose.because import Because, plural
from pytest_trainstep._diagnose.finding import Finding, Reason
from pytest_trainstep._errors import RunsNotReproduced
from pytest_trainstep._watch import processes as fresh
from pytest_trainstep._watch import sharing, trials, warmup
from pytest_trainstep._watch.trials import Conditions, Trial

from .weights import steps_of

_BASE = dict.fromkeys(trials.STREAMS, 11)
_OTHER = dict.fromkeys(trials.STREAMS, 23)
_UNSEEDED = {
    "python": ("unseeded-python-random", "Python's `random`", "random.seed(seed)"),
    "numpy": ("unseeded-numpy", "numpy's global stream", "numpy.random.seed(seed), or pass a seeded Generator"),
    "torch": ("unseeded-torch", "torch's global stream", "torch.manual_seed(seed)"),
}


def assert_runs_reproduce(
    make_trainer: Callable[[], Any],
    *,
    steps: int | None = None,
    processes: bool = False,
    msg: str | None = None,
) -> None:
    """Two trainers, built and run one after the other, go through bitwise the same losses and weights.

    The two runs begin from different states of torch's, numpy's and Python's random streams and with the
    clock a day apart, as two processes would: a training that seeds what it uses does not notice.

    Args:
        make_trainer: Called without arguments for each run; returns an object with `.model` (a module or a
            mapping of names to modules) and `.step()`, or a pair (model, step_fn). It must seed for itself.
        steps: How often `.step()` is called in each run. Default: the marker's, the option's, else 2.
        processes: Run both in fresh interpreters (with different hash seeds for strings); `make_trainer` must
            then be a function or class at the top level of a file.
        msg: Text of your own, printed below the message.

    Raises:
        RunsNotReproduced: With `.finding`: the first step and parameter that differ, and the stream or state
            that was not under control.
        TrainStepUsageError: `make_trainer` does not return a trainer, or cannot be run in another process.

    Example:
        >>> import torch
        >>> def make_trainer():
        ...     torch.manual_seed(0)
        ...     model = torch.nn.Linear(2, 1)
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ...     def step():
        ...         optimizer.zero_grad()
        ...         model(torch.randn(4, 2)).sum().backward()
        ...         optimizer.step()
        ...     return model, step
        >>> assert_runs_reproduce(make_trainer, steps=3)
    """
    __tracebackhide__ = True
    count = steps_of(make_trainer, steps, default=2, what="make_trainer")
    warmup.warm_up()
    if processes:
        first, second = fresh.run_twice(make_trainer, count)
        difference = first.first_difference(second)
        if difference is not None:
            reason = _Investigation(make_trainer, count).between_processes()
            raise RunsNotReproduced(_finding(difference, [reason], count, msg))
        return
    investigation = _Investigation(make_trainer, count)
    first = trials.run(make_trainer, count, Conditions(_BASE))
    second = trials.run(make_trainer, count, Conditions(_OTHER, trials.AHEAD))
    difference = first.first_difference(second)
    if difference is not None:
        raise RunsNotReproduced(_finding(difference, investigation.causes(), count, msg))


def as_trainer(
    model: Any,
    step: Callable[[], object],
    *,
    state_dict: Callable[[], Any] | None = None,
    load_state_dict: Callable[[Any], object] | None = None,
) -> trials.Pair:
    """Make a trainer, as the claims about runs want it, of whatever trains.

    For Lightning: `as_trainer(module, lambda: trainer.fit(module, loader))`; for transformers:
    `as_trainer(trainer.model, trainer.train)`.

    Args:
        model: A module, or a mapping of names to modules.
        step: What is called once for each step (one batch, one epoch, one `fit`).
        state_dict: Returns a checkpoint; needed by `assert_resume_matches` only.
        load_state_dict: Takes one; needed by `assert_resume_matches` only.

    Returns:
        An object with `.model`, `.step()`, `.state_dict()` and `.load_state_dict(state)`.

    Example:
        >>> import torch
        >>> def make_trainer():
        ...     torch.manual_seed(0)
        ...     model = torch.nn.Linear(2, 1)
        ...     return as_trainer(model, lambda: None)
        >>> assert_runs_reproduce(make_trainer, steps=1)
    """
    return trials.Pair(model, step, state_dict, load_state_dict)


class _Investigation:
    """Further runs, each with one thing changed, to find out what the result depends on."""

    def __init__(self, make_trainer: Callable[[], Any], steps: int) -> None:
        self.make_trainer = make_trainer
        self.steps = steps
        self.shared = sharing.shared_state(make_trainer)

    def run(self, *, clock: int = trials.STILL, **changed: int) -> Trial:
        """Run from the state in which everything was found."""
        self.put_back(except_for="")
        return trials.run(self.make_trainer, self.steps, Conditions({**_BASE, **changed}, clock))

    def put_back(self, *, except_for: str) -> None:
        """Undo what runs have left in state that outlives a trainer."""
        for name, back in self.shared.items():
            if name != except_for:
                back()

    def causes(self) -> list[tuple[str, Because]]:
        """Name everything that changes the result on its own."""
        base = self.run()
        if base.first_difference(self.run()) is not None:
            return [self.uncontrolled()]
        found = []
        for stream in trials.STREAMS:
            changed = self.run(**{stream: _OTHER[stream]})
            if base.first_difference(changed) is not None:
                found.append(_stream(stream, base, changed))
        if base.first_difference(self.run(clock=trials.STILL_AHEAD)) is not None:
            found.append(_TIME)
        return found or [self.shared_state(base)]

    def uncontrolled(self) -> tuple[str, Because]:
        """The same streams, the same clock, shared state put back: and still two runs differ."""
        results = []
        for _ in range(2):
            self.put_back(except_for="")
            conditions = Conditions(_BASE, trials.STILL, fixed_system_entropy=True)
            results.append(trials.run(self.make_trainer, self.steps, conditions))
        return _OPERATION if results[0].first_difference(results[1]) is not None else _SYSTEM

    def shared_state(self, base: Trial) -> tuple[str, Because]:
        """Name what one run leaves behind for the next: put everything back except one."""
        guilty = next((name for name in self.shared if self.matters(name, base)), None)
        what = f"`{guilty}` lives" if guilty else "something lives"
        return "shared-state-mutated", Because(
            f"{what} longer than a trainer and goes on from where the run before has left it.",
            "build it anew in each trainer (no mutable defaults, no generators at module level).",
        )

    def matters(self, name: str, base: Trial) -> bool:
        """Tell whether a run differs when only `name` keeps what the run before did to it."""
        self.run()
        self.put_back(except_for=name)
        after = trials.run(self.make_trainer, self.steps, Conditions(_BASE, trials.STILL))
        return base.first_difference(after) is not None

    def between_processes(self) -> tuple[str, Because]:
        """Two interpreters disagree: is it what can be seen in one, too?"""
        first = self.run(clock=trials.NOW)
        second = self.run(clock=trials.AHEAD, **_OTHER)
        return _HASH_ORDER if first.first_difference(second) is None else self.causes()[0]


_TIME = (
    "time-dependent",
    Because(
        "the result changes when only the clock is set ahead: the time takes part in a seed, a schedule or the data.",
        "derive it from a fixed seed or from the number of the step.",
    ),
)
_SYSTEM = (
    "system-entropy",
    Because(
        "the system's own entropy takes part (os.urandom: SystemRandom, secrets, a generator built without a"
        " seed): with it fixed, two runs agree.",
        "use a generator with a fixed seed.",
    ),
)
_OPERATION = (
    "nondeterministic-operation",
    Because(
        "two runs from the same state of every stream differ: probably an operation that is not deterministic, a"
        " clock read by another way, or state that was not found.",
        "try torch.use_deterministic_algorithms(True), and look for generators seeded from the time.",
    ),
)
_HASH_ORDER = (
    "hash-order",
    Because(
        "within one process two runs agree, between two they do not: probably the order of a set of strings, which"
        " is another one in each process.",
        "sort it: sorted(names) in place of set(names).",
    ),
)


def _stream(stream: str, base: Trial, changed: Trial) -> tuple[str, Because]:
    cause, what, how = _UNSEEDED[stream]
    if base.streams.get(stream) == changed.streams.get(stream):
        step, name = base.first_difference(changed) or (0, "")
        where = "construction" if step == 0 else f"step {step}"
        return "seeded-too-late", Because(
            f"{what} is seeded, but something has drawn from it before that: {name} already differs after {where}.",
            "seed before the model, the data and everything else random is built.",
        )
    return cause, Because(
        f"{what} is used and never seeded: with only its state changed, the result changes.",
        f"call {how} at the beginning of make_trainer.",
    )


def _finding(difference: tuple[int, str], reasons: list[tuple[str, Because]], steps: int, msg: str | None) -> Finding:
    step, name = difference
    where = "after construction" if step == 0 else f"at step {step}"
    what = "the loss" if name == "loss" else name
    return Finding(
        claim=f"two runs of {plural(steps, 'step')} differ, first {where} in {what}",
        causes=tuple(cause for cause, _ in reasons),
        parameters={} if name == "loss" else {name: reasons[0][0]},
        reasons=tuple(Reason(cause=cause, because=why.text, fix=why.fix) for cause, why in reasons),
        on_purpose="leave the claim out: a training that is random by design cannot be reproduced",
        msg=msg,
    )
