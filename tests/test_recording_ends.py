"""What a session says of its recordings at the end: stale ones, alone and under xdist, and partings in reports."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import torch._dynamo  # noqa: F401 - before any inner run: pytester forgets what an inner run imported first

from pytest_trainstep._recording import files, stale

TRAINING = """
    import os
    import pytest
    import torch

    def training(changes=False):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        count = [0]
        def step():
            count[0] += 1
            optimizer.zero_grad()
            loss = (model(torch.ones(4, 3)) - 1).square().mean()
            loss.backward()
            optimizer.step()
            if changes and count[0] == 3 and os.environ.get("CHANGED"):
                model.weight.data.mul_(1.1)
            return loss.item()
        return model, step
"""
ONE = """
    def test_one(trainstep_recording):
        trainstep_recording.check(*training(), steps=2)
"""
TWO = ONE.replace("test_one", "test_two")
PARTING = """
    @pytest.mark.parametrize("name", ["<a>", "b"])
    def test_parting(trainstep_recording, name):
        trainstep_recording.check(*training(changes=True), steps=4)
"""


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")  # it imports itself anew in each inner run


def suite(pytester, *tests, name="test_it"):
    return pytester.makepyfile(**{name: TRAINING + "".join(tests)})


@pytest.fixture
def outdated(pytester):
    """A suite one of whose two recordings belongs to no test any more."""
    suite(pytester, ONE, TWO)
    pytester.runpytest().assert_outcomes(passed=2)
    suite(pytester, ONE)
    return pytester


STALE = "trainstep: stale recording __trainstep__*test_two.json (no test asks for it; delete it)"


@pytest.mark.parametrize("arguments", [(), ("--trainstep-record=none",), ("--trainstep-record=all",), ("--ff",)])
def test_a_complete_run_names_a_stale_recording(outdated, arguments):
    outdated.runpytest(*arguments).stdout.fnmatch_lines([STALE])


def test_a_pattern_that_fits_everything_is_a_complete_run(outdated):
    outdated.runpytest("-k", "test").stdout.fnmatch_lines([STALE])


@pytest.mark.parametrize(
    "arguments",
    [
        ("test_it.py",),
        ("test_it.py::test_one",),
        ("-k", "one"),
        ("--deselect", "test_it.py::test_one"),
        ("--co",),
        ("--lf",),
    ],
    ids=["file", "id", "pattern", "deselected", "collected", "last-failed"],
)
def test_a_part_of_the_suite_calls_nothing_stale(outdated, arguments):
    suite(outdated, ONE, "\n    def test_other(): pass\n")
    outdated.runpytest(*arguments).stdout.no_fnmatch_line("*stale recording*")


def test_a_test_that_did_not_pass_excuses_the_recordings_of_its_file(outdated):
    suite(outdated, ONE, "\n    def test_other(): pytest.skip('not here')\n")
    outdated.runpytest().stdout.no_fnmatch_line("*stale recording*")
    suite(outdated, ONE, "\n    def test_other(): assert False\n")
    outdated.runpytest().stdout.no_fnmatch_line("*stale recording*")


def test_workers_tell_what_they_wrote_and_what_is_stale(outdated):
    pytest.importorskip("xdist")
    suite(outdated, ONE, ONE.replace("test_one", "test_new"))
    result = outdated.runpytest_subprocess("-n2")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["trainstep: recorded __trainstep__*test_new.json", STALE])


def test_workers_that_ran_a_part_call_nothing_stale(outdated):
    pytest.importorskip("xdist")
    suite(outdated, ONE, "\n    def test_other(): pass\n")
    outdated.runpytest_subprocess("-n2", "-k", "one").stdout.no_fnmatch_line("*stale recording*")


def made(folder, stem, test, device="cpu"):
    path = files.path_for(folder / f"{stem}.py", test, "")
    files.write(path, {"steps": [], "weights": {}, "device": device})
    return path


def test_recordings_of_a_test_file_that_is_gone_are_stale(tmp_path):
    (tmp_path / "test_here.py").touch()
    kept, gone = made(tmp_path, "test_here", "test_a"), made(tmp_path, "test_gone", "test_a")
    assert stale.among([str(tmp_path / "test_here.py")], {str(kept)}, {"cpu"}) == [gone]


def test_recordings_of_a_test_file_that_was_not_run_are_not_stale(tmp_path):
    for name in ("test_here.py", "test_ignored.py"):
        (tmp_path / name).touch()
    made(tmp_path, "test_ignored", "test_a")
    assert not stale.among([str(tmp_path / "test_here.py")], set(), {"cpu"})


def test_recordings_of_another_device_and_foreign_files_are_not_stale(tmp_path):
    (tmp_path / "test_here.py").touch()
    made(tmp_path, "test_here", "test_cuda", device="cuda")
    made(tmp_path, "test_here", "test_a").with_name("notes.json").write_text("{}")
    found = stale.among([str(tmp_path / "test_here.py")], set(), {"cpu"})
    assert [path.name for path in found] == ["test_a.json"]


@pytest.fixture
def parting(pytester, monkeypatch):
    suite(pytester, PARTING)
    pytester.runpytest().assert_outcomes(passed=2)
    monkeypatch.setenv("CHANGED", "1")
    return pytester


@pytest.mark.parametrize("arguments", [(), ("-n2",)], ids=["alone", "workers"])
def test_a_parting_is_shown_in_every_kind_of_report(parting, arguments):
    if arguments:
        pytest.importorskip("xdist")
    kinds = ("html", "json", "md")
    run = parting.runpytest_subprocess if arguments else parting.runpytest
    run(*arguments, *(f"--trainstep-report=x.{kind}" for kind in kinds)).assert_outcomes(failed=2)
    page, data, markdown = ((parting.path / f"x.{kind}").read_text() for kind in kinds)
    first, _second = json.loads(data)["recordings"]
    assert (first["step"], first["quantity"], first["cause"]) == (3, "update", "update-changed")
    assert first["curves"]["update"]["recorded"][:2] == first["curves"]["update"]["now"][:2]
    assert page.count('<polyline class="recorded"') == page.count('<polyline class="now"') == 10
    assert page.count("(here they part)") == 4  # the caption and the label of one picture in each
    assert "2 trainings parted from what was recorded." in markdown
    assert "| update-changed | 3 |" in markdown


def test_no_parting_no_section(pytester):
    suite(pytester, ONE)
    pytester.runpytest("--trainstep-report=x.html", "--trainstep-report=x.json").assert_outcomes(passed=1)
    assert json.loads((pytester.path / "x.json").read_text())["recordings"] == []
    assert 'id="recordings"' not in (pytester.path / "x.html").read_text()


def test_a_parting_that_the_test_expects_is_no_finding(parting):
    suite(
        parting,
        PARTING.replace("trainstep_recording.check", "with pytest.raises(AssertionError): trainstep_recording.check"),
    )
    parting.runpytest("--trainstep-report=x.json").assert_outcomes(passed=2)
    assert json.loads((parting.path / "x.json").read_text())["recordings"] == []


def test_what_cannot_be_written_is_a_clear_error_for_root_too(pytester):
    suite(pytester, ONE)
    (pytester.path / "__trainstep__").write_text("a file in the way")
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*TrainStepUsageError: the recording *test_one.json cannot be read: Not a directory"])


@pytest.mark.parametrize("broken", ["mkdir", "replace"])
def test_a_refused_write_leaves_nothing_behind(tmp_path, monkeypatch, broken):
    path = files.path_for(tmp_path / "test_it.py", "test_a", "")

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, broken, refuse)
    with pytest.raises(files.TrainStepUsageError, match=r"test_a.json cannot be written: Permission denied"):
        files.write(path, {"steps": []})
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]
