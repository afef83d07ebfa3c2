"""Snapshots: exact copies within a budget, fingerprints above it; both see every single element that changes."""

import pytest
import torch

from pytest_trainstep._watch import measures, snapshots
from pytest_trainstep._watch.fingerprints import CHUNK, fingerprint

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.int8, torch.int64]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def values(size, dtype=torch.float32):
    return (torch.randn(size) * 50).to(dtype)


def test_the_budget_goes_to_the_first_tensors():
    kept = snapshots.take([torch.ones(4), torch.ones(4), torch.ones(2)], budget=24)

    assert [one.copy is not None for one in kept] == [True, False, True]
    assert [one.print is not None for one in kept] == [False, True, False]
    assert kept[1].shape == (4,)


def test_a_fingerprint_needs_little_room():
    big = torch.ones(4_000_000)
    (kept,) = snapshots.take([big], budget=0)

    assert kept.sample.numel() * kept.sample.element_size() < 0.01 * big.numel() * big.element_size()
    assert kept.sample.untyped_storage().nbytes() == kept.sample.numel() * kept.sample.element_size()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [1, 2, 7, 64, 1001])
def test_a_fingerprint_sees_every_single_element(dtype, size):
    tensor = values(size, dtype)
    before = fingerprint(tensor)
    prints = set()
    for index in range(0, size, max(1, size // 60)):
        old = tensor[index].clone()
        tensor[index] = old + 1
        prints.add(fingerprint(tensor))
        tensor[index] = old

    assert before not in prints
    assert fingerprint(tensor) == before


def test_a_fingerprint_sees_changes_that_cancel_and_elements_that_swap():
    tensor = torch.zeros(3 * CHUNK + 5)
    before = fingerprint(tensor)
    tensor[[0, CHUNK]] = torch.tensor([1.0, -1.0])
    cancelled = fingerprint(tensor)
    tensor[[0, CHUNK]] = torch.tensor([-1.0, 1.0])
    swapped = fingerprint(tensor)
    tensor[[0, CHUNK, 3 * CHUNK + 4]] = torch.tensor([0.0, 0.0, 1.0])

    assert len({before, cancelled, swapped, fingerprint(tensor)}) == 4
    assert fingerprint(torch.zeros(4)) != fingerprint(torch.ones(4))


def test_a_fingerprint_does_not_depend_on_the_layout():
    tensor = values(600).reshape(20, 30)

    assert fingerprint(tensor.t().contiguous().t()) == fingerprint(tensor)
    assert fingerprint(torch.ones(1).expand(100)) == fingerprint(torch.ones(100))


EXACT = pytest.mark.parametrize("budget", [2**20, 0], ids=["copy", "fingerprint"])


@EXACT
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64], ids=str)
def test_a_change_of_one_element_is_seen_in_any_layout(budget, dtype):
    for tensor in (values(50_000, dtype), values(60, dtype).reshape(6, 10).t(), values(9, dtype)[::2]):
        (kept,) = snapshots.take([tensor], budget=budget)
        assert not snapshots.moved(kept, tensor)
        assert snapshots.differing([kept], [tensor])[0].changed == 0
        tensor.reshape(-1)[-1].copy_(tensor.reshape(-1)[-1])
        index = tuple(size - 1 for size in tensor.shape)
        tensor[index] = tensor[index] * 3 + 1
        assert snapshots.moved(kept, tensor)
        assert snapshots.differing([kept], [tensor])[0].changed >= 1
        assert measures.changes([kept], [tensor])[0].moved


def test_nan_that_stays_and_a_zero_that_changes_its_sign_have_not_moved():
    before = torch.tensor([float("nan"), 0.0, -0.0, float("inf")])
    after = torch.tensor([float("nan"), -0.0, 0.0, float("inf")])
    (kept,) = snapshots.take([before])

    assert not snapshots.moved(kept, after)
    assert snapshots.differing([kept], [after]) == [(0, 4)]
    assert not measures.changes([kept], [after])[0].moved


