"""Gradients flow, gradients are fresh, everything stays finite: the scripts of the corpus, and what they leave out."""

import re

import corpus_scripts
import pytest
import torch
from torch import nn

import pytest_trainstep
from pytest_trainstep import (
    GradientsNotFlowing,
    GradientsNotFresh,
    StepNotFinite,
    StepRecord,
    TrainStepUsageError,
    assert_gradients_flow,
    assert_gradients_fresh,
    assert_step_finite,
    watch,
)

CLAIMS = ("gradients_flow", "gradients_fresh", "step_finite")
SCRIPTS = corpus_scripts.scripts(*CLAIMS)


def make_claim(claim, defined):
    wishes = corpus_scripts.wishes(defined, "STEPS", "ONLY", "UNUSED")
    getattr(pytest_trainstep, f"assert_{claim}")(defined["model"], defined["step"], **wishes)


@pytest.mark.parametrize("script", corpus_scripts.each(SCRIPTS))
def test_the_guilty_are_named_and_nobody_else(script):
    finding = corpus_scripts.judge(script, make_claim)

    corpus_scripts.assert_named(script, finding)
    assert not [note for note in finding.notes if "internal" in note] if finding else True


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_cause_has_a_script_and_every_fault_a_healthy_twin(claim):
    corpus_scripts.assert_complete(SCRIPTS, claim)


@pytest.mark.parametrize("script", corpus_scripts.each(script for script in SCRIPTS if script.marks))
def test_a_message_is_short_ascii_and_complete(script):
    text = str(corpus_scripts.judge(script, make_claim))

    assert text.isascii()
    assert len(text.splitlines()) <= 14
    for word in ("because: ", "fix: ", "on purpose? "):
        assert text.count(f"\n{word}") == 1


def regression(lr=0.1):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    x, y = torch.randn(8, 3), torch.randn(8, 1)

    def loss():
        return (model(x) - y).square().mean()

    return model, optimizer, loss


# -- flow --------------------------------------------------------------------------------------


def test_a_dropped_layer_is_reported_with_the_argument_that_excuses_it():
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "dropped": nn.Linear(2, 1)})

    def step():
        model["used"](torch.ones(1, 2)).sum().backward()

    with pytest.raises(GradientsNotFlowing) as caught:
        assert_gradients_flow(model, step)

    assert caught.value.finding.parameters == {"dropped.weight": "unused", "dropped.bias": "unused"}
    assert str(caught.value) == (
        "unused: 2 of 4 trainable parameters received no gradient in 1 step\n"
        "\n"
        "  parameter       shape  backward passes that reached it  gradient\n"
        "  dropped.weight  (1,2)  0                                none\n"
        "  dropped.bias    (1,)   0                                none\n"
        "\n"
        "because: 1 backward pass ran and none reached them: nothing in the step used them.\n"
        "fix: use them in forward (is the right variable passed on?), or remove them.\n"
        'on purpose? pass unused=["dropped.*"]\n'
        "note: the step was run once more to look closer, and everything was put back"
    )
    assert_gradients_flow(model, step, unused=["dropped.*"])
    assert_gradients_flow(model, step, only=["used.*"])


def test_without_a_second_run_the_message_says_probably():
    model = nn.Linear(2, 1)
    other = nn.Linear(2, 3)
    calls = []

    def step():
        calls.append(1)
        other(torch.ones(1, 2)).sum().backward()

    with pytest.raises(GradientsNotFlowing, match="probably detached"):
        assert_gradients_flow(model, step, rerun=False)
    assert calls == [1]


def test_lazy_layers_are_followed_once_they_are_there():
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(3), nn.Tanh(), nn.LazyLinear(1))
    x = torch.randn(4, 2)

    record = assert_gradients_flow(model, lambda: model(x).square().mean().backward())

    assert all(row.flowed for row in record.parameters.values())


def test_hooks_are_gone_afterwards():
    model, _, loss = regression()

    assert_gradients_flow(model, lambda: loss().backward())

    assert not any(one._backward_hooks for one in model.parameters())


# -- fresh -------------------------------------------------------------------------------------


