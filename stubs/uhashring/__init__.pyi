"""What this project uses of uhashring: a ring that is built once and then read, by any thread.

Left out on purpose: what changes a ring in place (`add_node`, `remove_node`, `regenerate`), because a ring must not
change while it is read, and `range`, because it walks with a copy. The points of a node are `hash_fn(f"{name}-{i}")`
for every `i` below `vnodes * weight`.
"""

from collections.abc import Callable, KeysView
from typing import Literal, TypedDict, type_check_only

@type_check_only
class _Node(TypedDict, total=False):
    hostname: str
    instance: object
    nodename: str
    port: int | None
    vnodes: int
    weight: int

class HashRing:
    hashi: Callable[[str], int]
    def __init__(
        self,
        nodes: str | list[str] | dict[str, int] | dict[str, dict[str, int]] | dict[str, _Node] = ...,
        *,
        hash_fn: Callable[[str], int] | Literal["ketama"] | None = None,
        vnodes: int | None = None,
        weight_fn: Callable[..., int] | None = None,
    ) -> None: ...
    def get_key(self, key: str) -> int: ...
    def get_node(self, key: str) -> str | None: ...
    def get_node_weight(self, key: str) -> int | None: ...
    def get_nodes(self) -> KeysView[str]: ...
    def get_points(self) -> list[tuple[int, str]]: ...
    @property
    def nodes(self) -> dict[str, _Node]: ...
    @property
    def distribution(self) -> dict[str, int]: ...
    @property
    def ring(self) -> dict[int, str]: ...
    @property
    def size(self) -> int: ...
