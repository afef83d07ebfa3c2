"""Recorded runs: made, compared, rewritten, reported; and how small a change they see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch._dynamo  # before any inner run: pytester forgets what an inner run imported first
from torch import nn

from pytest_trainstep import RecordingMismatch, TrainStepUsageError
from pytest_trainstep._recording import comparing, files
from pytest_trainstep._recording.fixture import Recording

TRAINING = """
    import pytest
    import torch

    def training(lr=0.1):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        x = torch.randn(8, 3)
        def step():
            optimizer.zero_grad()
            loss = (model(x + 0.1 * torch.randn(8, 3)) - x.sum(1, keepdim=True)).square().mean()
            loss.backward()
            optimizer.step()
            return loss.item()
        return model, step
"""
TEST = """
    def test_training(trainstep_recording):
        trainstep_recording.check(*training(), steps=3)
"""


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")  # it imports itself anew in each inner run


def suite(pytester, test=TEST, name="test_it"):
    return pytester.makepyfile(**{name: TRAINING + test})


def recordings(pytester):
    return sorted(pytester.path.glob("__trainstep__/*/*.json"))


def test_a_new_recording_is_made_and_compared_with(pytester):
    suite(pytester)
    first = pytester.runpytest()
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(["trainstep: recorded __trainstep__*test_training.json"])
    content = recordings(pytester)[0].read_text()
    pytester.runpytest("--trainstep-record=none").assert_outcomes(passed=1)
    assert recordings(pytester)[0].read_text() == content


def test_a_recording_is_sorted_and_small(pytester):
    suite(pytester)
    pytester.runpytest()
    data = json.loads(recordings(pytester)[0].read_text())
    assert list(data) == sorted(data)
    assert len(data["steps"]) == 3
    assert set(data["steps"][0]) == {"loss", "gradient", "update", "size", "lr", "options"}
    assert set(data["steps"][1]) == {"loss", "gradient", "update", "size", "lr"}  # the same options as before
    assert data["device"] == "cpu"


def test_a_change_fails_with_step_quantity_and_curves(pytester):
    suite(pytester)
    pytester.runpytest()
    suite(pytester, TEST.replace("training()", "training(lr=0.101)"))
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*RecordingMismatch: lr-changed: training parts from its recording at step 1, in the learning rate: *0.101* now, *0.1* recorded*"
        ]
    )
    result.stdout.fnmatch_lines(["*curve*recorded*now*", "*on purpose? run once with --trainstep-record=all*"])


def test_all_records_anew(pytester):
    suite(pytester)
    pytester.runpytest()
    suite(pytester, TEST.replace("training()", "training(lr=0.2)"))
    pytester.runpytest("--trainstep-record=all").assert_outcomes(passed=1)
    pytester.runpytest().assert_outcomes(passed=1)


def test_none_makes_nothing_and_says_so(pytester):
    suite(pytester)
    result = pytester.runpytest("--trainstep-record=none")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*recording-missing: there is no recording*", "*commit the file*"])
    assert not recordings(pytester)


def test_ci_makes_nothing_by_default(pytester, monkeypatch):
    monkeypatch.setenv("CI", "true")
    suite(pytester)
    pytester.runpytest().assert_outcomes(failed=1)
    assert not recordings(pytester)


def test_the_ini_key_sets_the_mode(pytester):
    suite(pytester)
    pytester.makeini("[pytest]\ntrainstep_record = none")
    pytester.runpytest().assert_outcomes(failed=1)


def test_an_unknown_mode_lists_the_valid_ones(pytester):
    suite(pytester)
    result = pytester.runpytest("--trainstep-record=some")
    result.stderr.fnmatch_lines(["*unknown mode 'some'; valid are none, new, all*"])


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"steps": []}', "\x00", '{"trainstep-recording": 1, "steps": 5, "weights": {}}'],
    ids=["cut", "list", "foreign", "binary", "half"],
)
@pytest.mark.parametrize("mode", ["new", "all"])
def test_a_foreign_file_is_never_overwritten(pytester, content, mode):
    suite(pytester)
    pytester.runpytest()
    path = recordings(pytester)[0]
    path.write_text(content)
    result = pytester.runpytest(f"--trainstep-record={mode}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*TrainStepUsageError*is not a recording*"])
    assert path.read_text() == content


def test_odd_parameters_and_classes_have_files_of_their_own(pytester):
    suite(
        pytester,
        """
    class TestThings:
        @pytest.mark.parametrize("name", ["a/b", "a b", "..", "\\u00e9", "x" * 300])
        def test_training(self, trainstep_recording, name):
            trainstep_recording.check(*training(), steps=1)
