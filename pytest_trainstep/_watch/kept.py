"""The weights of one optimizer, kept from before a step to after it: which of its groups moved?

Every step of a group that has not moved yet is compared whole. Afterwards an optimizer of at most `SMALL`
elements still is, to count its no-op steps; of a larger one a part is compared, which can show that a step
moved something. Only when that part stands still are versions asked, and the next steps compared whole.
"""

from __future__ import annotations

import cmath
import sys
from collections.abc import Sequence
from typing import Any

import torch

from . import snapshots

SMALL = 65_536  # elements
_PLAIN = (torch.Tensor, torch.nn.Parameter)
_IN_DOUBT = 8  # steps that are compared whole after one that could not be decided


class Kept:
    """Copies of the tensors of an optimizer. Holds the tensors themselves from `take` to `release` only."""

    def __init__(self) -> None:
        self.params: list[Any] = []
        self.settled: list[bool] = []  # of each group
        self._ids: list[int] = []
        self._spans: list[range] = []
        self._looked: list[int] = []
        self._whole: list[bool] = []
        self._place: dict[int, int] = {}
        self._buffers: list[torch.Tensor] = []
        self._odd: dict[int, snapshots.Snapshot] = {}
        self._odd_indices: list[int] = []
        self._sizes: dict[int, int] = {}  # of those that are compared whole or in part
        self._hints: list[int] = []
        self._partial = False
        self._versions: list[int] | None = None
        self._doubt = 0
        self._again = False  # plan anew at the next step

    @property
    def all_settled(self) -> bool:
        """Every group has been seen to move."""
        return all(self.settled)

    def group(self, number: int) -> list[Any]:
        """Return the tensors of one group."""
        span = self._spans[number]
        return self.params[span.start : span.stop]

    def read(self, groups: Sequence[Any]) -> bool:
        """Take note of the tensors that the optimizer holds now; tell whether they are others than before."""
        self.params = [tensor for group in groups for tensor in group["params"]]
        ids = list(map(id, self.params))
        sizes = [len(group["params"]) for group in groups]
        if ids == self._ids and sizes == list(map(len, self._spans)):  # an empty group adds no tensor
            return False
        self._ids, start, self._spans = ids, 0, []
        for size in sizes:
            self._spans.append(range(start, start + size))
            start += size
        self.settled = [*self.settled, *[False] * len(groups)][: len(groups)]
        self._plan(whole=False)
        self._hints = [min(span, key=self._size, default=span.start) for span in self._spans]
        return True

    def _size(self, index: int) -> int:
        return self._sizes.get(index, sys.maxsize)

    def take(self, *, whole: bool) -> None:
        """Copy what will be compared after the step."""
        if self._partial and (whole or self._doubt):
            self._plan(whole=True)
            self._again = True
        recording = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)  # noqa: FBT003, SLF001 - `no_grad` takes ten times as long, at every step
        try:
            self._copy_or_plan(whole=whole)
        finally:
            torch._C._set_grad_enabled(recording)  # noqa: SLF001 - as above
        self._versions = [tensor._version for tensor in self.params] if self._partial else None  # noqa: SLF001 - the only clock a tensor has

    def _copy_or_plan(self, *, whole: bool) -> None:
        try:
            self._copy()
        except (RuntimeError, TypeError):  # another shape, dtype or device than last time
            self._plan(whole=whole)
            self._copy()
        if self._odd_indices:
            taken = snapshots.take([self.params[index] for index in self._odd_indices])
            self._odd = dict(zip(self._odd_indices, taken, strict=True))

    def _copy(self) -> None:
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._sources())

    def _sources(self) -> list[torch.Tensor]:
        if all(self._whole):
            return [self.params[index] for index in self._looked]
        return [
            self.params[index] if whole else snapshots.sample_of(self.params[index].detach())
            for index, whole in zip(self._looked, self._whole, strict=True)
        ]

    def release(self, *, moved: bool) -> None:
        """The step has been judged: let go of the tensors, and of copies that are not needed again."""
        self.params, self._odd, self._versions = [], {}, None
        if self._doubt and moved:
            self._doubt -= 1
        if self._again:
            self._ids, self._buffers, self._again = [], [], False

    def _plan(self, *, whole: bool) -> None:
        """Choose what is copied at each step."""
        self._sizes = sizes = {index: tensor.numel() for index, tensor in enumerate(self.params) if _is_plain(tensor)}
        self._odd_indices = [] if len(sizes) == len(self.params) else self._not_plain(sizes)
        self._partial = not whole and sum(sizes.values()) > SMALL
        chosen = self._part(sizes) if self._partial else list(sizes)
        budget = snapshots.BUDGET
        self._looked, self._whole, self._buffers, self._place = [], [], [], {}
        for index in chosen:
            tensor = self.params[index]
            entire = not self._partial or not self._is_settled(index) or sizes[index] <= SMALL
            if entire and sizes[index] * tensor.element_size() > budget:
                self._odd_indices.append(index)  # a fingerprint has to do
                continue
            source = tensor.detach() if entire else snapshots.sample_of(tensor.detach())
            budget -= source.numel() * source.element_size()
            self._place[index] = len(self._looked)
            self._looked.append(index)
            self._whole.append(entire)
            self._buffers.append(torch.empty_like(source))

    def _not_plain(self, sizes: dict[int, int]) -> list[int]:
        """Choose the others that are looked at: where their group has not moved, or holds nothing else."""
        return [
            index
            for number, span in enumerate(self._spans)
            for index in span
            if index not in sizes and (not self.settled[number] or not any(other in sizes for other in span))
        ]

    def _is_settled(self, index: int) -> bool:
        return any(settled and index in span for settled, span in zip(self.settled, self._spans, strict=True))

    def _part(self, sizes: dict[int, int]) -> list[int]:
        """Choose all tensors of groups that have not moved yet, and the smallest of the others."""
        chosen: list[int] = []
        for number, span in enumerate(self._spans):
            inside = [index for index in span if index in sizes]
            if not self.settled[number]:
                chosen += inside
                continue
            room = SMALL // len(self._spans)
            for index in sorted(inside, key=sizes.__getitem__):
                if sizes[index] <= room or not any(other in chosen for other in inside):
                    chosen.append(index)
                    room -= sizes[index]
        return sorted(chosen)

    def compare(self) -> bool | None:
        """Settle the groups that moved; tell whether anything did (None: that could not be decided)."""
        anything = settled = False
        for number, already in enumerate(self.settled):
            if not already and self._group_moved(number):
                self.settled[number] = settled = anything = True
        if not anything:
            anything = any(already and self._group_moved(number) for number, already in enumerate(self.settled))
        if settled and sum(buffer.numel() for buffer in self._buffers) > SMALL:
            self._again = True
        if not anything and self._odd and not self._buffers and all(one.empty for one in self._odd.values()):
            return None
        if anything or not self._partial:
            return anything
        self._doubt = _IN_DOUBT
        return None if self._versions != [tensor._version for tensor in self.params] else False  # noqa: SLF001 - as above

    def _group_moved(self, number: int) -> bool:
        hint, span = self._hints[number], self._spans[number]
        if hint in self._place and self._moved(hint):
            return True
        for index in span:
            if (index != hint or index not in self._place) and self._moved(index):
                self._hints[number] = index
                return True
        return False

    def _moved(self, index: int) -> bool:
        place, tensor = self._place.get(index), self.params[index]
        if place is None:
            return index in self._odd and snapshots.moved(self._odd[index], tensor)
        now = tensor if self._whole[place] else snapshots.sample_of(tensor.detach())
        before = self._buffers[place]
        try:
            if torch.equal(before, now):
                return False
            if cmath.isfinite(now.detach().sum().item()):
                return True  # without a NaN, which is not even equal to itself, this is a difference
            return before.shape != now.shape or bool(snapshots.unequal(before, now).any())
        except RuntimeError:  # another dtype or device
            return True

    def looked_at(self, number: int) -> bool:
        """Tell whether something of this group could be compared at this step: not what is on the meta device, say."""
        return any(
            index in self._place or (index in self._odd and not self._odd[index].empty) for index in self._spans[number]
        )

    def before(self, index: int) -> torch.Tensor | None:
        """Return the whole copy of a tensor from before the step, where there is one."""
        place = self._place.get(index)
        return self._buffers[place] if place is not None and self._whole[place] else None


def _is_plain(tensor: Any) -> bool:
    return (
        type(tensor) in _PLAIN
        and tensor.layout is torch.strided
        and tensor.device.type != "meta"
        and not tensor.is_quantized
        and tensor.numel() > 0
        and not tensor.is_inference()
    )


def measurable(tensor: Any) -> bool:
    """Tell whether a tensor, or a gradient, is an ordinary one whose numbers can be read."""
    return (
        tensor is not None
        and type(tensor) in _PLAIN
        and tensor.layout is torch.strided
        and tensor.device.type != "meta"
        and tensor.numel() > 0
        and (tensor.dtype.is_floating_point or tensor.dtype.is_complex)
    )
