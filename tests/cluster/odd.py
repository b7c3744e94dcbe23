"""A worker with something odd about it, for `Launcher(prefix=odd(...))`: python odd.py OPTION... PYTHON worker.py NAME

    wall=FILE   its wall clock is ahead by as many seconds as that file says, at every look
    burn=N      N threads of its host never rest
    wire=N      it speaks wire version N and understands N - 1 to N + 1
    later=1     it appends fields of a later version to all that it says and to its own records

It answers one command more, `later`: the unknown fields that it holds of each origin, as they were packed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LATER = ("later", 7, True, None, 2.5)  # whatever a later version may append


def odd(**options: object) -> tuple[str, ...]:
    """What the command line of such a worker begins with."""
    return (sys.executable, __file__, *(f"{name}={value}" for name, value in options.items()))


def packed(fields: tuple[object, ...]) -> str:
    """As they stand on the wire."""
    import msgpack  # here, and below: the clock is shifted first

    return str(msgpack.packb(fields).hex())


def _shift_wall(path: str) -> None:
    """Before anything else is imported, for some keep the function."""
    wall, wall_ns, said = time.time, time.time_ns, Path(path)

    def ahead() -> float:
        return float(said.read_text(encoding="utf-8") or 0)

    time.time = lambda: wall() + ahead()
    time.time_ns = lambda: wall_ns() + int(ahead() * 1e9)


def _burn(threads: str) -> None:
    def run() -> None:
        while True:
            pass

    for _ in range(int(threads)):
        threading.Thread(target=run, daemon=True).start()


def _speak(version: str) -> None:
    from gossip.core import codec, node

    codec.WIRE_VERSION = int(version)
    codec.WIRE_OLDEST, codec.WIRE_NEWEST = codec.WIRE_VERSION - 1, codec.WIRE_VERSION + 1
    node.Node.protocol = codec.WIRE_VERSION


def _append(_: str) -> None:
    """Records of others keep what they came with: a peer appends to what is its own."""
    from gossip.core import codec

    header_fields, instance_fields = codec.header_fields, codec.instance_fields

    def with_more(encode: Callable[[Any], tuple[int, tuple[Any, ...]]]) -> Callable[[Any], tuple[int, tuple[Any, ...]]]:
        def encoded(message: Any) -> tuple[int, tuple[Any, ...]]:
            kind, body = encode(message)
            return kind, (*body, *LATER)

        return encoded

    for message in codec._ENCODERS:
        if message is not codec.Heartbeat:  # of a fixed size
            codec._ENCODERS[message] = with_more(codec._ENCODERS[message])
    me = sys.argv[-1]
    codec.header_fields = lambda header: (*header_fields(header), *(LATER if header.name == me else ()))
    codec.instance_fields = lambda one, extra: (
        *instance_fields(one, extra),
        *(LATER if one.id.endswith(f"-{me}") and not extra else ()),
    )


ODDITIES = {"wall": _shift_wall, "burn": _burn, "wire": _speak, "later": _append}


def main() -> None:
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root))
    for option in sys.argv[1:-3]:
        name, _, value = option.partition("=")
        ODDITIES[name](value)
    from nodes import worker

    class Odd(worker.Worker):
        def __init__(self) -> None:
            super().__init__()
            self._commands["later"] = self._later

        def _later(self) -> dict[str, list[str]]:
            held = self._running()._node.local.table.origins.values()
            return {
                one.id: [packed(one.header.extra), *sorted(f"{key[1]} {packed(more)}" for key, more in one.extras.items())]
                for one in held
            }

    worker.Worker = Odd  # type: ignore[misc]
    sys.exit(worker.main())


if __name__ == "__main__":
    main()
