"""`GOSSIP_*` as arguments: what is read, what wins, and what an error names."""

from __future__ import annotations

import inspect
import os
from typing import Any

import pytest

from gossip import AsyncPeer, Config, ConfigError, InsecureWarning, Peer
from gossip.environment import VARIABLES, arguments_from, near_misses


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable of ours is set but those of the test."""
    for variable in [name for name in os.environ if name.startswith("GOSSIP_")]:
        monkeypatch.delenv(variable)
    return monkeypatch


ALL = {
    "GOSSIP_NAME": "orders-1",
    "GOSSIP_ID": "orders-1-a",
    "GOSSIP_CLUSTER": "shop",
    "GOSSIP_BIND": "127.0.0.1:7400",
    "GOSSIP_ADVERTISE": "127.0.0.2",
    "GOSSIP_SEEDS": "127.0.0.3:7400",
    "GOSSIP_ZONE": "a",
    "GOSSIP_INSECURE": "yes",
    "GOSSIP_SECRET": " with blanks ",
    "GOSSIP_SIGNED": "optional",
    "GOSSIP_SNAPSHOT": "/var/lib/gossip",
    "GOSSIP_FORK": "raise",
    "GOSSIP_CONFIG": "wan",
}


def test_each_variable_is_an_argument() -> None:
    elsewhere = {"GOSSIP_SECRET_FILE", "GOSSIP_SIGNING_KEY", "GOSSIP_SIGNING_KEY_FILE"}
    elsewhere |= {"GOSSIP_CERTIFICATE", "GOSSIP_CERTIFICATE_FILE", "GOSSIP_AUTHORITY"}
    assert set(ALL) | elsewhere == set(VARIABLES), "see test_secret_files.py, test_signing.py and test_authority.py for these"
    assert arguments_from(ALL) == {
        "name": "orders-1",
        "id": "orders-1-a",
        "cluster": "shop",
        "bind": "127.0.0.1:7400",
        "advertise": "127.0.0.2",
        "seeds": ["127.0.0.3:7400"],
        "zone": "a",
        "insecure": True,
        "secret": " with blanks ",
        "snapshot": "/var/lib/gossip",
        "signed": "optional",
        "fork": "raise",
        "config": Config.wan(),
    }


def test_nothing_set_is_nothing_given() -> None:
    assert arguments_from({}) == {}


@pytest.mark.parametrize("empty", ["", " ", "\n"])
def test_an_empty_variable_is_as_good_as_none(empty: str) -> None:
    assert arguments_from(dict.fromkeys(VARIABLES, empty)) == {}


def test_what_kubernetes_sets_for_a_service_called_gossip_is_ignored() -> None:
    injected = {
        "GOSSIP_PORT": "tcp://10.96.0.7:7400",
        "GOSSIP_PORT_7400_TCP": "tcp://10.96.0.7:7400",
        "GOSSIP_PORT_7400_TCP_ADDR": "10.96.0.7",
        "GOSSIP_PORT_7400_TCP_PORT": "7400",
        "GOSSIP_PORT_7400_TCP_PROTO": "tcp",
        "GOSSIP_SERVICE_HOST": "10.96.0.7",
        "GOSSIP_SERVICE_PORT": "7400",
        "GOSSIP_SERVICE_PORT_CONTACT": "7400",
        "GOSSIP_SEEDS_SERVICE_HOST": "10.96.0.8",
        "GOSSIP_SEEDS_PORT": "tcp://10.96.0.8:7400",
    }
    assert arguments_from(injected) == {}
    assert near_misses(injected) == {}


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("127.0.0.1:1", ["127.0.0.1:1"]),
        ("127.0.0.1:1,127.0.0.1:2", ["127.0.0.1:1", "127.0.0.1:2"]),
        (" 127.0.0.1:1 \n\t[::1]:2 , dns:a:3,,file:/etc/seeds,", ["127.0.0.1:1", "[::1]:2", "dns:a:3", "file:/etc/seeds"]),
        ("none", []),
        (" NONE\n", []),
    ],
)
def test_seeds_stand_apart_by_commas_or_blanks_and_none_is_alone(text: str, seeds: list[str]) -> None:
    assert arguments_from({"GOSSIP_SEEDS": text}) == {"seeds": seeds}


@pytest.mark.parametrize(
    ("text", "truth"),
    [("1", True), ("true", True), ("YES", True), ("on ", True), ("0", False), ("False", False), ("no", False), ("off", False)],
)
def test_insecure_is_a_word_for_yes_or_no(text: str, truth: bool) -> None:
    assert arguments_from({"GOSSIP_INSECURE": text}) == {"insecure": truth}


@pytest.mark.parametrize(
    ("variable", "text", "choices"),
    [("GOSSIP_INSECURE", "maybe", "1, true, yes, on, 0, false, no, off"), ("GOSSIP_CONFIG", "fast", "local, lan, wan")],
)
def test_another_word_is_an_error_that_names_the_variable_and_the_choice(variable: str, text: str, choices: str) -> None:
    with pytest.raises(ConfigError, match=f"^{variable}='{text}' is none of {choices}"):
        arguments_from({variable: text})


@pytest.mark.parametrize(("text", "preset"), [("local", Config.local()), ("LAN", Config.lan()), ("wan", Config.wan())])
def test_config_is_a_preset(text: str, preset: Config) -> None:
    assert arguments_from({"GOSSIP_CONFIG": text}) == {"config": preset}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("GOSSIP_SEED", "GOSSIP_SEEDS"),
        ("GOSSIP_ADVERTISED", "GOSSIP_ADVERTISE"),
        ("GOSSIP_BIMD", "GOSSIP_BIND"),
        ("GOSSIP_CLUSTERS", "GOSSIP_CLUSTER"),
    ],
)
def test_a_variable_that_misses_one_of_ours_by_a_letter_is_noticed(given: str, meant: str) -> None:
    assert near_misses({given: "x", **ALL, "SEEDS": "x", "PATH": "x"}) == {given: meant}


# peers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Peer, AsyncPeer])
def test_a_peer_from_the_environment_is_of_its_own_class(environment: pytest.MonkeyPatch, kind: Any) -> None:
    class Own(kind):  # type: ignore[misc]
        """A user's."""

    environment.setenv("GOSSIP_NAME", "orders-1")
    peer = Own.from_env()
    assert (type(peer), peer.name) == (Own, "orders-1")