""",
    )
    pytester.runpytest().assert_outcomes(passed=5)
    assert len(recordings(pytester)) == 5
    pytester.runpytest("--trainstep-record=none").assert_outcomes(passed=5)


def test_two_recordings_of_one_test_are_told_apart(pytester):
    suite(
        pytester,
        """
    def test_training(trainstep_recording):
        trainstep_recording.check(*training(), steps=1)
        trainstep_recording.check(*training(0.2), steps=1)
        trainstep_recording.check(*training(0.3), steps=1, name="fast")
""",
    )
    pytester.runpytest().assert_outcomes(passed=1)
    assert {path.stem for path in recordings(pytester)} == {"test_training", "test_training-2", "test_training-fast"}


def test_a_renamed_test_leaves_a_stale_recording(pytester):
    suite(pytester, TEST + TEST.replace("test_training", "test_other"))
    pytester.runpytest()
    suite(pytester)
    result = pytester.runpytest()
    result.stdout.fnmatch_lines(["trainstep: stale recording __trainstep__*test_other.json*"])


def test_a_part_of_the_suite_calls_nothing_stale(pytester):
    suite(pytester, TEST + TEST.replace("test_training", "test_other"))
    pytester.runpytest()
    result = pytester.runpytest("-k", "test_other")
    result.stdout.no_fnmatch_line("*stale recording*")


def test_workers_write_side_by_side(pytester):
    pytest.importorskip("xdist")
    suite(
        pytester,
        """
    @pytest.mark.parametrize("number", range(6))
    def test_training(trainstep_recording, number):
        trainstep_recording.check(*training(0.1 * (number + 1)), steps=2)
