"""Two runs of the same training give the same result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from pytest_trainstep._diagnose.because import Because, plural
from pytest_trainstep._diagnose.finding import Finding, Reason
from pytest_trainstep._errors import RunsNotReproduced
from pytest_trainstep._watch import processes as fresh
from pytest_trainstep._watch import sharing, trials, warmup
from pytest_trainstep._watch.circumstances import FilesRead
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
            reasons = _Investigation(make_trainer, count).named(processes=True)
            raise RunsNotReproduced(_finding(difference, reasons, count, msg))
        return
    investigation = _Investigation(make_trainer, count)
    first = trials.run(make_trainer, count, Conditions(_BASE))
    second = trials.run(make_trainer, count, Conditions(_OTHER, trials.AHEAD, memory=1))
    difference = first.first_difference(second)
    if difference is not None:
        raise RunsNotReproduced(_finding(difference, investigation.named(), count, msg))


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
        self.began = time.time()
        self.runs = 0

    def run(self, changed: Mapping[str, int] = _BASE, *, clock: int = trials.STILL, fixed: str = "") -> Trial:
        """Run from the state in which everything was found; only memory is another one each time."""
        self.put_back(except_for="")
        return self.run_on(Conditions({**_BASE, **changed}, clock, fixed=fixed))

    def run_on(self, conditions: Conditions) -> Trial:
        """Run from the state that the run before has left."""
        self.runs += 1
        conditions.memory = self.runs
        return trials.run(self.make_trainer, self.steps, conditions)

    def put_back(self, *, except_for: str) -> None:
        """Undo what runs have left in state that outlives a trainer."""
        for name, state in self.shared.items():
            if name != except_for:
                state.put_back()

    def named(self, *, processes: bool = False) -> list[tuple[str, Because]]:
        """Name the causes; a training that cannot stand a frozen clock or the like leaves them unexplained."""
        try:
            return self.between_processes() if processes else self.causes()
        except Exception as error:  # noqa: BLE001 - the finding stands, whatever looking closer runs into
            return [_interrupted(error)]

    def causes(self) -> list[tuple[str, Because]]:
        """Name everything that changes the result on its own."""
        base = self.run()
        if not self.stable(base):
            return [self.uncontrolled()]
        found = []
        for stream in trials.STREAMS:
            changed = self.run({stream: _OTHER[stream]})
            if base.first_difference(changed) is not None:
                found.append(_stream(stream, base, changed))
        if base.first_difference(self.run(clock=trials.STILL_AHEAD)) is not None:
            found.append(_TIME)
        if found and not self.stable(base):  # what looked stable was luck, and so was what looked like a cause
            return [self.uncontrolled()]
        return found or [self.left_behind(base)]

    def stable(self, base: Trial, fixed: str = "") -> bool:
        """Tell whether the same conditions give the same result, twice more."""
        return all(base.first_difference(self.run(fixed=fixed)) is None for _ in range(2))

    def uncontrolled(self) -> tuple[str, Because]:
        """The same streams, the same clock, shared state put back: and still two runs differ."""
        for fixed, reason in _UNCONTROLLED.items():
            if self.stable(self.run(fixed=fixed), fixed):
                return reason
        with FilesRead(self.began) as files:
            self.run()
        return _file(files.found[0]) if files.found else _UNKNOWN

    def left_behind(self, base: Trial) -> tuple[str, Because]:
        """Name what one run leaves behind for the next: put everything back except one."""
        self.run()
        moved = [name for name, state in self.shared.items() if state.moved()]
        guilty = next((name for name in moved if self.matters(name, base)), None)
        if guilty is None and self.run(fixed="operations").first_difference(self.run(fixed="memory")) is not None:
            return _MEMORY
        what = f"`{guilty}` lives" if guilty else "probably something (not found) lives"
        return "shared-state-mutated", Because(
            f"{what} longer than a trainer and goes on from where the run before has left it.",
            "build it anew in each trainer (no mutable defaults, no generators at module level).",
        )

    def matters(self, name: str, base: Trial) -> bool:
        """Tell whether a run differs when only `name` keeps what the run before did to it."""
        self.run()
        self.put_back(except_for=name)
        after = self.run_on(Conditions(_BASE, trials.STILL))
        return base.first_difference(after) is not None

    def between_processes(self) -> list[tuple[str, Because]]:
        """Two interpreters disagree: is it what can be seen in one, too?"""
        first = self.run(clock=trials.NOW)
        second = self.run(_OTHER, clock=trials.AHEAD)
        return [_HASH_ORDER] if first.first_difference(second) is None else self.causes()


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
_ADDRESSES = (
    "address-order",
    Because(
        "the order of addresses takes part (a set of tensors or modules, sorting by id): with it fixed, two runs agree.",
        "use a list, or sort by name: an address is another one in each run.",
    ),
)
_OPERATION = (
    "nondeterministic-operation",
    Because(
        "an operation of torch is not deterministic: with torch's deterministic algorithms two runs agree.",
        "call torch.use_deterministic_algorithms(True); it names the operation.",
    ),
)
_MEMORY = (
    "uninitialised-memory",
    Because(
        "memory is read that nobody has written to: with torch.empty() filled, two runs agree.",
        "use torch.zeros(), or fill what torch.empty() and new_empty() return before it is read.",
    ),
)
_UNCONTROLLED = {"entropy": _SYSTEM, "addresses": _ADDRESSES, "operations": _OPERATION, "memory": _MEMORY}
_UNKNOWN = (
    "unexplained",
    Because(
        "two runs from the same state of every stream and of the clock differ, and neither the system's entropy nor the"
        " order of addresses nor an operation of torch explains it.",
        "look for threads that finish in another order, devices, and state outside Python (files, environment, services).",
    ),
)


def _interrupted(error: Exception) -> tuple[str, Because]:
    return "unexplained", Because(
        f"a further run, made to find out what the result depends on, raised {type(error).__name__}: {error}",
        "look for what differs between two runs: seeds, clocks, files, state that outlives a trainer.",
    )


def _file(name: str) -> tuple[str, Because]:
    return "state-in-files", Because(
        f"a run reads {name}, which the run before has written: probably it goes on from there.",
        "write to a folder of its own in each run (tmp_path), or remove the file first.",
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
        name = "the loss" if name == "loss" else name
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
