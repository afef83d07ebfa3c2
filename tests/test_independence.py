"""Independence: samples that meet, positions that see ahead, and rounding that is neither."""

import corpus_scripts
import pytest
import torch
from torch import nn
from torch.nn import functional

import pytest_trainstep
from pytest_trainstep import (
    PositionsNotCausal,
    SamplesNotIndependent,
    TrainStepUsageError,
    assert_positions_causal,
    assert_samples_independent,
)

CLAIMS = ("samples_independent", "positions_causal")
SCRIPTS = corpus_scripts.scripts(*CLAIMS)


def make_claim(claim, defined):
    given = {name: defined[name] for name in ("forward", "replace") if name in defined}
    getattr(pytest_trainstep, f"assert_{claim}")(defined["model"], defined["batch"], **given)


@pytest.mark.parametrize("script", corpus_scripts.each(SCRIPTS))
def test_the_guilty_are_named_and_nobody_else(script):
    corpus_scripts.assert_named(script, corpus_scripts.judge(script, make_claim))


def test_every_cause_has_a_script_and_every_fault_a_healthy_twin():
    corpus_scripts.assert_complete(SCRIPTS, *CLAIMS)


class Fn(nn.Module):
    """A module around a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def test_the_message_shows_rows_beside_the_effect_on_themselves():
    model = Fn(lambda x: x + torch.tensor([[0.0, 0.5], [0.0, 0.0]]) @ x)

    with pytest.raises(SamplesNotIndependent) as caught:
        assert_samples_independent(model, torch.tensor([[0.0], [2.0]]), msg="mine")

    lines = str(caught.value).splitlines()
    assert lines[0] == "samples-mixed: the output of 1 of 2 samples changes with other samples of the batch"
    assert lines[2].split() == ["sample", "replaced", "change", "own", "change", "of", "the", "replaced", "ratio"]
    assert lines[3].split() == ["0", "1", "1", "2", "0.5"]
    assert lines[5].startswith("because: up to `")
    assert lines[7].startswith("on purpose? pass forward=")
    assert lines[-1] == "mine"


def test_a_dependence_of_a_single_pair_is_found():
    mixing = torch.eye(6)
    mixing[4, 1] = 1e-3

    with pytest.raises(SamplesNotIndependent) as caught:
        assert_samples_independent(Fn(lambda x: mixing.to(x.dtype) @ x), torch.randn(6, 2))

    assert {row[:2] for row in caught.value.finding.rows} == {("4", "1")}


def test_a_faint_dependence_is_told_from_rounding_in_double():
    model = Fn(lambda x: x + 1e-6 * x.mean(0))
    rounded = Fn(lambda x: (x + x.mean(0)) - x.mean(0))
    torch.manual_seed(0)
    batch = torch.randn(4, 3)

    with pytest.raises(SamplesNotIndependent):
        assert_samples_independent(model, batch)
    assert_samples_independent(rounded, batch)


def test_a_dependence_that_no_replacement_shows_is_found_by_gradient():
    threshold = Fn(lambda x: x + functional.relu(x.sum(0) - 5.9).sum())  # on only where all are at their largest
    batch = torch.tensor([[1.0], [2.0], [2.0]])
    replaced = []

    assert_samples_independent(
        threshold, batch, replace=lambda b, j: replaced.append(j) or torch.cat([b[:j], b[j : j + 1] / 2, b[j + 1 :]])
    )
    assert replaced == [0, 1, 2]

    with pytest.raises(SamplesNotIndependent):
        assert_samples_independent(Fn(lambda x: x + (x - x.detach()).sum() ** 2 + x.prod()), batch)


def test_a_gradient_without_an_effect_is_no_dependence():
    straight = Fn(lambda x: x + (x.sum() - x.sum().detach()))

    assert_samples_independent(straight, torch.randn(3, 2))


def test_modes_buffers_weights_and_random_streams_are_put_back():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    model[1].eval()
    model(torch.randn(4, 3)).sum().backward()

    def messy(model, x):
        model.train()
        model[1].running_mean.add_(torch.rand(4))
        return model.eval()(x)

    torch.manual_seed(5)
    before = [tensor.detach().clone() for tensor in model.state_dict().values()]
    grads = [p.grad.clone() for p in model.parameters()]
    modes = [one.training for one in model.modules()]
    stream = torch.get_rng_state()

    assert_samples_independent(model, torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), forward=messy)

    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, model.parameters(), strict=True))
    assert [one.training for one in model.modules()] == modes
    assert torch.equal(stream, torch.get_rng_state())


def test_the_batch_stays_as_it_is():
    batch = torch.randn(4, 3)
    kept = batch.clone()

    def in_place(b, j):
        b[j] = 0.0
        return b

    assert_samples_independent(Fn(lambda x: x.mul_(2)), batch, replace=in_place)

    assert torch.equal(batch, kept)


def test_rows_of_a_list_and_strings_are_samples_too():
    model = Fn(lambda texts: [torch.tensor([float(len(text))]) for text in texts])
    longest = Fn(lambda texts: [torch.tensor([float(len(text)) / max(map(len, texts))]) for text in texts])

    assert_samples_independent(model, ["a", "bcd", "ef"])
    with pytest.raises(SamplesNotIndependent):
        assert_samples_independent(longest, ["a", "bcd", "ef"])


def test_a_tuple_is_passed_as_arguments():
    model = Fn(lambda x, scale: x * scale)

    assert_samples_independent(model, (torch.randn(3, 2), torch.rand(3, 1)))


def test_packed_documents_are_samples_by_replace_and_forward():
    ids = torch.tensor([[1.0, 2, 3, 4, 5, 6]])
    bounds = [(0, 2), (2, 6)]

    def replace(batch, document):
        batch[:, slice(*bounds[document])] += 1
        return batch

    def rows(model, batch):
        return [model(batch)[:, slice(*bound)] for bound in bounds]

    own = torch.block_diag(torch.ones(2, 2), torch.ones(4, 4))
    assert_samples_independent(Fn(lambda x: x @ own.to(x)), ids, forward=rows, replace=replace, size=2)
    with pytest.raises(SamplesNotIndependent):
        assert_samples_independent(Fn(lambda x: x.cumsum(1)), ids, forward=rows, replace=replace, size=2)


def test_a_causal_model_in_half_precision_holds():
    model = nn.GRU(2, 4, batch_first=True).bfloat16()

    assert_positions_causal(model, torch.randn(2, 6, 2).bfloat16(), forward=lambda m, x: m(x)[0])


def test_the_message_of_positions_says_what_the_pattern_means():
    with pytest.raises(PositionsNotCausal) as caught:
        assert_positions_causal(Fn(lambda x: x + x.roll(-1, 1)), torch.arange(10.0).reshape(1, 10))

    finding = caught.value.finding
    assert finding.causes == ("window-reaches-ahead",)
    assert "sees 1 position ahead and no further" in finding.reasons[0].because


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"batch": torch.ones(1, 2)}, "at least two samples are needed"),
        ({"batch": torch.tensor(1.0)}, "cannot tell how many samples"),
        ({"batch": object()}, "cannot tell how many samples a batch of type object has"),
        ({"batch": torch.ones(3, 2)}, "replacing a sample changes nothing"),
        ({"model": nn.Linear, "batch": torch.randn(3, 2)}, "model must be a torch.nn.Module"),
        ({"forward": 3}, "forward must be callable"),
        ({"replace": 3}, "replace must be callable"),
        ({"size": 0}, "at least two samples are needed to compare them, not 0"),
        ({"forward": lambda m, x: m(x).sum()}, "the output has no dimension of size 3"),
        ({"forward": lambda m, x: torch.rand(3)}, "replacing a sample changes nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, match):
    given = {"model": nn.Linear(2, 1), "batch": torch.randn(3, 2), **arguments}

    with pytest.raises(TrainStepUsageError, match=match):
        assert_samples_independent(given.pop("model"), given.pop("batch"), **given)


def test_a_forward_that_does_not_repeat_itself_is_refused():
    calls = []

    def forward(model, x):
        calls.append(1)
        return model(x) + len(calls)

    with pytest.raises(TrainStepUsageError, match="another output the second time"):
        assert_samples_independent(nn.Linear(2, 1), torch.randn(3, 2), forward=forward)


def test_an_error_with_a_replaced_sample_says_so():
    def forward(model, x):
        if not torch.equal(x, batch):
            raise ValueError("odd")
        return model(x)

    batch = torch.randn(3, 2)
    with pytest.raises(ValueError, match="odd") as caught:
        assert_samples_independent(nn.Linear(2, 1), batch, forward=forward)

    assert "with sample 0 replaced" in caught.value.__notes__[0]