def test_a_conversion_without_loss_has_not_moved_and_a_lossy_one_has_not_either():
    tensor = values(100)
    (kept,) = snapshots.take([tensor])

    assert not snapshots.moved(kept, tensor.double())
    assert snapshots.moved(kept, (tensor + 1).double())
    (half,) = snapshots.take([tensor.bfloat16()])
    assert not snapshots.moved(half, tensor.bfloat16().float())


def test_another_shape_is_a_move():
    (kept,) = snapshots.take([torch.ones(2, 3)])

    assert snapshots.moved(kept, torch.ones(3, 2))
    assert measures.changes([kept], [torch.ones(3, 2)])[0].moved


@pytest.mark.parametrize("tensor", [torch.ones(0, 3), torch.ones(2, device="meta")], ids=["empty", "meta"])
def test_what_has_no_values_never_moves(tensor):
    (kept,) = snapshots.take([tensor])

    assert kept.copy is None
    assert not snapshots.moved(kept, tensor)
    assert snapshots.differing([kept], [tensor]) == [(0, 0)]
    assert not measures.changes([kept], [tensor])[0].moved


def test_numbers_of_large_tensors_come_from_a_sample_and_say_so():
    tensor = torch.zeros(1_000_000)
    (kept,) = snapshots.take([tensor], budget=0)
    tensor[::2] = 2.0
    change = measures.changes([kept], [tensor])[0]

    assert change.sampled
    assert change.max_change == 2
    assert change.elements in range(1, 1_000_001)


def test_a_change_outside_the_sample_is_one_element_at_least():
    tensor = torch.zeros(1_000_000)
    (kept,) = snapshots.take([tensor], budget=0)
    tensor[1] = 1e-30
    change = measures.changes([kept], [tensor])[0]

    assert (change.moved, change.elements, change.sampled) == (True, 1, True)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300], ids=str)
def test_measures_neither_vanish_nor_overflow_alone_and_together(scale):
    tensors = [torch.ones(3, dtype=torch.float64) * scale for _ in range(2)]
    kept = snapshots.take(tensors)
    tensors[0][0] *= 3
    for changes in (measures.changes(kept, tensors), [measures.changes([kept[0]], [tensors[0]])[0]]):
        assert changes[0].max_change == pytest.approx(2 * scale)
        assert changes[0].elements == 1
    assert not measures.changes(kept, tensors)[1].moved


def test_the_largest_gradient_of_every_kind():
    table = torch.ones(4, 1, requires_grad=True)
    torch.nn.functional.embedding(torch.tensor([0, 0]), table, sparse=True).mul(
        torch.tensor([[2.0], [3.0]])
    ).sum().backward()
    found = measures.largest(
        [
            torch.tensor([1.0, -4.0]),
            torch.zeros(0),
            torch.tensor([[3.0 + 4.0j]]),
            table.grad,  # sparse, with one row twice
            torch.randn(20_000).clamp(-1, 1),
            torch.ones(2, device="meta"),
            torch.tensor([float("nan"), 1.0]),
            torch.tensor(-7, dtype=torch.int32),
        ]
    )

    assert found[:6] == [4.0, 0.0, 4.0, 5.0, 1.0, 0.0]
    assert found[6] != found[6]
    assert found[7] == 7


class Holder(torch.Tensor):
    """Says that it is on the meta device, and holds a tensor."""

    @staticmethod
    def __new__(cls, held):
        tensor = torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device="meta")
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError


class Flattened(Holder):
    """Shows what it holds, as subclasses of others do."""

    def __tensor_flatten__(self):
        return ["held"], None


def test_only_what_is_on_meta_is_without_values_not_what_says_so():
    cpu, meta = torch.ones(2), torch.ones(2, device="meta")
    assert snapshots.without_values(meta)
    assert snapshots.without_values(Flattened(meta))
    assert not any(snapshots.without_values(one) for one in (cpu, Holder(cpu), Flattened(cpu)))
    assert [snapshots.device_of(one) for one in (cpu, meta, Holder(cpu))] == ["cpu", "meta", "Holder"]
