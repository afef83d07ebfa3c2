"""Rules and texts on records written by hand. Whole messages are compared: this is what users read. No torch."""

import dataclasses
import pickle
import subprocess
import sys
from textwrap import dedent

import pytest

from pytest_trainstep import Finding, StepRecord, WeightsNotUpdated
from pytest_trainstep._diagnose import finding as findings
from pytest_trainstep._diagnose import patterns
from pytest_trainstep._diagnose.because import Because, number, plural
from pytest_trainstep._diagnose.catalogue import catalogue
from pytest_trainstep._diagnose.rules import RULES, UNEXPLAINED, explain, name_of
from pytest_trainstep._record import (
    BackwardEvent,
    Evidence,
    Occasion,
    OptimizerRecord,
    ParameterRecord,
    Underflow,
)

ADAM = OptimizerRecord(name="Adam", built_at="train.py:31", stepped_at="train.py:40", steps=1, holds=4, watched=4)
HEAD = "head.weight"


def occasion(gradient="fresh", **facts):
    known = {"step": 1, "call": 1, "optimizer": 0, "grad_max": None, "lr": 0.01, "moved": False}
    return Occasion(gradient=gradient, **{**known, **facts})


def parameter(name=HEAD, *, evidence=None, **facts):
    known = {"shape": (2, 8), "numel": 16, "held_by": (0,), "lr": 0.01}
    return ParameterRecord(name=name, evidence=Evidence(**(evidence or {})), **{**known, **facts})


def record(*parameters, optimizers=(ADAM,), **facts):
    rows = {one.name: one for one in parameters}
    known = {"step_count": sum(one.steps for one in optimizers), "backward_count": 1}
    return StepRecord(parameters=rows, optimizers=tuple(optimizers), **{**known, **facts})


def message(*parameters, claim="1 of 1 trainable parameters did not change in 1 step", msg=None, **facts):
    made = findings.finding_for(claim, parameters, record(*parameters, **facts), argument="frozen", msg=msg)
    return str(made)


def cause(one, *others, **facts):
    return explain(one, record(one, *others, **facts))[0]


def test_this_room_needs_no_torch():
    code = "import pytest_trainstep._diagnose.rules, pytest_trainstep._diagnose.finding, sys; print('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "False\n"


# Whole messages.


def test_the_message_of_a_stale_optimizer():
    stale = OptimizerRecord(name="Adam", built_at="train.py:31", stepped_at="train.py:40", steps=1, holds=2, orphans=2)
    rows = [
        parameter("head.weight", held_by=(), lr=None, grad_max=0.31, reached=1),
        parameter("head.bias", shape=(2,), numel=2, held_by=(), lr=None, grad_max=0.88, reached=1),
    ]

    text = message(*rows, optimizers=[stale], claim="2 of 4 trainable parameters did not change in 1 step", reran=True)

    assert text == dedent("""\
        stale-optimizer: 2 of 4 trainable parameters did not change in 1 step

          parameter    shape  change  |grad|  lr  in optimizer
          head.weight  (2,8)  0       0.31    -   no
          head.bias    (2,)   0       0.88    -   no

        because: Adam (built at train.py:31) holds 2 tensors that the model no longer has, and none of these.
        fix: build the optimizer after the layer is replaced (or the model converted).
        on purpose? pass frozen=["*"]
        note: the step was run once more to look closer, and everything was put back""")


def test_the_message_of_an_underflow_names_the_lr_that_would_do():
    underflow = Underflow(lr=1e-4, smallest_lr=5e-3, wanted=9.9e-5, spacing=7.8e-3, swallowed=0.9975)
    row = parameter(
        "norm.weight", dtype="bfloat16", occasions=(occasion(),), grad_max=0.5, evidence={"underflow": underflow}
    )

    assert message(row, parameter("other")).splitlines()[4:7] == [
        "  other        (2,8)  0       -       0.01  Adam",
        "",
        (
            "because: update-underflow: at lr 1.0e-04 the update (median 9.9e-05) is smaller than bfloat16 can add to these"
            " weights (spacing 7.8e-03): a float64 replay of the step shows rounding keeps 99.8 % of their elements in place."
        ),
    ]
    assert "fix: keep these weights in float32, or use a learning rate of at least 5.0e-03." in message(row)


