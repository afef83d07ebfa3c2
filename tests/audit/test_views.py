"""The words and views of the audit, on subjects written by hand. No torch."""

import json
from pathlib import Path

import pytest

from pytest_trainstep._audit.spool import Spool
from pytest_trainstep._diagnose import audit, standstill
from pytest_trainstep._diagnose.catalogue import catalogue
from pytest_trainstep._heard import Curve, Group, Heard, Subject
from pytest_trainstep._report import summarise, svg, text, write

DOCS = Path(__file__).parents[2] / "docs"


def judged(group=None, **heard):
    """The causes found for one optimizer with one group."""
    groups = [] if group is None else [Group(**{"tensors": 2, "elements": 6, "lr": (0.1, 0.1), **group})]
    facts = {"steps": 3, "backward_before": 1, **heard}
    subject = Subject(id="t", optimizers=[Heard(name="SGD", groups=groups, **facts)])
    return [cause for verdict in audit.verdicts(subject) for cause in verdict.finding.causes]


RULES = [
    ("step-skipped", {}, {"steps": 0, "skipped": 2}),
    ("requires-grad-false", {"frozen": 2, "stands": {"frozen": 2}}, {}),
    ("closure-without-backward", {"stands": {"none": 2}}, {"closure": True}),
    ("non-finite", {"stands": {"non-finite": 2}}, {}),
    ("step-before-backward", {"stands": {"none": 2}}, {"backward_before": 0, "backward_after": 1}),
    ("no-backward", {"stands": {"none": 2}}, {"backward_before": 0}),
    ("stale-optimizer", {"stands": {"none": 2}, "orphans": 2}, {"orphans": 2}),
    ("gradients-cleared", {"stands": {"cleared": 2}}, {}),
    ("gradients-cleared", {"stands": {"hooked": 2}}, {}),
    ("gradients-cleared", {"stands": {"cleared": 2, "none": 1}}, {"closure": True}),
    ("other-model-trained", {"stands": {"none": 2}, "twin": "Linear"}, {}),
    ("detached", {"stands": {"none": 2}}, {}),
    ("zero-gradient", {"stands": {"zero": 2}}, {}),
    ("zero-gradient", {"stands": {"scaled-to-zero": 1, "cleared": 3}}, {}),
    ("lr-zero", {"stands": {"usable": 2}, "lr": (0.0, 0.0), "lr_zero": 3}, {}),
    ("update-underflow", {"stands": {"usable": 2}, "wrote": "underflow"}, {}),
    ("closure-not-passed", {"stands": {"usable": 2}, "wrote": "writes-nothing", "closure_helps": True}, {}),
    ("update-not-written", {"stands": {"usable": 2}, "wrote": "writes-nothing"}, {}),
    ("unexplained", {}, {}),
]


@pytest.mark.parametrize(
    ("cause", "group", "heard"),
    RULES,
    ids=[f"{cause}-{'-'.join(group.get('stands', ()))}" for cause, group, _ in RULES],
)
def test_a_stuck_optimizer_is_explained(cause, group, heard):
    assert judged(group, **heard) == [cause]


@pytest.mark.parametrize(
    ("cause", "heard"),
    [
        ("stale-optimizer", {"orphans": 1}),
        ("gradient-reused", {"reused": 2}),
        ("gradients-not-cleared", {"leftover": 1}),
        ("non-finite", {"non_finite": True}),
        ("no-step", {"steps": 0, "reached": True}),
    ],
)
def test_what_else_is_found_never_fails(cause, heard):
    assert judged({"updated": True}, **heard) == [cause]


def test_every_cause_stands_in_the_catalogue():
    names = {name for name, _ in standstill.RULES} | set(audit._ALSO) | {"unexplained"}

    assert names <= set(catalogue())


def test_a_group_that_moved_excuses_no_other_group():
    groups = [Group(tensors=1, updated=True), Group(tensors=1, stands={"none": 1}), Group(tensors=1, frozen=1)]
    subject = Subject(id="t", optimizers=[Heard(name="SGD", steps=2, backward_before=1, groups=groups)])

    (verdict,) = audit.verdicts(subject)

    assert not verdict.fails
    assert verdict.finding.claim == "SGD updated nothing in 1 of 3 groups in 2 steps of this test"
    assert dict(verdict.finding.parameters) == {"group 1": "detached"}


def test_what_could_not_be_looked_at_is_no_finding():
    assert judged({"updated": None}) == []
    assert judged({"tensors": 0, "elements": 0}) == []


def test_a_finding_reads_like_every_other(subjects):
    stuck = next(one for one in subjects if one.id == "test_a.py::test_stuck")

    assert str(audit.verdicts(stuck)[0].finding) == (
        "lr-zero: SGD (built at test_a.py:5) updated nothing in 2 steps of this test\n"
        "\n"
        "  group  tensors  lr  |grad|  gradients\n"
        "  0      2        0   0.5     4 usable\n"
        "\n"
        "because: the learning rate of the group was 0 at test_a.py:8 in 2 of 2 steps.\n"
        "fix: give the group a learning rate above 0, or, if a scheduler begins at 0, run more steps.\n"
        'on purpose? mark the test: @pytest.mark.trainstep(audit="off", reason="...")'
    )


