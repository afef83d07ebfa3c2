"""The claim, its arguments, its message, its tests and its table."""

import functools
import json
import logging
import pickle
import random

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, Muon

from pytest_trainstep import OptimizerNotConforming, TrainStepUsageError, check_optimizer
from pytest_trainstep.optimizers import __main__ as command
from pytest_trainstep.optimizers import examine_optimizer


class FirstGroupOnly(SGD):
    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.sub_(p.grad, alpha=self.param_groups[0]["lr"])


MESSAGE = """\
updates-every-group: FirstGroupOnly fails 1 of 2 properties

  property             smallest example
  updates-every-group  parameters (2,) | (2,); 1 step; values 0

because: of groups of 1 and 1: parameter 1 (2,) did not move in 4 steps.
fix: loop over all of self.param_groups, and return only after the last.
on purpose? pass skip={'updates-every-group': reason}
note: seed 0
mine"""


def test_the_message_says_what_was_seen_and_what_to_do():
    with pytest.raises(OptimizerNotConforming) as caught:
        check_optimizer(FirstGroupOnly, only=["updates", "updates-every-group"], msg="mine")

    assert str(caught.value) == MESSAGE
    assert caught.value.finding.causes == ("updates-every-group",)


def test_the_error_survives_pickling():
    with pytest.raises(OptimizerNotConforming) as caught:
        check_optimizer(FirstGroupOnly, only=["updates-every-group"])

    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_a_refusal_is_told_in_the_optimizers_own_words():
    outcome = check_optimizer(Adam, only=["updates-sparse"])["updates-sparse"]

    assert outcome.verdict == "declined"
    assert "Adam does not support sparse gradients" in outcome.text


@pytest.mark.trainstep(mutate="off", reason="what does not descend does not without gradients either")
def test_what_is_declared_is_shown_with_its_reason():
    maximizing = functools.partial(SGD, maximize=True)

    assert examine_optimizer(maximizing, only=["descends"])["descends"].verdict == "failed"
    found = check_optimizer(maximizing, only=["descends"], skip={"descends": "maximises by design"})
    assert "skipped descends: maximises by design" in str(found)


def test_the_same_seed_gives_the_same_outcomes():
    names = ["updates-every-group", "updates-every-layout"]
    texts = [[one.text for one in examine_optimizer(FirstGroupOnly, only=names, seed=7).outcomes] for _ in range(2)]

    assert texts[0] == texts[1]


def test_nothing_is_left_behind():
    torch.manual_seed(3)
    random.seed(3)
    before = torch.get_rng_state(), random.getstate(), torch.get_num_threads(), torch.is_grad_enabled()
    examine_optimizer(Adam, only=["updates", "reproducible"], max_examples=1)
    after = torch.get_rng_state(), random.getstate(), torch.get_num_threads(), torch.is_grad_enabled()

    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def needs_model(params, model, lr=0.1):
    return SGD(params, lr=lr)


def over_a_model(model):
    return SGD(model.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: check_optimizer(needs_model), "no value for model; pass required={'model': ...}"),
        (lambda: check_optimizer(over_a_model), "cannot be constructed over a list of parameters: AttributeError"),
        (lambda: check_optimizer(SGD, required={"rho": 1}), "SGD.* has no argument rho"),
        (lambda: check_optimizer(SGD, only=["update"]), "called 'update'; did you mean 'updates'?"),
        (lambda: check_optimizer(SGD, only="updates"), "expected names of properties in a list, not 'updates'"),
        (lambda: check_optimizer(SGD, skip={"descends": ""}), "needs a reason in words"),
        (lambda: check_optimizer(SGD, max_examples=0), "max_examples must be 1 or more, not 0"),
        (lambda: check_optimizer(3), "expected an optimizer class or a callable that builds one, not 3"),
        (lambda: command.find("torch.optim.Adamm"), "cannot find torch.optim.Adamm"),
        (lambda: command.find("json"), "there is no optimizer in json"),
    ],
)
def test_what_makes_no_sense_is_the_users_error(call, words):
    with pytest.raises(TrainStepUsageError, match=words.replace("{", r"\{").replace("?", r"\?")):
        call()


def test_required_fills_the_constructor():
    assert check_optimizer(needs_model, required={"model": None}, only=["updates"])["updates"].verdict == "passed"


def test_later_first_moves_are_a_matter_of_within():
    class Late(SGD):
        @torch.no_grad()
        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                count = self.state[p]["step"] = self.state[p].get("step", 0) + 1
                if count > 25:
                    p.sub_(p.grad, alpha=0.1)

    assert examine_optimizer(Late, only=["updates"])["updates"].verdict == "failed"
    assert check_optimizer(Late, only=["updates"], within=30)["updates"].text == "moved first in step 26"


@pytest.mark.still
def test_a_failure_that_another_explains_is_not_judged():
    class Nothing(SGD):
        def step(self, closure=None):
            pass

    found = examine_optimizer(Nothing, only=["updates", "updates-every-group"])

    assert found["updates-every-group"].verdict == "not judged"
    assert "hidden by the failure of updates" in found["updates-every-group"].text
    assert examine_optimizer(Nothing, only=["updates-every-group"])["updates-every-group"].verdict == "failed"


def test_what_stands_still_without_a_closure_is_told_so():
    class OnlyWithClosure(SGD):
        def step(self, closure=None):
            return None if closure is None else super().step(closure)

    text = examine_optimizer(OnlyWithClosure, only=["updates"])["updates"].text

    assert text.endswith("did not move in 20 steps, but did when step was given a closure")