def test_several_causes_have_a_pair_of_lines_each_most_parameters_first():
    rows = [
        parameter("a", occasions=(occasion("zero", grad_max=0.0),), grad_max=0.0, reached=1),
        parameter("b", held_by=()),
        parameter("c", held_by=()),
    ]

    text = message(*rows, claim="3 of 3 trainable parameters did not change in 1 step", msg="mine")

    assert text == dedent("""\
        not-in-optimizer, zero-gradient: 3 of 3 trainable parameters did not change in 1 step

          parameter  shape  change  |grad|  lr    in optimizer
          b          (2,8)  0       -       0.01  no
          c          (2,8)  0       -       0.01  no
          a          (2,8)  0       0       0.01  Adam

        because: not-in-optimizer: Adam (built at train.py:31) stepped at train.py:40 with 4 of the watched parameters and none of these; no other optimizer holds them.
        fix: pass them to the optimizer: build it over model.parameters(), or add_param_group for what was added later.
        because: zero-gradient: a gradient arrived in each step and every element of it was exactly 0.
        fix: check for saturated or dead units, zero initialisation, masks, and a loss that is constant in them.
        on purpose? pass frozen=["*"]
        mine""")


def many(causes):
    """Twelve parameters that fail for so many causes, and everything that can be said about them."""
    facts = [
        {"held_by": ()},
        {"occasions": (occasion("zero"),)},
        {"occasions": (occasion("non-finite"),)},
        {"occasions": (occasion("cleared"),)},
        {"restored": True},
    ][:causes]
    return [parameter(f"layer.{i}.weight", moved=False, sampled=True, **facts[i % causes]) for i in range(12)]


@pytest.mark.parametrize(("causes", "lines"), [(1, 14), (2, 16), (3, 18), (4, 19), (5, 19)])
def test_a_message_is_short(causes, lines):
    text = message(*many(causes), reran=True, rerun_note="no", notes=("one", "two", "three"))

    assert len(text.splitlines()) == lines
    assert "  ... and 7 more" in text
    assert "  ... and 6 more" in message(*(dataclasses.replace(one, sampled=False) for one in many(causes)))


def test_a_message_is_ascii_and_long_names_keep_their_ends():
    text = message(parameter("größe." + "x" * 100 + ".weight"))

    assert text.isascii()
    assert max(len(line) for line in text.splitlines() if line.startswith("  ")) < 120
    assert "x.weight  " in text


@pytest.mark.parametrize("name", [name for name in catalogue() if name != UNEXPLAINED])
def test_the_catalogue_is_ascii_and_complete(name):
    entry = catalogue()[name]

    assert str(entry).isascii()
    assert all((entry.fault, entry.example, entry.fix, entry.on_purpose, entry.claims))


# Rules.

CASES = [
    ("not-registered", parameter(registered=False, evidence={"hidden_in": "list"}), {}),
    ("requires-grad-false", parameter(trainable=False), {}),
    ("requires-grad-false", parameter(occasions=(occasion("frozen"),)), {}),
    ("weights-restored", parameter(restored=True), {}),
    ("step-skipped", parameter(occasions=(occasion("non-finite", skipped=True),)), {}),
    ("non-finite", parameter(occasions=(occasion("non-finite"), occasion("fresh"))), {}),
    ("non-finite", parameter(finite=False), {}),
    ("decay-only", parameter(moved=True, weight_decay=0.1, occasions=(occasion("zero", moved=True),)), {}),
    ("momentum-only", parameter(moved=True, occasions=(occasion("zero", moved=True),)), {}),
    ("other-model-trained", parameter(evidence={"copy_of": "Net"}), {}),
    ("optimizer-not-observed", parameter(), {"optimizers": [OptimizerRecord(name="X", observed=False)]}),
    (
        "accumulating",
        parameter(reached=2, evidence={"accumulating": "earlier"}),
        {"optimizers": [OptimizerRecord(name="X")]},
    ),
    ("stale-optimizer", parameter(held_by=()), {"optimizers": [OptimizerRecord(name="X", steps=1, orphans=2)]}),
    ("not-in-optimizer", parameter(held_by=()), {}),
    ("closure-without-backward", parameter(occasions=(occasion("none", closure=True),)), {"backward_count": 0}),
    ("step-before-backward", parameter(reached=1, occasions=(occasion("none"),)), {}),
    ("gradients-cleared", parameter(reached=1, occasions=(occasion("cleared", backward_before=True),)), {}),
    ("gradients-cleared", parameter(reached=1, occasions=(occasion("zeroed"),)), {}),
    ("update-not-written", parameter(held_by=(), evidence={"computed_at": "a.py:1"}), {"optimizers": []}),
    ("no-step", parameter(held_by=()), {"optimizers": []}),
    ("no-step", parameter(), {"optimizers": [OptimizerRecord(name="X")]}),
    ("detached", parameter(occasions=(occasion("none"),), evidence={"cut_by": "detach"}), {}),
    ("detached", parameter(occasions=(occasion("none"),)), {}),
    ("no-backward", parameter(occasions=(occasion("none"),)), {"backward_count": 0}),
    ("no-backward", parameter(occasions=(occasion("none"),), evidence={"lost_loss_at": "a.py:1"}), {}),
    ("unused", parameter(occasions=(occasion("none"),), evidence={"in_loss": False, "ran": False}), {}),
    ("zero-gradient", parameter(reached=1, occasions=(occasion("zero"),)), {}),
    ("lr-zero", parameter(reached=1, occasions=(occasion(lr=0.0),)), {}),
    ("closure-not-passed", parameter(reached=1, occasions=(occasion(),), evidence={"closure_helps": True}), {}),
    ("update-not-written", parameter(reached=1, occasions=(occasion(),)), {}),
    ("update-too-small", parameter(moved=True, reached=1), {}),
    ("unexplained", parameter(reached=1), {}),
]


