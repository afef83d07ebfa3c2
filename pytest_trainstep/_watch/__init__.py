"""The eyes: the only rooms that touch live tensors and attach to torch."""
