"""The faults that can be planted, by name. Apart from the other words, because every start of pytest reads them."""

from __future__ import annotations

FAULTS = {
    "noop-step": "optimizer.step() changes no weight",
    "noop-backward": "backward() computes no gradient",
    "zero-lr": "the learning rate is 0 at every step",
    "stale-gradients": "zero_grad() clears nothing",
    "flipped-gradient": "every gradient has the opposite sign",
    "partial-step": "optimizer.step() leaves out one parameter group, or one parameter in four",
    "detached-loss": "the loss is detached from the model",
}
"""Every fault, and what is wrong while it is planted."""

SCORED = ("noop-step", "noop-backward", "zero-lr")
"""Training does nothing at all under these: no test of training has a reason to pass."""