@pytest.mark.parametrize(("expected", "row", "facts"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_a_rule_answers_for_its_cause(expected, row, facts):
    assert cause(row, **facts) == expected


def test_a_fault_stands_before_the_faults_it_hides():
    row = parameter(trainable=False, held_by=(), occasions=(occasion("none", lr=0.0),))

    assert cause(row) == "requires-grad-false"
    assert cause(parameter(reached=1, occasions=(occasion("zero", lr=0.0),))) == "zero-gradient"


def test_half_of_the_steps_decide():
    none, fresh = occasion("cleared", backward_before=True), occasion(lr=0.0)

    assert cause(parameter(reached=1, occasions=(none, fresh))) == "gradients-cleared"
    assert cause(parameter(reached=1, occasions=(none, fresh, fresh))) == "lr-zero"


def test_an_answer_that_is_not_certain_says_probably():
    _, because = explain(parameter(occasions=(occasion("none"),)), record(parameter()))

    assert "probably" in because.text
    _, rebuilt = explain(
        parameter(occasions=(occasion("none"),)),
        record(parameter(), backwards=(BackwardEvent(number=1, call=1, at=None, roots=("leaf",), detached_root=True),)),
    )
    assert "new leaf tensor" in rebuilt.text


def test_what_is_unexplained_prints_the_facts():
    name, because = explain(parameter(reached=2, gradient="fresh"), record(parameter()))

    assert name == UNEXPLAINED
    assert because.text == (
        "none of the known causes fits. Facts: 1 optimizer steps, 1 backward passes, 2 reached it, gradient at the"
        " steps: fresh, lr: 0.01, held by 1 optimizers."
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_rule_is_in_the_catalogue_and_says_what_it_is_for(rule):
    assert name_of(rule) in catalogue()
    assert rule.__doc__


# The finding as a value.


def test_a_finding_is_a_value_that_travels():
    rows = many(3)
    made = findings.finding_for("claim", rows, record(*rows), argument="only", msg=None)

    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own bytes
    assert isinstance(made, Finding)
    assert made.causes == ("not-in-optimizer", "zero-gradient", "non-finite")
    assert set(made.parameters) == {one.name for one in rows}
    error = WeightsNotUpdated(made)
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == str(made)  # noqa: S301
    assert error.finding is made


def test_overriding_reasons_win():
    row = parameter()
    made = findings.finding_for(
        "claim", [row], record(row), argument="only", msg=None, overriding={HEAD: ("x", Because("b.", "f."))}
    )

    assert made.causes == ("x",)
    assert "because: b.\nfix: f.\n" in str(made)


# Patterns and numbers.


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        (["head.weight"], '["head.weight"]'),
        (["head.weight", "head.bias"], '["head.*"]'),
        (["body.0.weight", "body.1.weight", "body.0.bias", "body.1.bias"], '["body.*"]'),
        (["body.0.weight", "head.bias"], '["body.0.weight", "head.bias"]'),
        (["body.0.weight", "body.1.weight", "body.0.bias", "body.1.bias", "head.weight", "head.bias"], '["*"]'),
    ],
    ids=lambda value: str(len(value)) if isinstance(value, list) else value[:20],
)
def test_patterns_to_paste_are_short_and_fit_nothing_else(wanted, written):
    names = ["body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias", "head.weight", "head.bias"]

    assert patterns.compress(wanted, {name: parameter(name) for name in names}) == written


def test_many_patterns_are_cut():
    names = [f"{letter}.x" for letter in "abcdefgh"] + [f"{letter}.y" for letter in "abcdefgh"]
    written = patterns.compress(names[:8], {name: parameter(name) for name in names})

    assert written == '["a.x", "b.x", "c.x", "d.x", ...]'


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01, "0.01"), (0.1234, "0.12"), (12.3, "12"), (1e-5, "1.0e-05"), (123456, "1.2e+05")],
    ids=str,
)
def test_numbers_have_two_digits(value, text):
    assert number(value) == text


def test_plurals():
    assert [plural(n, "backward pass") for n in (0, 1, 2)] == [
        "0 backward passes",
        "1 backward pass",
        "2 backward passes",
    ]
