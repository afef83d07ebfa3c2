"""What the second pass is told as: terminal, Markdown, JSON, page. Without torch."""

import json

import pytest

from pytest_trainstep._planted import KILLED, NOT_APPLICABLE, NOT_REPEATABLE, SURVIVED, Cell, Place, Planted, Plantings
from pytest_trainstep._report import mutation

FAULTS = ("noop-step", "zero-lr", "partial-step", "flipped-gradient", "stale-gradients")
PLACE = Place(at="test_a.py:5", model="net", call="fit(net)")


def planted(name, verdicts, place=PLACE):
    cells = {
        fault: Cell(verdict=verdict, how="assert 1 == 2" if verdict in (KILLED, NOT_REPEATABLE) else "")
        for fault, verdict in zip(FAULTS, verdicts, strict=True)
    }
    return Planted(id=name, at="test_a.py:3", steps=2, place=place, cells=cells)


@pytest.fixture
def found():
    tests = [
        planted("test_a.py::test_blind", [SURVIVED] * 5),
        planted("test_a.py::test_sharp", [KILLED, KILLED, KILLED, SURVIVED, NOT_APPLICABLE]),
        planted("test_a.py::test_flaky[<b>|1]", [NOT_REPEATABLE] * 5),
    ]
    return Plantings(faults=FAULTS, scored=FAULTS[:2], tests=tests, already_failing=2)


def test_the_terminal_shows_survivors_of_scored_faults_and_every_count(found):
    assert mutation.lines(found, verbose=0) == [
        "test_a.py::test_blind",
        "  green with noop-step, zero-lr: optimizer.step() changes no weight; the learning rate is 0 at every step",
        "  fix: at test_a.py:5, add assert_weights_update(net, lambda: fit(net))",
        "",
        'on purpose? mark a test that need not notice: @pytest.mark.trainstep(mutate="off", reason="...")',
        "",
        "fault               killed  survived  not applicable  not repeatable",
        "noop-step                1         1               0               1",
        "zero-lr                  1         1               0               1",
        "(partial-step)           1         1               0               1",
        "(flipped-gradient)       0         2               0               1",
        "(stale-gradients)        0         1               1               1",
        "",
        "not repeatable: test_a.py::test_flaky[<b>|1] (assert 1 == 2)",
        "3 tests trained and noticed 2 of 4 scored faults: 50 %. 2 more tests trained and did not pass without any fault.",
    ]


def test_what_the_marker_leaves_out_is_told_everywhere_with_its_reason(found):
    found.left_out = {"test_b.py::test_file": "it is about the file"}

    assert "left out: 1 test by the marker (-v shows all)" in mutation.lines(found, verbose=0)
    assert "left out: test_b.py::test_file (it is about the file)" in mutation.lines(found, verbose=1)
    assert "Left out: `test_b.py::test_file` (it is about the file)" in "".join(mutation.markdown(found))
    assert "<code>test_b.py::test_file</code>: it is about the file" in mutation.html(found)
    assert mutation.data(found)["left_out"] == {"test_b.py::test_file": "it is about the file"}
    assert Plantings.loads(found.dumps()) == found


def test_a_suite_that_is_left_out_as_a_whole_has_trained(found):
    found.tests, found.left_out = [], {"test_b.py::test_file": "it is about the file"}

    assert mutation.headline(found).startswith("Every test that passed and trained is left out by its marker.")


def test_more_is_told_to_those_who_ask(found):
    text = "\n".join(mutation.lines(found, verbose=1))
    assert "test_a.py::test_sharp\n  green with flipped-gradient: every gradient has the opposite sign" in text
    assert "add assert_loss_falls(net, lambda: fit(net), steps=20, by=0.1)" in text
    assert "add assert_gradients_fresh(net, lambda: fit(net))" in text


def test_those_who_want_silence_hear_a_failure_only(found):
    assert mutation.lines(found, verbose=-2) == []
    found.fail_under = 60
    assert mutation.lines(found, verbose=-2)[-1] == "FAIL: --trainstep-mutate-fail-under=60 is not reached"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place(), "there, put `with watch(model) as watched:` around the training"),
        (Place(at="a.py:1", model="self.net"), "at a.py:1, put `with watch(self.net) as watched:`"),
        (Place(at="c.py:9", fixture="trained", model="m", call="go(m)"), "in fixture trained (c.py:9), add assert_wei"),
    ],
)
def test_the_fix_speaks_in_the_words_of_the_test(found, place, said):
    found.tests = [planted("test_a.py::test_blind", [SURVIVED] * 5, place)]
    assert said in "\n".join(mutation.lines(found, verbose=0))


def test_many_survivors_are_cut_and_counted(found):
    places = [Place(at=f"test_a.py:{number}", model="net", call="fit(net)") for number in range(20)]
    found.tests = [planted(f"test_a.py::test_{number}", [SURVIVED] * 5, places[number]) for number in range(20)]
    assert "... and 8 more tests (-v shows all)" in mutation.lines(found, verbose=0)
    assert "test_a.py::test_19" in mutation.lines(found, verbose=1)


def test_tests_with_one_and_the_same_fix_stand_together(found):
    found.tests = [planted(f"test_a.py::test_{number}", [SURVIVED] * 5) for number in range(3)]
    assert mutation.lines(found, verbose=0)[0] == "test_a.py::test_0 and 2 more tests"
    assert mutation.lines(found, verbose=1)[:3] == ["test_a.py::test_0", "test_a.py::test_1", "test_a.py::test_2"]


def test_a_score_is_never_rounded_up_to_a_hundred(found):
    found.tests = [planted(f"test_{number}", [KILLED] * 5) for number in range(2000)]
    found.tests[0].cells["noop-step"].verdict = SURVIVED
    assert "3999 of 4000 scored faults: 99.9 %." in mutation.lines(found, verbose=0)[-1]


def test_without_a_test_that_trains_there_is_no_score():
    assert Plantings().score is None
    assert Plantings(fail_under=0.0).enough is False
    assert mutation.lines(Plantings(), verbose=0) == ["No test that passed has trained: nothing to plant a fault into."]


def test_markdown_escapes_what_would_break_a_table(found):
    found.notes = ["a | b"]
    text = "".join(mutation.markdown(found))
    assert "| **noop-step** | 1 | 1 | 0 | 1 |" in text
    assert "| `test_a.py::test_blind` | noop-step, zero-lr, partial-step | at test_a.py:5, add assert_weights_" in text
    assert "Note: a \\| b" in text


def test_json_goes_both_ways_and_holds_the_advice(found):
    data = json.loads(json.dumps(mutation.data(found)))
    assert (data["score"], data["scored"], data["already_failing"]) == (50.0, ["noop-step", "zero-lr"], 2)
    assert data["totals"]["noop-step"] == {KILLED: 1, SURVIVED: 1, NOT_APPLICABLE: 0, NOT_REPEATABLE: 1}
    assert data["tests"][0]["advice"][0]["faults"] == ["noop-step", "zero-lr", "partial-step"]
    test = {key: value for key, value in data["tests"][0].items() if key != "advice"}
    assert Planted.from_json(test) == found.tests[0]


def test_the_page_lists_survivors_first_and_escapes(found):
    text = mutation.html(found)
    assert text.index("test_blind") < text.index("test_sharp")
    assert "test_flaky[&lt;b&gt;|1]" in text
    assert '<option value="survived" selected>' in text
    assert text.count('class="verdict survived scored"') == 2
