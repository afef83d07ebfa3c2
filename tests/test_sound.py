"""The check-up of a step: the scripts of the corpus, its message, its excuses, and one test for each check."""

import re

import corpus_scripts
import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad
from torch.optim import lr_scheduler

import pytest_trainstep
from pytest_trainstep import (
    StepNotSound,
    StepRecord,
    TrainStepUsageError,
    assert_step_sound,
    parametrize_with_step_checks,
)
from pytest_trainstep.assertions.sound import CLAIMS

SCRIPTS = corpus_scripts.scripts("step_sound")
OTHERS = corpus_scripts.scripts("gradients_fresh", "step_finite")


def make_claim(claim, defined):
    wishes = corpus_scripts.wishes(defined, "STEPS", "FROZEN", "UNUSED")
    assert_step_sound(defined["model"], defined["step"], **wishes)


@pytest.mark.parametrize("script", corpus_scripts.each([*SCRIPTS, *OTHERS]))
def test_the_guilty_are_named_and_nobody_else(script):
    corpus_scripts.assert_named(script, corpus_scripts.judge(script, make_claim))


def test_every_cause_has_a_script_and_every_fault_a_healthy_twin():
    corpus_scripts.assert_complete(SCRIPTS, "step_sound")


def regression():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(8, 3), torch.randn(8, 1)

    def loss():
        return (model(x) - y).square().mean()

    return model, optimizer, loss


def twice():
    """A model and a step with two faults: nothing is cleared, and the clip comes too late."""
    model, optimizer, loss = regression()

    def step():
        loss().backward()
        optimizer.step()
        nn.utils.clip_grad_value_(model.parameters(), 0.01)
        for one in model.parameters():
            one.grad = None
        loss().backward()
        optimizer.step()
        optimizer.step()
        for one in model.parameters():
            one.grad = None

    return model, step


def test_several_findings_are_reported_together():
    model, step = twice()

    with pytest.raises(StepNotSound) as caught:
        assert_step_sound(model, step, msg="the nightly loop")

    finding = caught.value.finding
    assert finding.causes == ("gradient-reused", "clip-after-step")
    text = re.sub(r"(tests/)?test_sound\.py:\d+", "FILE", str(caught.value))
    assert text == (
        "gradient-reused, clip-after-step: 2 of 8 checks of 3 steps found something\n"
        "\n"
        "  check                parameters  causes\n"
        "  gradients-used-once  4           gradient-reused\n"
        "  clipping-order       4           clip-after-step\n"
        "\n"
        "because: gradient-reused: SGD (built at FILE) stepped at FILE with gradients that its step at FILE had used"
        " already; no backward pass ran in between.\n"
        "fix: call step() once for each backward pass: one owner for the step.\n"
        "because: clip-after-step: gradients were clipped at FILE after SGD (built at FILE) had stepped at FILE with"
        " them as they were; what was clipped is never used.\n"
        "fix: clip between backward() and step().\n"
        'on purpose? pass skip={"gradients-used-once": "the reason"}\n'
        "the nightly loop"
    )


def test_checks_are_left_out_by_name_and_with_a_reason():
    model, step = twice()
    reasons = {"gradients-used-once": "two updates for each batch are meant", "clipping-order": "kept from the paper"}

    assert assert_step_sound(model, step, skip=reasons).calls == 3


@pytest.mark.parametrize(
    ("skip", "words"),
    [
        ({"gradient-fresh": "why"}, "there is no check 'gradient-fresh'; the checks are step-finite, "),
        ({"gradients-fresh": ""}, "must say why"),
        ({"gradients-fresh": True}, "must say why"),
        (["gradients-fresh"], "must map names of checks to reasons, not list"),
        (dict.fromkeys(CLAIMS, "no"), "leaves nothing to check"),
    ],
)
def test_excuses_that_make_no_sense_are_refused(skip, words):
    with pytest.raises(TrainStepUsageError, match=re.escape(words)):
        assert_step_sound(nn.Linear(2, 1), lambda: None, skip=skip)


def test_parameters_that_may_stand_still_are_named_as_in_the_single_claims():
    model, optimizer, loss = regression()
    whole = nn.ModuleDict({"net": model, "extra": nn.Linear(2, 2)})

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    with pytest.raises(StepNotSound, match=re.escape('on purpose? pass frozen=["extra.*"]')):
        assert_step_sound(whole, step)
    assert_step_sound(whole, step, frozen=["extra.*"])
    assert_step_sound(whole, step, unused=["extra.*"])


