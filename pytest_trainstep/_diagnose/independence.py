"""Why one sample's output depends on another sample, or a position's output on later positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .because import Because, at, number, plural
from .finding import Finding, Reason

_FAINT = 0.02  # of the effect on itself
_FEWEST = 3  # below, a one-sided pattern says nothing

_NORMALISATIONS = {"softmax", "log_softmax", "normalize", "layer_norm", "softmin", "gumbel_softmax"}
_STATISTICS = {"sub", "__sub__", "__rsub__", "div", "__truediv__", "true_divide", "mul", "__mul__", "addcmul"}
_VIEWS = {"view", "reshape", "unflatten", "flatten", "as_strided", "view_as", "reshape_as"}
_SEQUENCE = {"lstm", "gru", "rnn_tanh", "rnn_relu", "multi_head_attention_forward", "scaled_dot_product_attention"}
_SEQUENCE_MODULES = ("Transformer", "MultiheadAttention", "LSTM", "GRU", "RNN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """Row `row` of the output changed by `change` when `replaced` was replaced, whose own output changed by `own`."""

    row: int
    replaced: int
    change: float
    own: float

    @property
    def relative(self) -> float:
        """The change beside the effect on itself."""
        return self.change / self.own if self.own else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """What two or more runs, one sample or position apart, have shown.

    Attributes:
        size: How many samples or positions there are.
        found: The dependences that should not be.
        operation, line, module: Where the change first left its sample, if that is known.
        length_only: The others change with the length of the sample, and not with its content.
        past: Some output depends on an earlier position.
        bidirectional: Recurrent layers of the model that also run backwards.
    """

    size: int
    found: tuple[Dependence, ...]
    operation: str | None = None
    line: str | None = None
    module: str | None = None
    length_only: bool = False
    past: bool = True
    bidirectional: tuple[str, ...] = ()


def _where(m: Mixing) -> str:
    inside = f" in {m.module}" if m.module else ""
    return f"`{m.operation}`{at(m.line)}{inside}"


# -- between samples ---------------------------------------------------------------------------


def padding_counted(m: Mixing) -> Because | None:
    """The output depends on the padding, that is on the length of the longest sample of the batch."""
    if not m.length_only:
        return None
    return Because(
        "the others change with the length of the replaced sample and not with its content: padding to the longest"
        " sample of the batch takes part in the result.",
        "leave padded positions out: mask them, and divide by each sample's own length.",
    )


def batch_statistics(m: Mixing) -> Because | None:
    """A layer normalises with the statistics of the batch although the model is in eval mode."""
    if m.operation != "batch_norm":
        return None
    return Because(
        f"{_where(m)} normalises with the mean and variance of the batch also in eval mode (it keeps no running"
        " statistics).",
        "use track_running_stats=True, or a norm within the sample (GroupNorm, LayerNorm, InstanceNorm).",
    )


def normalised_over_batch(m: Mixing) -> Because | None:
    """A softmax or another normalisation runs over the samples."""
    if m.operation in _NORMALISATIONS:
        return Because(
            f"{_where(m)} normalises over the samples of the batch.",
            "normalise over the feature dimension: dim=-1 in place of dim=0.",
        )
    if m.operation in _STATISTICS:
        return Because(
            f"after {_where(m)} each row depends on the others: probably a mean, maximum or deviation over the whole"
            " batch was put into every sample.",
            "take statistics within a sample (dim=-1), or constants of the training set.",
        )
    return None


def view_mixes_samples(m: Mixing) -> Because | None:
    """A view or reshape cuts the memory anew where dimensions should have been exchanged."""
    if m.operation not in _VIEWS:
        return None
    return Because(
        f"{_where(m)} cuts the memory anew, so that one row now holds parts of several samples.",
        "exchange dimensions with transpose or permute; view only joins or splits neighbouring ones.",
    )


def wrong_batch_axis(m: Mixing) -> Because | None:
    """A sequence layer takes the batch for the sequence."""
    kind = str(m.module).rpartition("(")[2].rstrip(")")
    by_module = any(name in kind for name in _SEQUENCE_MODULES) and not kind.endswith("Cell")
    if m.operation not in _SEQUENCE and not by_module:
        return None
    return Because(
        f"{_where(m)} runs along the samples: probably it takes (sequence, batch, features) and was given"
        " (batch, sequence, features).",
        "build the layer with batch_first=True, or transpose its input.",
    )


def state_carried_over(m: Mixing) -> Because | None:
    """A state runs on from one sample to the next: only samples behind the replaced one change."""
    if m.size < _FEWEST or any(one.row < one.replaced for one in m.found):
        return None
    if len({one.replaced for one in m.found}) < m.size - 1:
        return None
    return Because(
        "a sample changes only those behind it, never those before: probably a state (a hidden state, a running"
        " value) goes on from one sample to the next.",
        "start each sample from a fresh state, inside the loop over the samples.",
    )


def samples_mixed(m: Mixing) -> Because | None:
    """An operation computes one sample's result from several samples."""
    if m.operation is None:
        return None
    return Because(
        f"up to {_where(m)} the samples are apart; after it a change of one shows in others.",
        "look at the dimension it works over, and at the order of the dimensions it is given.",
    )


