"""From shared secrets to CURVE keys. Who has a secret has all that is made of it; nobody else can make any of it.

    secret ──HKDF-SHA256 (RFC 5869)──▶ server key pair   known to whoever dials: only a member can answer
                                   ──▶ client key pair   known to whoever is dialled: only a member can ask

A `Keyring` holds the keys of one secret, or of several while one replaces another. The secrets themselves are not kept.
Invariant: neither a secret nor a private key is ever part of a `repr`, an error, a pickle or a log line.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import NoReturn

import zmq
from zmq.utils import z85

from ..errors import ConfigError

SECRET_BYTES_MIN = 32
SECRET_BYTES_MAX = 1024
SECRETS_MAX = 4  # at once; a rotation needs two
DISTINCT_BYTES_MIN = 8  # 32 random bytes have some 30, 32 hex digits some 14
FILE_BYTES_MAX = 64 * 1024
KEY_BYTES = 32
SALT = b"gossip-registry/curve/1"  # a change of anything here makes peers strangers to each other

ADVICE = "Make one with `gossip keygen`. Nothing was changed."


class Keys:
    """The two CURVE key pairs of one secret, as raw bytes. Equal where the secrets are equal."""

    __slots__ = ("client_public", "client_secret", "server_public", "server_secret")

    def __init__(self, secret: bytes) -> None:
        self.server_public, self.server_secret = _pair(secret, b"server")
        self.client_public, self.client_secret = _pair(secret, b"client")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keys) and self.client_public == other.client_public

    def __hash__(self) -> int:
        return hash(self.client_public)

    def __repr__(self) -> str:
        return "<keys of a secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("the keys of a secret are not pickled or copied: they would leave the process. Pass the secret itself")

    def dress_server(self, socket: zmq.SyncSocket) -> None:
        """What is bound from now on lets in only who knows the server key; ZAP then says who."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.server_secret)

    def dress_client(self, socket: zmq.SyncSocket) -> None:
        """What is dialled from now on must prove that it has the server key."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.server_public)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.client_public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.client_secret)


class Keyring:
    """The keys of all secrets that are valid now, the newest first. Immutable; at least one."""

    __slots__ = ("_all", "_clients")

    def __init__(self, keys: Sequence[Keys]) -> None:
        self._all = tuple(keys)
        self._clients = frozenset(key.client_public for key in keys)

    def __iter__(self) -> Iterator[Keys]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, keys: object) -> bool:
        return keys in self._all

    def __getitem__(self, index: int) -> Keys:
        return self._all[index]

    def __repr__(self) -> str:
        return f"<keyring of {len(self._all)} secrets>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring is not pickled or copied: it would leave the process. Pass the secrets themselves")

    def admits(self, client_public: bytes) -> bool:
        """Whether whoever proved to have the private key of this one is a member."""
        return client_public in self._clients


def keyring_of(secret: str | bytes | Sequence[str | bytes]) -> Keyring:
    """The keys of a secret, or of several, the newest first. Raises `ConfigError` for a weak one, without showing it."""
    if not zmq.has("curve"):
        raise ConfigError("secret=...: this libzmq was built without CURVE. Install a wheel of pyzmq, or build it with libsodium")
    given = [secret] if isinstance(secret, (str, bytes)) else secret
    if not isinstance(given, Sequence) or isinstance(given, (bytearray, memoryview)):
        raise ConfigError(f"secret: it is a {type(secret).__name__}, not a str, bytes, or a list of them. {ADVICE}")
    if not 0 < len(given) <= SECRETS_MAX:
        raise ConfigError(f"secret: a list of {len(given)}; it takes 1 to {SECRETS_MAX}, the newest first. Nothing was changed.")
    return Keyring(list(dict.fromkeys(Keys(_checked(one)) for one in given)))


def read_secrets(path: str | os.PathLike[str]) -> list[str]:
    """The secrets in a file, one a line, the newest first; lines that begin with # are comments. Raises `ConfigError`.

    A file that others than its owner may read or write is refused.
    """
    found = private_lines(path, "secret file", ADVICE)
    if not 0 < len(found) <= SECRETS_MAX:
        raise ConfigError(
            f"secret file {os.fspath(path)!r}: it holds {len(found)} secrets; it takes 1 to {SECRETS_MAX}, one a line, the "
            f"newest first. {ADVICE}"
        )
    return found


def private_lines(path: str | os.PathLike[str], what: str, advice: str) -> list[str]:
    """The lines of a file that nobody but its owner may read, but for blanks and comments. Raises `ConfigError`."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what} {os.fspath(path)!r}: cannot read it: {_why(error)}. {advice}") from None
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(
            f"{what} {os.fspath(path)!r}: others than its owner may read or change it (mode {mode & 0o777:04o}). "
            f"Run `chmod 600 {os.fspath(path)}`. Nothing was changed."
        )
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise ConfigError(f"{what} {os.fspath(path)!r}: it is no text in UTF-8. {advice}") from None
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(f"{what} {os.fspath(path)!r}: it has more than {FILE_BYTES_MAX} bytes. {advice}")
    return [line for line in lines if line and not line.startswith("#")]


def new_secret() -> str:
    """A fresh secret of 256 random bits: 43 characters of A-Z a-z 0-9 - _."""
    return secrets.token_urlsafe(KEY_BYTES)


def write_secret(path: str | os.PathLike[str], secret: str) -> None:
    """Write a secret to a new file that its owner alone may read. Raises `ConfigError`; nothing is overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(f"{secret}\n")
        except BaseException:
            os.unlink(path)  # empty or cut off, it would keep the next try from writing
            raise
    except FileExistsError:
        raise ConfigError(f"{os.fspath(path)!r} exists, and a secret in it would be lost. Name another file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{os.fspath(path)!r}: cannot write it: {_why(error)}. Name another file") from None


def _why(error: OSError | ValueError) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "it is no file name"


def _checked(secret: object) -> bytes:
    if not isinstance(secret, (str, bytes)):
        raise ConfigError(f"secret: it is a {type(secret).__name__}, not a str or bytes. {ADVICE}")
    try:
        raw = secret.strip().encode() if isinstance(secret, str) else secret  # files and templates leave a line end behind
    except UnicodeEncodeError:
        raise ConfigError(f"secret: it cannot be written in UTF-8. {ADVICE}") from None
    if not SECRET_BYTES_MIN <= len(raw) <= SECRET_BYTES_MAX:
        raise ConfigError(
            f"secret: it has {len(raw)} bytes; it takes {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}. {ADVICE}"
        )
    if len(set(raw)) < DISTINCT_BYTES_MIN:
        raise ConfigError(f"secret: it consists of {len(set(raw))} different bytes only, and could be guessed. {ADVICE}")
    if any(raw[period:] == raw[:-period] for period in range(1, len(raw) // 2 + 1)):
        raise ConfigError(f"secret: it repeats itself, and could be guessed. {ADVICE}")
    return raw


def _pair(secret: bytes, use: bytes) -> tuple[bytes, bytes]:
    """Public and private key, as raw bytes."""
    private = hkdf_sha256(secret, salt=SALT, info=use, length=KEY_BYTES)
    return z85.decode(zmq.curve_public(z85.encode(private))), private


def hkdf_sha256(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """Extract, then expand. RFC 5869."""
    key = hmac.digest(salt or bytes(hashlib.sha256().digest_size), secret, "sha256")
    block, made = b"", b""
    for number in range(1, -(-length // hashlib.sha256().digest_size) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        made += block
    return made[:length]