def test_a_missing_zero_grad_names_step_optimizer_and_parameters():
    model, optimizer, loss = regression()

    def step():
        loss().backward()
        optimizer.step()

    with pytest.raises(GradientsNotFresh) as caught:
        assert_gradients_fresh(model, step, msg="see the loop")

    assert set(caught.value.finding.parameters.values()) == {"gradients-not-cleared"}
    text = re.sub(r"test_gradients\.py:\d+", "FILE", str(caught.value)).replace("tests/", "")
    assert text == (
        "gradients-not-cleared: 1 of 2 optimizer steps used gradients left over from before\n"
        "\n"
        "  parameter  in step  backward passes inside  used already in step\n"
        "  0.weight   2        2                       1\n"
        "  0.bias     2        2                       1\n"
        "  2.weight   2        2                       1\n"
        "  2.bias     2        2                       1\n"
        "\n"
        "because: SGD (built at FILE) stepped at FILE with gradients of 2 backward passes, and its step number 1 at FILE"
        " had used a part of them: nothing cleared them in between.\n"
        "fix: call zero_grad() before each backward pass (or after each step), for every optimizer.\n"
        'on purpose? pass kept=["*"]\n'
        "see the loop"
    )
    assert_gradients_fresh(model, step, kept=["*"])


def test_growing_windows_are_excused_by_name():
    model, optimizer, loss = regression()
    lengths = [1, 1, 2, 2]
    inside = []

    def step():
        inside.append(1)
        loss().backward()
        if len(inside) == lengths[0]:
            del lengths[0]
            inside.clear()
            optimizer.step()
            optimizer.zero_grad()

    assert_gradients_fresh(model, step, steps=6, varying_windows=True)


def test_one_step_alone_has_nothing_left_over():
    model, optimizer, loss = regression()

    def step():
        loss().backward()
        optimizer.step()

    assert assert_gradients_fresh(model, step, steps=1).uses[0].count == 1


def test_a_skipped_step_of_a_scaler_is_no_use():
    model, optimizer, loss = regression()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)
    factors = [1.0, float("inf"), 1.0]

    def step():
        optimizer.zero_grad()
        scaler.scale(loss() * factors.pop(0)).backward()
        scaler.step(optimizer)
        scaler.update()

    assert assert_gradients_fresh(model, step, steps=3).step_count == 3


# -- finite ------------------------------------------------------------------------------------


def test_the_operation_that_made_the_loss_infinite_is_named():
    model, optimizer, loss = regression()

    def step():
        optimizer.zero_grad()
        value = (loss() * 0).log()
        value.backward()
        optimizer.step()

    with pytest.raises(StepNotFinite) as caught:
        assert_step_finite(model, step)

    event = caught.value.finding.record.non_finite[0]
    assert (event.what, event.value, event.by, event.given) == ("loss", "-inf", "log", "0")
    assert "test_gradients.py" in event.at
    assert "`log`" in str(caught.value)


def test_the_module_in_which_nan_was_born_is_named():
    class Norm(nn.Module):
        def forward(self, x):
            return x / x.sub(x).sum()

    model = nn.Sequential(nn.Linear(2, 1), Norm())

    with pytest.raises(StepNotFinite) as caught:
        assert_step_finite(model, lambda: model(torch.ones(1, 2)).sum().backward())

    assert caught.value.finding.record.non_finite[0].module == "1"


def test_the_autograd_node_that_made_the_gradient_infinite_is_named():
    model = nn.Linear(2, 1)

    with pytest.raises(StepNotFinite) as caught:
        assert_step_finite(model, lambda: model(torch.ones(1, 2)).mul(0).sqrt().sum().backward())

    event = caught.value.finding.record.non_finite[0]
    assert (event.what, event.by) == ("gradient", "SqrtBackward0")
    assert set(event.parameters) == {"weight", "bias"}


def test_a_batch_with_nan_is_not_blamed_on_an_operation():
    model = nn.Linear(2, 1)
    x = torch.tensor([[1.0, float("nan")]])

    with pytest.raises(StepNotFinite, match="was not finite already"):
        assert_step_finite(model, lambda: model(x).sum().backward())


def test_gradients_can_be_left_to_the_program():
    model = nn.Linear(2, 1)

    def step():
        model.zero_grad()
        model(torch.ones(1, 2)).mul(0).sqrt().sum().backward()

    assert_step_finite(model, step, gradients=False)