# -- between positions -------------------------------------------------------------------------


def bidirectional_layer(m: Mixing) -> Because | None:
    """A recurrent layer also runs backwards."""
    if not m.bidirectional:
        return None
    return Because(
        f"{m.bidirectional[0]} is bidirectional: its backward half starts at the end.",
        "use bidirectional=False in a model that predicts what follows.",
    )


def mask_transposed(m: Mixing) -> Because | None:
    """Positions see what follows and nothing of what came before: the mask is upside down."""
    if m.past or m.size < _FEWEST:
        return None
    return Because(
        "positions depend on later inputs and on no earlier one: the mask is upside down (triu in place of tril, or"
        " True and False exchanged).",
        "transpose the mask, or invert it: in nn.MultiheadAttention True means 'may not attend'.",
    )


def mask_too_weak(m: Mixing) -> Because | None:
    """The mask adds a number that is not negative enough, so the future still shows faintly."""
    largest = max(one.relative for one in m.found)
    if largest >= _FAINT:
        return None
    return Because(
        f"the future shows faintly everywhere (at most {number(largest)} of the effect of the present): probably the"
        " mask adds a number that is not negative enough, or the masked scores are multiplied after the softmax.",
        "mask with float('-inf') or torch.finfo(dtype).min before the softmax.",
    )


def window_reaches_ahead(m: Mixing) -> Because | None:
    """Each position sees a fixed number of positions ahead: a mask one diagonal off, or padding on both sides."""
    ahead = max(one.replaced - one.row for one in m.found)
    reached = {one.replaced for one in m.found if one.replaced - one.row == ahead}
    if ahead > m.size - 2 or len(reached) < (m.size - ahead + 1) // 2:
        return None
    return Because(
        f"each position sees {plural(ahead, 'position')} ahead and no further: probably the mask begins one diagonal"
        " too far, or a convolution is padded on both sides.",
        "build the mask with triu(diagonal=1); pad convolutions on the left only: F.pad(x, (dilation * (kernel - 1), 0)).",
    )


def sees_whole_future(m: Mixing) -> Because | None:
    """Positions see everything that follows: no causal mask is applied, or a statistic runs over all time."""
    reach: dict[int, set[int]] = {}
    for one in m.found:
        reach.setdefault(one.row, set()).add(one.replaced)
    if m.size < _FEWEST or len(reach.get(0, ())) < m.size - 1:
        return None
    return Because(
        f"the first position depends on all {m.size - 1} later ones: probably no causal mask is applied, or a mean or"
        " deviation is taken over all positions.",
        "pass a causal mask (is_causal=True, or triu(diagonal=1) of -inf); use statistics of the past only.",
    )


BETWEEN_SAMPLES = (
    padding_counted,
    batch_statistics,
    wrong_batch_axis,
    state_carried_over,
    normalised_over_batch,
    view_mixes_samples,
    samples_mixed,
)
BETWEEN_POSITIONS = (
    bidirectional_layer,
    mask_transposed,
    mask_too_weak,
    window_reaches_ahead,
    sees_whole_future,
)


def finding(m: Mixing, *, positions: bool, notes: Sequence[str], msg: str | None) -> Finding:
    """Put the finding together."""
    reason = _reason(m, BETWEEN_POSITIONS if positions else BETWEEN_SAMPLES)
    rows = len({one.row for one in m.found})
    if positions:
        claim = f"the output at {rows} of {plural(m.size, 'position')} changes with later inputs"
        excuse = "claim it only of what is causal: pass forward= for that part"
    else:
        claim = f"the output of {rows} of {plural(m.size, 'sample')} changes with other samples of the batch"
        excuse = "pass forward= that leaves out what compares samples (in-batch negatives, a loss over pairs)"
    worst = sorted(m.found, key=lambda one: -one.relative)
    what = "position" if positions else "sample"
    return Finding(
        claim=claim,
        causes=(reason.cause,),
        reasons=(reason,),
        columns=(what, "replaced", "change", "own change of the replaced", "ratio"),
        rows=tuple(
            (str(one.row), str(one.replaced), number(one.change), number(one.own), number(one.relative))
            for one in worst
        ),
        on_purpose=excuse,
        notes=tuple(notes),
        msg=msg,
    )


def _reason(m: Mixing, rules: Sequence[object]) -> Reason:
    for rule in rules:
        because: Because | None = rule(m)  # type: ignore[operator]
        if because is not None:
            name = rule.__name__.replace("_", "-")  # type: ignore[attr-defined]
            return Reason(cause=name, because=because.text, fix=because.fix)
    pairs = ", ".join(f"{one.replaced} in {one.row}" for one in m.found[:5])
    return Reason(
        cause="unexplained",
        because=f"no known pattern fits: a change of {pairs}{' ...' if len(m.found) > 5 else ''} shows.",  # noqa: PLR2004
        fix="look for operations over the wrong dimension.",
    )