def test_subjects_survive_their_journey(subjects):
    for subject in subjects:
        assert repr(Subject.loads(subject.dumps())) == repr(subject)
        assert repr(Subject.from_json(json.loads(json.dumps(subject.to_json())))) == repr(subject)


def test_the_spool_keeps_the_last_attempt_and_the_worst_fixture(subjects):
    good, bad = (next(one for one in subjects if word in one.id) for word in ("healthy[2]", "stuck"))
    spool = Spool()
    for kind in ("test", "fixture"):
        for number, subject in enumerate((bad, good)):
            subject.attempts, subject.kind = number + 1, kind
            spool.add(kind, kind, subject.dumps())

    kept = {subject.kind: subject.attempts for subject in spool}
    spool.close()

    assert kept == {"test": 2, "fixture": 1}


def test_the_section_has_the_worst_first_and_the_totals_last(session, subjects):
    assert text.lines(session, summarise(subjects), verbose=0) == [
        "test_a.py::test_stuck",
        "  test_a.py:8: lr-zero: SGD (built at test_a.py:5) updated nothing in 2 steps of this test",
        "  because: the learning rate of the group was 0 at test_a.py:8 in 2 of 2 steps.",
        "  fix: give the group a learning rate above 0, or, if a scheduler begins at 0, run more steps.",
        "",
        "test_c.py::test_odd[<script>alert(1)</script>-|]",
        "  test_a.py:8: gradients-not-cleared: SGD (built at test_a.py:5): gradients of an earlier step were still there",
        "  because: in 2 of 2 steps at test_a.py:8 the new gradient was added to one that an earlier step had used.",
        "  fix: call optimizer.zero_grad() once before each backward pass (or accumulation window).",
        "",
        "the excuse of test_b.py::test_once_excused no longer applies: nothing was found in it",
        "14 tests trained: 75 optimizer steps, 6 without any update. 2 findings in 2: 1 lr-zero, 1 gradients-not-cleared.",
    ]


@pytest.mark.parametrize("verbose", [-2, 0])
def test_a_section_with_nothing_to_say_stays_away(session, verbose):
    assert text.lines(session, summarise([]), verbose=verbose) == []


def test_a_long_list_is_cut(session, subjects):
    stuck = next(one for one in subjects if one.id == "test_a.py::test_stuck")
    many = [Subject(**{**vars_of(stuck), "id": f"test_a.py::test_{number:03}"}) for number in range(300)]

    lines = text.lines(session, summarise(many), verbose=0)

    assert lines[0] == "test_a.py::test_000"
    assert "... and 288 more findings (-v shows more, --trainstep-report=audit.html all)" in lines


def vars_of(subject):
    return {name: getattr(subject, name) for name in Subject.__dataclass_fields__}


FIELDS = {
    "schema", "version", "made_by", "started", "duration", "mode", "exit_status", "complete", "collected", "ran",
    "lost", "not_observed", "notes", "totals", "unneeded_excuses", "tests", "planted", "recordings",
}  # fmt: skip


def test_the_json_has_the_documented_form(session, subjects, tmp_path):
    write(tmp_path / "a.json", session, subjects)

    report = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)

    assert set(report) == FIELDS
    assert (report["schema"], report["version"]) == ("pytest-trainstep/audit", 1)
    assert [test["id"] for test in report["tests"]] == [subject.id for subject in subjects]
    documented = (DOCS / "audit.md").read_text()
    words = {*report, *report["totals"], *report["tests"][0]}
    for test in report["tests"]:
        for optimizer in test["optimizers"]:
            words |= {*optimizer, *(key for part in ("groups", "curves") for one in optimizer[part] for key in one)}
        words |= {key for finding in test["findings"] for key in finding}
    assert sorted(word for word in words if f"`{word}`" not in documented) == []


def test_the_markdown_is_a_table_that_no_name_breaks(session, subjects, tmp_path):
    write(tmp_path / "a.md", session, subjects)

    lines = (tmp_path / "a.md").read_text().splitlines()

    rows = [line for line in lines if line.startswith("| `")]
    assert [row.count("|") - row.count("\\|") for row in rows] == [7, 7]
    assert rows[0].startswith("| `test_a.py::test_stuck` | **lr-zero** | test_a.py:8 |")
    assert "<script>" not in "".join(lines)


def test_a_report_that_cannot_be_finished_leaves_the_old_one(session, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    with pytest.raises(AttributeError):
        write(path, session, [None])

    assert path.read_text() == "old"


def test_pictures_of_nothing_are_none():
    assert svg.ratios(Heard(name="SGD")) == ""
    assert svg.gradients(Heard(name="SGD")) == ""
    assert svg.losses([(1, 1.0)]) == ""


def test_a_picture_tells_stuck_from_moving():
    points = [(1, None, 0.0), (2, 1e-3, 0.5)]
    heard = Heard(name="SGD", curves=[Curve(name="a<b", shape=(), points=points)])

    picture = svg.ratios(heard)

    assert picture.count('class="stuck"') == 1
    assert picture.count("<circle") == 1
    assert "a&lt;b 1" in picture
