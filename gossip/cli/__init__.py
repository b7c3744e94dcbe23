"""The command `gossip`, over the public API only."""
