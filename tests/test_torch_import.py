"""The moment at which torch is imported is noticed, and nobody else notices us. A stand-in for torch keeps it quick."""

import subprocess
import sys

import pytest

STAND_IN = "value = 1\n"
PRELUDE = """
import importlib, importlib.util, sys
from pytest_trainstep import _torch_import

calls = []
def arrived():
    calls.append("torch" in sys.modules and sys.modules["torch"].value)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs code in a process of its own, in which `import torch` finds the stand-in."""
    tmp_path.joinpath("torch.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(code):
        done = subprocess.run([sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return run


def test_the_callback_comes_when_torch_is_ready(run):
    run("""
_torch_import.when_torch_is_imported(arrived)
assert calls == []
import torch
assert calls == [1]
""")


def test_a_torch_that_is_already_there_is_announced_at_once(run):
    run("""
import torch
_torch_import.when_torch_is_imported(arrived)
assert calls == [1]
""")


def test_asking_whether_torch_is_installed_changes_nothing(run):
    run("""
_torch_import.when_torch_is_imported(arrived)
for _ in range(3):
    assert importlib.util.find_spec("torch").origin.endswith("torch.py")
assert calls == []
import torch
assert calls == [1]
""")


def test_the_module_looks_as_if_nobody_had_looked(run):
    run("""
import torch
untouched = {name for name in vars(torch.__loader__)}, type(torch.__loader__), type(torch.__spec__)
del sys.modules["torch"]
_torch_import.when_torch_is_imported(arrived)
import torch
assert ({name for name in vars(torch.__loader__)}, type(torch.__loader__), type(torch.__spec__)) == untouched
assert torch.__spec__.loader is torch.__loader__
""")


def test_a_reload_and_a_second_import_are_announced_again(run):
    run("""
_torch_import.when_torch_is_imported(arrived)
import torch
importlib.reload(torch)
del sys.modules["torch"]
import torch
assert calls == [1, 1, 1]
""")


def test_importorskip_is_an_import_like_any_other(run):
    run("""
import pytest
_torch_import.when_torch_is_imported(arrived)
assert pytest.importorskip("torch").value == 1
assert calls == [1]
""")


def test_an_import_made_by_hand_is_seen_too(run):
    run("""
_torch_import.when_torch_is_imported(arrived)
spec = importlib.util.find_spec("torch")
module = importlib.util.module_from_spec(spec)
sys.modules["torch"] = module
spec.loader.exec_module(module)
assert calls == [1]
""")


def test_a_missing_torch_is_missing_as_ever(run, tmp_path):
    tmp_path.joinpath("torch.py").unlink()
    run("""
sys.path[:] = [each for each in sys.path if "site-packages" not in each]
_torch_import.when_torch_is_imported(arrived)
assert importlib.util.find_spec("torch") is None
try:
    import torch
except ModuleNotFoundError as error:
    assert error.name == "torch"
else:
    raise SystemExit("torch was found")
assert calls == []
""")


def test_a_torch_blocked_by_none_stays_blocked(run):
    run("""
sys.modules["torch"] = None
_torch_import.when_torch_is_imported(arrived)
_torch_import.look()
assert calls == []
""")


def test_a_torch_that_fails_to_import_fails_with_its_own_error(run, tmp_path):
    tmp_path.joinpath("torch.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    run("""
_torch_import.when_torch_is_imported(arrived)
for _ in range(2):
    try:
        import torch
    except OSError as error:
        assert "libcudart" in str(error)
    else:
        raise SystemExit("it was imported")
assert calls == [] and "torch" not in sys.modules
""")


def test_a_folder_called_torch_is_no_trouble(run, tmp_path):
    tmp_path.joinpath("torch.py").unlink()
    tmp_path.joinpath("torch").mkdir()
    run("""
sys.path[:] = [each for each in sys.path if "site-packages" not in each]
_torch_import.when_torch_is_imported(calls.append)
import torch
assert torch.__file__ is None
""")


def test_a_loader_that_takes_no_attributes_is_caught_up_with(run):
    run("""
class Loader:
    __slots__ = ()
    def create_module(self, spec): return None
    def exec_module(self, module): module.value = 2

class Finder:
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, Loader()) if name == "torch" else None

sys.meta_path.insert(0, Finder())
_torch_import.when_torch_is_imported(arrived)
import torch
assert calls == []
_torch_import.look()
_torch_import.look()
assert calls == [2]
""")


def test_an_exception_in_a_callback_becomes_a_note(run):
    run("""
_torch_import.when_torch_is_imported(lambda: 1 / 0)
_torch_import.when_torch_is_imported(arrived)
import torch
assert calls == [1]
assert _torch_import.notes == ["watching torch being imported failed: ZeroDivisionError: division by zero"]
""")


def test_the_finder_leaves_with_the_last_who_waits(run):
    run("""
before = list(sys.meta_path)
forget_outer = _torch_import.when_torch_is_imported(arrived)
forget_inner = _torch_import.when_torch_is_imported(arrived)
assert len(sys.meta_path) == len(before) + 1
assert not forget_inner()
assert len(sys.meta_path) == len(before) + 1
assert forget_outer()
assert sys.meta_path == before
import torch
assert calls == []
""")


def test_a_finder_somebody_else_removed_is_no_trouble(run):
    run("""
before = list(sys.meta_path)
forget = _torch_import.when_torch_is_imported(arrived)
sys.meta_path[:] = before
assert forget()
assert sys.meta_path == before
""")
