"""Runnable processes: a worker (one peer), a launcher (a cluster of them), a provider, a consumer, a demonstration."""
