"""`Report`: what became of a consumer's requests, as lines of text or JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

LATENCIES_MAX = 100_000  # so many of the last requests make the percentiles


class Report:
    """Counts requests by instance, and tells: each of them if wished, those without an answer in any case. Any thread."""

    def __init__(self, output: str, each: bool) -> None:
        self.unanswered = 0
        self._json = output == "json"
        self._each = each
        self._began = time.monotonic()
        self._lock = threading.Lock()  # several callers count and write
        self._answered: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_MAX)

    def add(
        self, number: int, key: str | None, instance: str | None, failed: Sequence[str], took_s: float, error: str | None
    ) -> None:
        """A request is over: the ids of who answered it (None: nobody), and of those who failed before."""
        told = {"kind": "request", "number": number, "key": key, "instance": instance, "failed": failed, "error": error}
        with self._lock:
            self._failed.update(failed)
            self._latencies_s.append(took_s)
            if instance is None:
                self.unanswered += 1
            else:
                self._answered[instance] += 1
            if self._each or instance is None:
                self._say({**told, "ms": round(took_s * 1000, 2)}, _request)

    def summary(self, kind: str) -> None:
        """Tell how it stands: a "summary" on the way, the "total" in the end."""
        with self._lock:
            self._say({"kind": kind, **self._counts()}, _summary if kind == "summary" else _total)

    def _counts(self) -> dict[str, Any]:
        took = sorted(self._latencies_s)
        p50, p99 = (round(took[int(share * (len(took) - 1))] * 1000, 2) if took else 0.0 for share in (0.50, 0.99))
        ids = sorted(self._answered.keys() | self._failed.keys())
        answered = sum(self._answered.values())
        return {
            "seconds": round(time.monotonic() - self._began, 1),
            "requests": answered + self.unanswered,
            "answered": answered,
            "unanswered": self.unanswered,
            "failed": sum(self._failed.values()),
            "instances": {id: {"answered": self._answered[id], "failed": self._failed[id]} for id in ids},
            "p50_ms": p50,
            "p99_ms": p99,
        }

    def _say(self, told: dict[str, Any], words: Callable[[dict[str, Any]], str]) -> None:
        try:
            print(json.dumps(told) if self._json else words(told), flush=True)
        except BrokenPipeError:  # nobody reads any more: as if told to stop
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            os.kill(os.getpid(), signal.SIGTERM)


def _request(told: dict[str, Any]) -> str:
    whose = f" {told['key']}" if told["key"] else ""
    after = f", after {', '.join(told['failed'])} failed" if told["failed"] and told["instance"] else ""
    answer = told["instance"] or f"UNANSWERED: {told['error']}"
    return f"{told['number']:>6}{whose} {told['ms']:>8.1f} ms  {answer}{after}"


def _summary(told: dict[str, Any]) -> str:
    shares = ", ".join(f"{id} {counts['answered']}" for id, counts in told["instances"].items())
    counts = "{seconds:>6.1f} s {requests:>7} requests, failed tries {failed}, unanswered {unanswered}".format(**told)
    return f"{counts}; {_latencies(told)}; {shares}"


def _total(told: dict[str, Any]) -> str:
    width = max([len(id) for id in told["instances"]], default=0)
    lines = [
        f"  {id:<{width}} {counts['answered']:>7} answered {counts['failed']:>5} failed"
        for id, counts in told["instances"].items()
    ]
    head = "{requests} requests in {seconds} s: {answered} answered, {unanswered} not; failed tries {failed}".format(**told)
    return "\n".join([f"{head}; {_latencies(told)}", *lines])


def _latencies(told: dict[str, Any]) -> str:
    return "p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms".format(**told)