def test_a_coupling_counts_as_declined_where_a_second_group_is_refused():
    class OneVector(SGD):
        def add_param_group(self, param_group):
            if self.param_groups:
                raise ValueError("OneVector takes one group")
            super().add_param_group(param_group)

        @torch.no_grad()
        def step(self, closure=None):
            held = [p for p in self.param_groups[0]["params"] if p.grad is not None]
            norm = torch.stack([p.grad.norm() for p in held]).norm()
            for p in held:
                p.sub_(p.grad / norm, alpha=0.1)

    outcome = examine_optimizer(OneVector, only=["parameters-independent"])["parameters-independent"]

    assert outcome.verdict == "declined"
    assert outcome.text.startswith("ValueError: OneVector takes one group: parameter 0 moves otherwise")


def test_a_refusal_of_some_sorts_says_of_which():
    text = examine_optimizer(Muon, only=["updates-every-layout"])["updates-every-layout"].text

    assert "Muon only supports 2D parameters" in text
    assert text.endswith("(channels-last; the other 4 hold)")


def test_a_missing_super_init_is_named_even_if_it_crashes_the_step():
    class Rooted(SGD):
        pass

    class Rootless(Rooted):
        def __init__(self, params, lr=0.1):
            self.param_groups = [{"params": list(params), "lr": lr}]

    Rooted([torch.ones(1, requires_grad=True)])  # from here on the step of the class looks for hooks
    found = examine_optimizer(Rootless)

    assert [one.name for one in found.failed] == ["hooks-fire"], str(found)
    assert found["hooks-fire"].text.startswith("Optimizer.__init__ was not called")


def test_parametrized_checks_are_tests_of_their_own(pytester):
    pytester.makepyfile(
        """
        import functools
        import torch
        from pytest_trainstep import parametrize_with_optimizer_checks

        class Nothing(torch.optim.SGD):
            def step(self, closure=None):
                pass

        ONLY = ["updates", "updates-sparse", "descends"]
        OPTIMIZERS = [torch.optim.AdamW, functools.partial(Nothing, momentum=0.9)]

        @parametrize_with_optimizer_checks(OPTIMIZERS, only=ONLY, skip={"descends": "too slow here"})
        def test_conforms(check):
            check()
        """
    )
    result = pytester.runpytest("-rsf")

    result.assert_outcomes(passed=1, failed=1, skipped=4)
    result.stdout.fnmatch_lines(["*declined: RuntimeError: * does not support sparse gradients*"])
    result.stdout.fnmatch_lines(["*skipped: too slow here*"])
    result.stdout.fnmatch_lines(["FAILED *Nothing(momentum=0.9)-updates*"])


def test_the_table_has_a_column_for_each_optimizer(capsys, tmp_path):
    file = tmp_path / "found.json"
    names = ["torch.optim.SGD", "torch.optim:AdamW", "--only", "updates,rejects-bad-hyperparameters"]
    status = command.main([*names, "--json", str(file)])
    out = capsys.readouterr().out.splitlines()

    assert status == 1
    assert out[0].split() == ["property", "SGD", "AdamW"]
    assert out[2].split() == ["rejects-bad-hyperparameters", "FAIL", "ok"]
    assert [one["optimizer"] for one in json.loads(file.read_text())] == ["SGD", "AdamW"]


def test_the_status_is_0_when_nothing_fails_and_2_when_nothing_could_be_checked(capsys):
    assert command.main(["torch.optim.Adam", "--only", "updates", "--max-examples", "1"]) == 0
    assert command.main(["no.such.Optimizer"]) == 2
    assert "error: cannot find no.such.Optimizer" in capsys.readouterr().err


def test_one_that_cannot_be_built_does_not_keep_the_others_from_the_table(capsys, monkeypatch, tmp_path):
    (tmp_path / "both.py").write_text(
        "from torch.optim import SGD\n\n"
        "class Needy(SGD):\n    def __init__(self, params, model):\n        super().__init__(params)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    assert command.main(["both", "--only", "updates", "--max-examples", "1"]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("property  SGD")
    assert "error: Needy cannot be constructed: no value for model" in captured.err


def test_where_json_cannot_be_written_is_told_before_the_run(capsys, tmp_path):
    assert command.main(["torch.optim.Adam", "--json", str(tmp_path / "missing" / "found.json")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_a_module_stands_for_all_its_optimizers():
    assert {SGD, Adam, AdamW} <= set(command.find("torch.optim"))
    assert torch.optim.Optimizer not in command.find("torch.optim")


def test_progress_is_a_bar_on_a_terminal_and_silence_elsewhere(capsys, monkeypatch):
    command.Progress(1).tell("SGD")(0, 2, "updates")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    command.Progress(1).tell("SGD")(1, 2, "updates")
    assert "[############............] 1/1 SGD: updates" in capsys.readouterr().err


class Counting(torch.optim.Optimizer):
    """A Python number that is another in every step: a compiler recompiles, gives up, and says so."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})
        self.count = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for p in group["params"]:
                norm = float(p.grad.norm().item())
                p.sub_(p.grad, alpha=group["lr"] * min(1.0, norm) / (1 + 1 / self.count))


@pytest.mark.slow
def test_the_compiler_is_heard_by_nobody_and_keeps_its_handlers(capfd):
    kept = [tuple(one.filters) for one in logging.getLogger("torch").handlers]

    found = examine_optimizer(Counting, only=["compiles"], within=20)

    assert found["compiles"].verdict == "passed"
    assert capfd.readouterr().err == ""
    assert not kept or [tuple(one.filters) for one in logging.getLogger("torch").handlers] == kept
