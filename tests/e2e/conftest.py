"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator

import pytest
from executable import AWKWARD, Fraudctl


@pytest.fixture(scope="module")
def fraudctl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fraudctl]:
    """A home of the module's own; whatever is deployed there is torn down at the end."""
    run = Fraudctl(tmp_path_factory.mktemp("home") / AWKWARD)
    yield run
    run("teardown", "--yes", code=None)