def test_everything_of_torch_is_put_back():
    names = [(clip_grad, "_clip_grads_with_norm_"), (nn.utils, "clip_grad_value_"), (lr_scheduler.LRScheduler, "step")]
    names += [(torch.amp.GradScaler, name) for name in ("scale", "unscale_", "get_scale", "step")]
    before = [getattr(place, name) for place, name in names]
    model, step = twice()

    with pytest.raises(StepNotSound):
        assert_step_sound(model, step)
    with pytest.raises(ZeroDivisionError):
        assert_step_sound(model, lambda: 1 // 0)

    assert [getattr(place, name) for place, name in names] == before
    assert not any(one._backward_hooks for one in model.parameters())


def test_private_names_of_torch_that_are_listened_to_exist():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    value = torch.ones(1, requires_grad=True).exp()

    assert callable(clip_grad._clip_grads_with_norm_)
    assert lr_scheduler.StepLR(optimizer, 1)._is_initial is False
    assert torch.amp.GradScaler("cpu")._scale is None
    assert isinstance(value.grad_fn.metadata, dict)
    assert "func_evals" in run_lbfgs().state_dict()["state"][0]


def run_lbfgs():
    parameter = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameter])

    def closure():
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return optimizer


def test_clips_that_cannot_be_heard_are_said_so(monkeypatch):
    monkeypatch.delattr(clip_grad, "_clip_grads_with_norm_")
    model, step = healthy()

    record = assert_step_sound(model, step)

    assert [note for note in record.notes if "does not let clip_grad_norm_ be observed" in note]


def test_the_record_survives_json():
    model, optimizer, loss = regression()
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)

    def step():
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
        scheduler.step()

    record = assert_step_sound(model, step)

    assert StepRecord.from_json(record.to_json()) == record
    assert [len(events) for events in (record.uses, record.clips, record.schedules, record.first_updates)] == [
        3,
        3,
        3,
        1,
    ]
    assert record.first_updates[0].cosine == pytest.approx(-1)


def test_weights_and_random_streams_are_those_of_a_step_nobody_watched():
    def run(around):
        model, optimizer, loss = regression()
        drop = nn.Dropout(0.5)

        def step():
            optimizer.zero_grad()
            (loss() + drop(model[0].weight).sum()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()

        around(model, step)
        return [one.detach().clone() for one in model.parameters()], torch.get_rng_state()

    plain = run(lambda _, step: [step() for _ in range(3)])
    watched = run(assert_step_sound)

    assert all(map(torch.equal, plain[0], watched[0]))
    assert torch.equal(plain[1], watched[1])


# -- one test for each check -------------------------------------------------------------------


def healthy():
    model, optimizer, loss = regression()

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return model, step


@parametrize_with_step_checks(healthy)
def test_step(check):
    assert check().calls == 3


@parametrize_with_step_checks(
    twice, expected={"gradients-used-once": "two updates are meant", "clipping-order": "from the paper"}
)
def test_step_with_excuses(check):
    check()


def test_each_check_is_a_test_of_that_name(pytester):
    pytester.makepyfile(
        """
        import torch
        from pytest_trainstep import parametrize_with_step_checks

        class Setup:
            def __init__(self):
                self.model = torch.nn.Linear(2, 1)
                self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

            def step(self):
                self.model(torch.ones(1, 2)).sum().backward()
                self.optimizer.step()

        @parametrize_with_step_checks(Setup)
        def test_step(check):
            check()

        @parametrize_with_step_checks(Setup, expected={"gradients-fresh": "known", "step-finite": "was known"})
        class TestExcused:
            pass
        """.replace("class TestExcused:\n            pass", "def test_excused(check):\n            check()")
    )

    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-v")

    result.assert_outcomes(passed=7 + 6, failed=2, xfailed=1)
    result.stdout.fnmatch_lines_random(
        [
            "*::test_step[[]gradients-fresh] FAILED*",
            "*::test_step[[]weights-update] PASSED*",
            "*::test_excused[[]gradients-fresh] XFAIL*",
            "*::test_excused[[]step-finite] FAILED*",
            "*XPASS(strict)*was known*",
        ]
    )


def test_a_function_that_takes_no_check_is_refused():
    with pytest.raises(TrainStepUsageError, match="must take the check as an argument"):

        @parametrize_with_step_checks(healthy)
        def test_nothing():
            raise AssertionError


def test_make_must_return_a_model_and_a_step():
    @parametrize_with_step_checks(lambda: 3)
    def test_something(check):
        check()

    cases = test_something.pytestmark[0].args[1]
    with pytest.raises(TrainStepUsageError, match="make must return"):
        cases[0].values[0]()
    with pytest.raises(TrainStepUsageError, match="make must be a function"):
        parametrize_with_step_checks(None)
    with pytest.raises(TrainStepUsageError, match="there is no check"):
        parametrize_with_step_checks(healthy, expected={"nothing": "why"})


def test_a_finding_names_what_a_report_needs():
    model, step = twice()

    with pytest.raises(pytest_trainstep.TrainStepError) as caught:
        assert_step_sound(model, step)

    finding = caught.value.finding
    assert finding.record.calls == 3
    assert set(finding.parameters) == {"0.weight", "0.bias", "2.weight", "2.bias"}
