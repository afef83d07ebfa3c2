"""Hypothesis strategies for models, devices, learning rates and whole training set-ups.

They find the model, device or learning rate on which a training step silently does nothing, and shrink it to the
smallest, printed as code. See docs/strategies.md.
"""

from __future__ import annotations

from pytest_trainstep.strategies._batches import Batch as Batch
from pytest_trainstep.strategies._devices import Device as Device
from pytest_trainstep.strategies._factories import FactorySetup as FactorySetup
from pytest_trainstep.strategies._factories import setups_for as setups_for
from pytest_trainstep.strategies._live import warm_up
from pytest_trainstep.strategies._parts import batches as batches
from pytest_trainstep.strategies._parts import devices as devices
from pytest_trainstep.strategies._parts import dtypes as dtypes
from pytest_trainstep.strategies._parts import learning_rates as learning_rates
from pytest_trainstep.strategies._parts import losses as losses
from pytest_trainstep.strategies._parts import models as models
from pytest_trainstep.strategies._parts import optimizers as optimizers
from pytest_trainstep.strategies._parts import schedulers as schedulers
from pytest_trainstep.strategies._property import check_train_step as check_train_step
from pytest_trainstep.strategies._setup import TrainingSetup as TrainingSetup
from pytest_trainstep.strategies._setups import training_setups as training_setups
from pytest_trainstep.strategies._specs import LossSpec as LossSpec
from pytest_trainstep.strategies._specs import ModelSpec as ModelSpec
from pytest_trainstep.strategies._specs import OptimizerSpec as OptimizerSpec
from pytest_trainstep.strategies._specs import SchedulerSpec as SchedulerSpec

warm_up()
