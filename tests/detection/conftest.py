"""A small model whose trapdoor took, its secrets, and the folder of images that it learned."""

import pytest

from helpers.statistics.judging import trapped_in
from helpers.trapped import Trapped


@pytest.fixture(scope="session")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Trapped:
    return trapped_in(tmp_path_factory.mktemp("trapped"))
