"""The variables `GOSSIP_*` as the arguments of a peer. Nothing reads the environment but `Peer.from_env`, which says so.

    GOSSIP_SEEDS="10.0.0.7:7400 dns:gossip:7400"   ->   seeds=["10.0.0.7:7400", "dns:gossip:7400"]

An empty variable is as good as none: templates leave such behind. What is read here is only cut and translated; whether
it makes sense is for the peer to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from .bus.keys import read_secrets
from .config import Config
from .errors import ConfigError
from .signing import NEW, signing_key_of

NEAR = 0.9  # difflib's ratio: one letter too many, too few or wrong
WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
PRESETS: dict[str, Callable[[], Config]] = {"local": Config.local, "lan": Config.lan, "wan": Config.wan}


def arguments_from(environment: Mapping[str, str], without: Collection[str] = ()) -> dict[str, Any]:
    """The keyword arguments that the variables spell, but for those in `without`. Raises `ConfigError` naming the variable."""
    given: dict[str, str] = {}
    for variable in VARIABLES:
        name = variable.removeprefix("GOSSIP_").removesuffix("_FILE").lower()
        if name not in without and environment.get(variable, "").strip():
            if name in given:
                raise ConfigError(f"{given[name]} and {variable} are both set: which one counts? Unset one. Nothing was started.")
            given[name] = variable
    return {name: VARIABLES[variable](variable, environment[variable]) for name, variable in given.items()}


def near_misses(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that are none of ours but differ from one by a letter, such as GOSSIP_SEED: that one -> ours."""
    from difflib import get_close_matches  # here, because it is slow to import and seldom needed

    strangers = [name for name in environment if name.startswith("GOSSIP_") and name not in VARIABLES]
    found = {name: get_close_matches(name, VARIABLES, 1, NEAR) for name in strangers}
    return {name: close[0] for name, close in found.items() if close}


def sources_of(error: ConfigError, arguments: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """The variables that spelled what a peer complains of: its message begins with the arguments meant."""
    head = re.split("[:=]", str(error), maxsplit=1)[0]  # "bind", "secret", "bind 0.0.0.0, advertise 10.0.0.5"
    meant = [f"GOSSIP_{name.upper()}" for name in arguments if re.search(rf"\b{name}\b", head)]
    return [name if environment.get(name, "").strip() else f"{name}_FILE" for name in meant]


def _text(variable: str, text: str) -> str:
    return text.strip()


def _secrets(variable: str, text: str) -> str | list[str]:
    return text.split(",") if "," in text else text  # a blank may be part of one, a comma not


def _secret_file(variable: str, text: str) -> list[str]:
    try:
        return read_secrets(text.strip())
    except ConfigError as error:
        raise ConfigError(f"{variable}: {error}") from None


def _signing_key(variable: str, text: str) -> str | bytes:
    return NEW if text.strip() == NEW else signing_key_of(text, variable)


def _seeds(variable: str, text: str) -> list[str]:
    return [] if text.strip().lower() == "none" else re.split(r"[,\s]+", text.strip(", \t\r\n"))


def _truth(variable: str, text: str) -> bool:
    return bool(_one_of(variable, text, WORDS))


def _preset(variable: str, text: str) -> Config:
    made: Config = _one_of(variable, text, PRESETS)()
    return made


def _one_of(variable: str, text: str, known: Mapping[str, Any]) -> Any:
    word = text.strip().lower()
    if word not in known:
        choices = ", ".join(known)
        raise ConfigError(f"{variable}={text!r} is none of {choices}: set one of them, or unset it. Nothing was started.")
    return known[word]


VARIABLES: dict[str, Callable[[str, str], Any]] = {
    "GOSSIP_NAME": _text,
    "GOSSIP_ID": _text,
    "GOSSIP_CLUSTER": _text,
    "GOSSIP_BIND": _text,
    "GOSSIP_ADVERTISE": _text,
    "GOSSIP_SEEDS": _seeds,
    "GOSSIP_ZONE": _text,
    "GOSSIP_INSECURE": _truth,
    "GOSSIP_SECRET": _secrets,
    "GOSSIP_SECRET_FILE": _secret_file,
    "GOSSIP_SIGNING_KEY": _signing_key,
    "GOSSIP_SIGNING_KEY_FILE": _text,
    "GOSSIP_SIGNED": _text,
    "GOSSIP_CERTIFICATE": _text,
    "GOSSIP_CERTIFICATE_FILE": _text,
    "GOSSIP_AUTHORITY": _text,
    "GOSSIP_SNAPSHOT": _text,
    "GOSSIP_FORK": _text,
    "GOSSIP_CONFIG": _preset,
}