def test_a_peer_never_reads_the_environment_unasked(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOSSIP_NAME", "orders-1")
    environment.setenv("GOSSIP_INSECURE", "maybe")
    environment.setenv("GOSSIP_SEED", "127.0.0.1:1")
    assert Peer("mine").name == "mine"


def test_an_override_wins_and_what_it_replaces_is_not_even_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOSSIP_NAME", "orders-1")
    environment.setenv("GOSSIP_ID", "orders-1-a")
    environment.setenv("GOSSIP_INSECURE", "maybe")
    peer = Peer.from_env(name="mine", insecure=False)
    assert (peer.name, peer.id) == ("mine", "orders-1-a")


def test_an_override_of_none_wins_too(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOSSIP_ID", "orders-1-a")
    environment.setenv("GOSSIP_SECRET", "s")
    assert Peer.from_env(name="mine", id=None, secret=None).id.startswith("mine-")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("GOSSIP_NAME", "two words"),
        ("GOSSIP_ID", "two words"),
        ("GOSSIP_CLUSTER", "two words"),
        ("GOSSIP_ZONE", "two words"),
        ("GOSSIP_BIND", "somewhere"),
        ("GOSSIP_BIND", "::1:7400"),
        ("GOSSIP_BIND", "0.0.0.0:7400"),
        ("GOSSIP_ADVERTISE", "0.0.0.0"),
        ("GOSSIP_SEEDS", "127.0.0.1"),
        ("GOSSIP_SEEDS", "dns:gossip:7400"),
        ("GOSSIP_SEEDS", "none,127.0.0.1:1"),
        ("GOSSIP_FORK", "maybe"),
    ],
)
def test_what_a_peer_refuses_is_told_with_the_variable_that_said_so(
    environment: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    environment.setenv("GOSSIP_CONFIG", "lan")
    environment.setenv(variable, text)
    with pytest.raises(ConfigError, match=rf"\(From the environment: {variable}\.\)$"):
        Peer.from_env()


def test_what_the_caller_said_is_not_blamed_on_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOSSIP_NAME", "orders-1")
    environment.setenv("GOSSIP_BIND", "127.0.0.1:0")
    with pytest.raises(ConfigError) as told:
        Peer.from_env(bind="somewhere")
    assert "From the environment" not in str(told.value)


def test_an_open_address_of_the_environment_warns_as_any_other(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOSSIP_BIND", "0.0.0.0:7400")
    environment.setenv("GOSSIP_ADVERTISE", "10.0.0.5")
    with pytest.raises(ConfigError, match=r"beyond this machine.*\(From the environment: GOSSIP_BIND, GOSSIP_ADVERTISE\.\)$"):
        Peer.from_env()
    environment.setenv("GOSSIP_INSECURE", "1")
    with pytest.warns(InsecureWarning, match="bind 0.0.0.0, advertise 10.0.0.5"):
        Peer.from_env()


def test_a_near_miss_is_warned_of_where_the_peer_is_made(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOSSIP_SEED", "127.0.0.1:7400")
    with pytest.warns(UserWarning, match="^the environment variable GOSSIP_SEED is ignored: is GOSSIP_SEEDS meant") as told:
        Peer.from_env()
    assert told[0].filename == __file__


def test_every_argument_has_a_variable() -> None:
    arguments = {f"GOSSIP_{name.upper()}" for name in inspect.signature(Peer).parameters}
    assert arguments | {"GOSSIP_SECRET_FILE", "GOSSIP_SIGNING_KEY_FILE", "GOSSIP_CERTIFICATE_FILE"} == set(VARIABLES)
