"""The pytest plugin of gossip-registry: the fixture `gossip_cluster`. It stands beside the package, so that a run of pytest
that does not use it imports neither gossip nor anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gossip.simulation import Cluster


@pytest.fixture
def gossip_cluster() -> Cluster:
    """An empty simulated cluster: no sockets, no threads, no waiting; the same run every time."""
    from gossip.simulation import Cluster  # here, because most runs of pytest never ask

    return Cluster(seed=0)
