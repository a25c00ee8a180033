"""One curated night from scored responses, on a real local Ray cluster, shared by the stage tests."""

import pytest
from scored_world import World, curate, make_world, scored_rows

from sweetspot.config import Cluster
from tasks import _ray


@pytest.fixture(scope="session")
def ray_cluster():
    """A private local cluster for this test session."""
    with _ray.cluster(Cluster()) as dashboard:
        yield dashboard


@pytest.fixture(scope="session")
def curated(tmp_path_factory, ray_cluster) -> World:
    """A curated night; read it, do not change it."""
    return curate(make_world(tmp_path_factory.mktemp("curated"), scored_rows()))
