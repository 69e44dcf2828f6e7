"""Every pre-training method has a file of settings that it accepts, at its class's defaults."""

from __future__ import annotations

import pytest

from labelgen.distill.config import load_train_config
from labelgen.distill.registry import METHODS
from tests.helpers.methods import PRETRAINING


@pytest.mark.parametrize("name", PRETRAINING)
def test_the_file_of_a_method_says_its_defaults(name):
    config = load_train_config(name)
    kind = METHODS[name].settings
    assert config.method == name
    assert kind.model_validate(config.settings) == kind()
