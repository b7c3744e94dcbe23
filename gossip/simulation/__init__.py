"""A cluster in one process: the real core on a virtual network and clock, replayed by its seed."""

from .cluster import Cluster, SimulatedPeer
from .network import Network

__all__ = ["Cluster", "Network", "SimulatedPeer"]
