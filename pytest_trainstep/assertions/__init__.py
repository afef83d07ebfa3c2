"""The voice: `watch` and the claims, one module per family: watch, judge, name the cause, raise."""

from .covering import assert_optimizer_covers as assert_optimizer_covers
from .detecting import assert_detects as assert_detects
from .evaluation import assert_evaluation_pure as assert_evaluation_pure
from .evaluation import assert_evaluation_repeatable as assert_evaluation_repeatable
from .gradients import assert_gradients_flow as assert_gradients_flow
from .gradients import assert_gradients_fresh as assert_gradients_fresh
from .gradients import assert_step_finite as assert_step_finite
from .independence import assert_positions_causal as assert_positions_causal
from .independence import assert_samples_independent as assert_samples_independent
from .learning import assert_batch_overfits as assert_batch_overfits
from .learning import assert_loss_falls as assert_loss_falls
from .learning import assert_loss_starts_at as assert_loss_starts_at
from .matching import assert_accumulation_matches as assert_accumulation_matches
from .matching import assert_update_matches as assert_update_matches
from .memory import assert_memory_flat as assert_memory_flat
from .resuming import assert_resume_matches as assert_resume_matches
from .runs import as_trainer as as_trainer
from .runs import assert_runs_reproduce as assert_runs_reproduce
from .sound import assert_step_sound as assert_step_sound
from .sound import parametrize_with_step_checks as parametrize_with_step_checks
from .watching import Watched as Watched
from .watching import watch as watch
from .weights import assert_weights_frozen as assert_weights_frozen
from .weights import assert_weights_update as assert_weights_update