""",
    )
    pytester.runpytest_subprocess("-n2").assert_outcomes(passed=6)
    assert len(recordings(pytester)) == 6
    assert not list(pytester.path.glob("__trainstep__/*/.*.tmp"))
    pytester.runpytest("--trainstep-record=none").assert_outcomes(passed=6)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "__trainstep__").write_text("a file in the way")
    with pytest.raises(TrainStepUsageError, match="cannot be"):
        files.write(files.path_for(tmp_path / "test_it.py", "test_a", ""), {"steps": []})


def test_the_streams_of_the_user_are_untouched(tmp_path):
    made = training(0)
    before = torch.get_rng_state()
    check(tmp_path, made)
    assert torch.equal(torch.get_rng_state(), before)


class Session:
    """Stands in for the session of a suite: one test, one file."""

    def __init__(self, folder, mode="new"):
        self.folder, self.mode = folder, mode
        self.written, self.devices, self.parting = set(), set(), []

    def shown(self, path):
        return str(path)

    def path(self, key):
        return Path(self.folder) / f"recording{key}.json"


def check(folder, made, **arguments):
    Recording(Session(folder)).check(*made, **{"steps": 6, **arguments})


def training(seed, *, lr=0.01, decay=0.01, dropout=0.2, accumulate=2, swapped=False):
    torch.manual_seed(seed)
    shapes = [(6, 16), (16, 3)]
    layers = {}
    for index in (1, 0) if swapped else (0, 1):
        layers[index] = nn.Linear(*shapes[index])
    model = nn.Sequential(layers[0], nn.GELU(), nn.Dropout(dropout), layers[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay)
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(48, 6, generator=generator), torch.randint(0, 3, (48,), generator=generator)

    def step():
        optimizer.zero_grad()
        total = 0.0
        for part in range(accumulate):
            rows = slice(part * 8, part * 8 + 8)
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows]) / accumulate
            loss.backward()
            total += loss.item()
        optimizer.step()
        return total

    return model, step


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"lr": 0.0101}, "lr-changed"),
        ({"decay": 0.02}, "option-changed"),
        ({"swapped": True}, "loss-changed"),
        ({"dropout": 0.0}, "loss-changed"),
        ({"accumulate": 3}, "loss-changed"),
    ],
    ids=["lr", "decay", "order", "dropout", "accumulation"],
)
def test_a_small_change_fails_at_the_first_step(tmp_path, seed, change, cause):
    check(tmp_path, training(seed))
    with pytest.raises(RecordingMismatch) as caught:
        check(tmp_path, training(seed, **change))
    assert caught.value.finding.causes == (cause,)
    assert "at step 1, " in caught.value.finding.claim


@pytest.mark.parametrize("seed", range(3))
def test_another_number_of_threads_is_no_change(tmp_path, seed):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        check(tmp_path, training(seed), steps=20)
        torch.set_num_threads(2)
        check(tmp_path, training(seed), steps=20)
    finally:
        torch.set_num_threads(threads)


def test_numbers_that_are_not_finite_compare_as_text():
    assert files.rounded([float("nan"), float("inf")]) == ["nan", "inf"]
    assert comparing.close("nan", "nan", 1e-4, 0.0)
    assert not comparing.close("nan", 1.0, 1e-4, 0.0)


def test_a_recording_of_another_format_says_so(tmp_path):
    check(tmp_path, training(0))
    path = tmp_path / "recording.json"
    path.write_text(path.read_text().replace('"trainstep-recording": 1', '"trainstep-recording": 9'))
    with pytest.raises(TrainStepUsageError, match="this is format 9, it reads format 1"):
        check(tmp_path, training(0))


def test_another_torch_and_another_device_are_noted(tmp_path):
    check(tmp_path, training(0))
    path = tmp_path / "recording.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "torch": "2.4.0", "device": "cuda"}))
    check(tmp_path, training(0))
    with pytest.raises(RecordingMismatch) as caught:
        check(tmp_path, training(0, lr=0.02))
    assert caught.value.finding.notes[1] == "recorded with device cuda, now cpu"
    assert caught.value.finding.notes[0].startswith("recorded with torch 2.4.0, now ")


def test_a_model_with_another_parameter_says_so_before_anything_else(tmp_path):
    check(tmp_path, training(0))
    model, step = training(0)
    model.register_parameter("extra", nn.Parameter(torch.zeros(1)))
    with pytest.raises(RecordingMismatch) as caught:
        check(tmp_path, (model, step))
    assert caught.value.finding.causes == ("parameters-changed",)
    assert "in the parameters: only extra now, nothing else recorded" in caught.value.finding.claim


def test_an_option_changed_in_training_fails_at_its_step(tmp_path):
    def changing(at):
        model, step = training(0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)
        calls = iter(range(1, 7))

        def changed():
            if next(calls) == at:
                optimizer.param_groups[0]["weight_decay"] = 0.011
            step()
            optimizer.step()

        return model, changed

    check(tmp_path, changing(at=0))
    with pytest.raises(RecordingMismatch) as caught:
        check(tmp_path, changing(at=4))
    assert caught.value.finding.causes == ("option-changed",)
    assert "at step 4, in weight_decay: [0.01, 0.011] now" in caught.value.finding.claim


def test_an_option_that_only_one_version_of_torch_knows_is_no_change(tmp_path):
    check(tmp_path, training(0))
    path = tmp_path / "recording.json"
    data = json.loads(path.read_text())
    data["steps"][0]["options"]["new_option"] = [1.0]
    path.write_text(json.dumps(data))
    check(tmp_path, training(0))


def with_noise(optimizer):
    """A bias before a batch norm and the bias of attention's keys: their gradients are nothing but rounding."""
    torch.manual_seed(3)
    attention = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    model = nn.ModuleList([nn.Linear(4, 16), nn.BatchNorm1d(16), attention, nn.Linear(16, 3)])
    stepped = optimizer(model.parameters(), lr=0.01)
    x, y = torch.randn(32, 4), torch.randint(0, 3, (8,))

    def step():
        stepped.zero_grad()
        tokens = model[1](model[0](x)).view(8, 4, 16)
        loss = nn.functional.cross_entropy(model[3](model[2](tokens).mean(1)), y)
        loss.backward()
        stepped.step()
        return loss.item()

    return model, step


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad])
def test_gradients_that_are_rounding_do_not_count(tmp_path, optimizer):
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            check(tmp_path, with_noise(optimizer), steps=20)
    finally:
        torch.set_num_threads(threads)
