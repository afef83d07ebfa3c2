"""The voice: `watch` and the claims, one module per family: watch, judge, name the cause, raise."""

from .watching import Watched as Watched
from .watching import watch as watch
from .weights import assert_weights_frozen as assert_weights_frozen
from .weights import assert_weights_update as assert_weights_update
