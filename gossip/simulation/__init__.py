"""A cluster in one process: the real core on a virtual network and clock, replayed by its seed."""

from .cluster import Cluster
from .network import Harsh, Network, Weather
from .peers import SimulatedObserver, SimulatedPeer

__all__ = ["Cluster", "Harsh", "Network", "SimulatedObserver", "SimulatedPeer", "Weather"]
