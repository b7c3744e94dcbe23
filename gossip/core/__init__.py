"""The protocol, pure: no clock, no socket, no thread, no randomness of its own, no log."""