def test_a_returned_loss_counts_where_no_backward_pass_ran():
    with pytest.raises(StepNotFinite):
        assert_step_finite(nn.Linear(2, 1), lambda: {"loss": torch.tensor(float("nan"))})
    assert_step_finite(nn.Linear(2, 1), lambda: {"loss": torch.tensor(1.0), "other": torch.tensor(float("nan"))})


# -- after watching ----------------------------------------------------------------------------


def test_a_watched_loop_answers_to_the_same_claims():
    model, optimizer, loss = regression()
    with watch(model) as watched:
        for _ in range(3):
            optimizer.zero_grad(set_to_none=False)
            loss().backward()
            optimizer.step()

    watched.assert_gradients_flow()
    watched.assert_gradients_fresh()
    watched.assert_step_finite()
    watched.assert_step_sound()


def test_a_watched_loop_without_zero_grad_is_found_out():
    model, optimizer, loss = regression()
    with watch(model) as watched:
        for _ in range(3):
            loss().backward()
            optimizer.step()

    with pytest.raises(GradientsNotFresh) as caught:
        watched.assert_gradients_fresh()
    assert caught.value.finding.causes == ("gradients-not-cleared",)
    with pytest.raises(pytest_trainstep.StepNotSound):
        watched.assert_step_sound()
    watched.assert_step_sound(skip={"gradients-fresh": "momentum for the poor"})


def test_a_watched_loop_that_breaks_is_found_out():
    model, optimizer, loss = regression()
    with watch(model) as watched:
        (loss() * float("nan")).backward()
        optimizer.step()

    with pytest.raises(StepNotFinite):
        watched.assert_step_finite()


def test_a_watched_loop_names_what_no_gradient_reached():
    model, optimizer, loss = regression()
    whole = nn.ModuleDict({"net": model, "extra": nn.Linear(2, 2)})
    with watch(whole) as watched:
        loss().backward()
        optimizer.step()

    with pytest.raises(GradientsNotFlowing) as caught:
        watched.assert_gradients_flow()
    assert set(caught.value.finding.parameters) == {"extra.weight", "extra.bias"}
    watched.assert_gradients_flow(unused=["extra.*"])


# -- arguments and side effects ----------------------------------------------------------------


def test_the_record_survives_json():
    model, optimizer, loss = regression()

    def step():
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    for claim in (assert_gradients_flow, assert_gradients_fresh, assert_step_finite):
        record = claim(model, step)
        assert StepRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize("claim", [assert_gradients_flow, assert_gradients_fresh, assert_step_finite])
def test_bad_arguments_are_refused_in_words(claim):
    model = nn.Linear(2, 1)

    with pytest.raises(TrainStepUsageError, match="step_fn must be callable"):
        claim(model, None)
    with pytest.raises(TrainStepUsageError, match="steps must be a whole number above 0"):
        claim(model, lambda: None, steps=0)
    with pytest.raises(TrainStepUsageError, match="must be a torch"):
        claim("model", lambda: None)


@pytest.mark.parametrize(("claim", "argument"), [(assert_gradients_flow, "unused"), (assert_gradients_fresh, "kept")])
def test_a_pattern_that_fits_nothing_is_refused(claim, argument):
    with pytest.raises(TrainStepUsageError, match="wait"):
        claim(nn.Linear(2, 1), lambda: None, **{argument: ["wait"]})


@pytest.mark.parametrize("claim", [assert_gradients_flow, assert_gradients_fresh, assert_step_finite])
def test_weights_and_random_streams_are_those_of_a_step_nobody_watched(claim):
    def run(around):
        model, optimizer, loss = regression()
        drop = nn.Dropout(0.5)

        def step():
            optimizer.zero_grad()
            (loss() + drop(model[0].weight).sum()).backward()
            optimizer.step()

        around(model, step)
        return [one.detach().clone() for one in model.parameters()], torch.get_rng_state()

    plain = run(lambda _, step: [step() for _ in range(3)])
    watched = run(lambda model, step: claim(model, step, steps=3))

    assert all(map(torch.equal, plain[0], watched[0]))
    assert torch.equal(plain[1], watched[1])
