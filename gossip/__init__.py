"""A service registry that lives inside its users: no server, lookups from memory, changes told over ZeroMQ."""

__version__ = "0.1.0"
