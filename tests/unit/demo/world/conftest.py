"""One city for all tests that only look at it."""

import pytest

from labelgen.demo.world import City


@pytest.fixture(scope="session")
def city() -> City:
    return City(100_003)
