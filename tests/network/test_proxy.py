"""One peer of four is reached by the others through a TCP proxy that misbehaves; itself it reaches them directly.

That is a peer behind a NAT with two forwarded ports. No root is needed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from nodes.launch import Launcher, Told, Worker, ask_all, until

from ..cluster.conftest import nobody_hidden, of_member, register_one_each
from ..ports import free_ports
from .proxy import Proxy

OTHERS = 3
PATIENCE_S = 60.0  # for what must come to pass; how soon is not asked here
DELAY_S = 0.3


@dataclass
class Setting:
    """Three peers, and one behind proxies: one for each of its two ports."""

    cluster: Launcher
    others: list[Worker]
    behind: Worker
    proxies: list[Proxy]
    registered: int = 1 + OTHERS

    @property
    def workers(self) -> list[Worker]:
        """All of them."""
        return [*self.others, self.behind]

    def each(self, order: Callable[[Proxy], None]) -> None:
        """Give both proxies an order."""
        for proxy in self.proxies:
            order(proxy)

    def register(self, worker: Worker) -> None:
        """One instance more."""
        worker.call("register", service="orders", id=f"more-{self.registered}", port=9000 + self.registered)
        self.registered += 1

    def agree(self) -> None:
        """All see all, and what each registered."""
        self.cluster.agree(self.workers, {"orders": self.registered}, PATIENCE_S)

    def linked(self) -> None:
        """Each has a link to each."""
        until(lambda: all(s["links"] >= OTHERS for s in ask_all(self.workers, "status")), PATIENCE_S, "links")

    def hidden(self) -> None:
        """The one behind is hidden from all others."""
        for worker in self.others:
            worker.wait_event(of_member("MEMBER_DEAD", self.behind.id), PATIENCE_S, f"MEMBER_DEAD at {worker.name}")

    def told(self) -> None:
        """The one behind, to whom all looks well, says to its user what the others hold against it."""

        def says_so(event: Told) -> bool:
            return event["kind"] == "NOTICE" and self.behind.address in event["reason"]

        self.behind.wait_event(says_so, PATIENCE_S, "a NOTICE that names the address that is not reached")


@contextmanager
def standing() -> Iterator[Setting]:
    with ExitStack() as stack:
        cluster = stack.enter_context(Launcher(f"test-{uuid.uuid4().hex}"))
        ports = free_ports(2)
        proxies = [stack.enter_context(Proxy(port)) for port in ports]
        addresses = [",".join(str(port) for port in two) for two in (ports, [proxy.port for proxy in proxies])]
        others = cluster.peers([f"p{number}" for number in range(OTHERS)])
        behind = cluster.peer("behind", bind=f"127.0.0.1:{addresses[0]}", advertise=f"127.0.0.1:{addresses[1]}")
        made = Setting(cluster, others, behind, proxies)
        register_one_each(made.workers)
        made.agree()
        made.linked()
        yield made


@pytest.fixture
def setting() -> Iterator[Setting]:
    with standing() as made:
        yield made


def test_a_peer_behind_forwarded_ports_is_a_member_like_any_other(setting: Setting) -> None:
    assert all(proxy.connections for proxy in setting.proxies[1:])  # the others' links do pass through here
    setting.register(setting.behind)
    setting.agree()
    nobody_hidden(setting.workers)


def test_a_delay_hides_nobody_and_changes_get_through(setting: Setting) -> None:
    setting.each(lambda proxy: proxy.delay(DELAY_S))
    setting.register(setting.behind)
    setting.register(setting.others[0])
    setting.agree()
    setting.each(Proxy.restore)
    nobody_hidden(setting.workers)


def test_connections_that_are_cut_are_made_again_and_nobody_is_hidden(setting: Setting) -> None:
    for _ in range(3):
        setting.each(Proxy.hang_up)
        setting.linked()
    setting.register(setting.behind)
    setting.agree()
    nobody_hidden(setting.workers)


def test_a_peer_whose_ports_refuse_is_hidden_and_is_back_when_they_answer(setting: Setting) -> None:
    setting.each(Proxy.refuse)
    setting.hidden()
    setting.told()
    setting.register(setting.behind)
    setting.register(setting.others[0])
    setting.each(Proxy.restore)
    setting.agree()
    nobody_hidden(setting.workers, but=[setting.behind])


def test_a_peer_whose_publisher_alone_refuses_is_not_hidden_and_its_changes_get_through(setting: Setting) -> None:
    publisher = setting.proxies[1]
    publisher.refuse()
    until(lambda: all(s["links"] < OTHERS for s in ask_all(setting.others, "status")), PATIENCE_S, "the links to end")
    setting.register(setting.behind)
    setting.register(setting.others[0])
    setting.agree()
    publisher.restore()
    setting.linked()
    nobody_hidden(setting.workers)


def test_a_peer_whose_ports_are_frozen_is_hidden_and_is_back_when_they_thaw(setting: Setting) -> None:
    setting.each(Proxy.freeze)
    setting.hidden()
    setting.told()
    setting.register(setting.behind)
    setting.each(Proxy.restore)
    setting.agree()
    setting.linked()
    nobody_hidden(setting.workers, but=[setting.behind])


def test_half_open_links_hide_nobody_and_what_they_do_not_carry_comes_another_way(setting: Setting) -> None:
    setting.each(Proxy.half_open)
    for _ in range(3):
        setting.register(setting.behind)
        setting.agree()
    nobody_hidden(setting.workers)
