"""Canaries: what of Hypothesis and torch is used without being documented."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn


def test_hypothesis_cleans_up():
    from hypothesis.control import cleanup

    ended = []

    @settings(max_examples=2, database=None)
    @given(st.integers())
    def draws(_):
        cleanup(lambda: ended.append(1))

    draws()
    assert ended


def test_torch_replaces_on_conversion():
    assert torch.__future__.get_overwrite_module_params_on_conversion() is False
    assert callable(torch.__future__.set_overwrite_module_params_on_conversion)


LAYERS = {
    "Linear": (2, 2),
    "Embedding": (2, 2),
    "Conv1d": (1, 1, 1),
    "Conv2d": (1, 1, 1),
    "LayerNorm": (2,),
    "BatchNorm1d": (2,),
    "GroupNorm": (1, 2),
    "RMSNorm": (2,),
    "LSTM": (1, 1),
    "GRU": (1, 1),
    "RNN": (1, 1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_initialise_in_one_place(name):
    assert callable(getattr(nn, name)(*LAYERS[name]).reset_parameters)


def test_recurrent_layers_list_their_parameters_again():
    assert callable(nn.LSTM(1, 1)._init_flat_weights)


PROFILES = """
import sys
from pytest_trainstep._hypothesis import register_profiles
assert not {"torch", "hypothesis"} & sys.modules.keys()
import hypothesis
current = hypothesis.settings.get_current_profile_name()
register_profiles()
assert "torch" not in sys.modules
assert hypothesis.settings.get_current_profile_name() == current
for name, examples in {"trainstep": 100, "trainstep-ci": 25, "trainstep-nightly": 500}.items():
    profile = hypothesis.settings.get_profile(name)
    assert profile.deadline is None and profile.max_examples == examples, name
assert hypothesis.settings.get_profile("trainstep-ci").derandomize
"""


def test_profiles_are_registered_and_not_loaded():
    subprocess.run([sys.executable, "-c", PROFILES], check=True)
