"""What clients send, as checked values. Everything raises `Problem`, and then nothing was done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from .problems import Problem
from .settings import Bounds

SHOWN_MAX = 64


class Answer(JSONResponse):
    """JSON as Python writes it, with blanks: the original's answers are kept to the letter."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode(errors="replace")


def shown(value: object) -> str:
    """A client's value as an error repeats it."""
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…"


async def json_of(request: Request, bounds: Bounds) -> dict[str, Any]:
    """The body, a JSON object."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        said = f"it is {shown(media_type)}" if media_type else "it is missing"
        raise Problem(415, f"The Content-Type must be application/json; {said}. Nothing was changed.")
    body = await _body(request, bounds)
    try:
        found = json.loads(body, parse_constant=_no_number, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise Problem(400, f"The body is not JSON: {str(error)[:200]}. Nothing was changed.") from None
    if not isinstance(found, dict):
        raise Problem(400, f"The body is the JSON value {shown(found)}, not an object {{…}}. Nothing was changed.")
    return found


async def _body(request: Request, bounds: Bounds) -> bytes:
    try:
        return await asyncio.wait_for(_read(request, bounds.body_bytes_max), bounds.body_timeout_s)
    except (TimeoutError, asyncio.TimeoutError):
        text = f"The body was not there after {bounds.body_timeout_s:g} s. Nothing was changed; send it in one go."
        raise Problem(408, text, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "The connection ended before the body did. Nothing was changed.") from None


async def _read(request: Request, limit: int) -> bytes:
    length = request.headers.get("content-length", "0")
    read = bytearray()
    if length.isdecimal() and int(length) <= limit:
        async for part in request.stream():
            read += part
            if len(read) > limit:
                break
        else:
            return bytes(read)
    text = f"The body is larger than {limit} bytes. Nothing was changed; shorten it."
    raise Problem(413, text, headers={"Connection": "close"})


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


class Fields:
    """The members of a JSON object, taken one by one. `done` refuses those that nobody took."""

    def __init__(self, given: Mapping[str, Any], what: str = "The body") -> None:
        self._given, self._what = dict(given), what
        self._known: list[str] = []

    def text(self, name: str, *, needed: bool = False) -> str | None:
        """A text."""
        value = self._take(name, needed)
        if value is not None and not isinstance(value, str):
            self._wrong(name, value, "a text")
        return value

    def needed_text(self, name: str) -> str:
        """A text that must be there."""
        found = self.text(name, needed=True)
        assert found is not None
        return found

    def port(self, name: str) -> int:
        """A port, as a number or as text."""
        value = self._take(name, needed=True)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 8:
            value = int(value)
        if type(value) is not int or not 1 <= value <= 65535:
            self._wrong(name, value, "a port from 1 to 65535, as a number or as text")
        return value

    def whole(self, name: str) -> int | None:
        """A whole number."""
        value = self._take(name)
        if value is not None and type(value) is not int:
            self._wrong(name, value, "a whole number")
        return value

    def number(self, name: str) -> float | None:
        """A number."""
        value = self._take(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            self._wrong(name, value, "a number")
        return value

    def texts(self, name: str) -> list[str] | None:
        """A list of texts."""
        value = self._take(name)
        if value is not None and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            self._wrong(name, value, "a list of texts")
        return value

    def labels(self, name: str) -> dict[str, str] | None:
        """An object whose values are texts."""
        value = self._take(name)
        if value is not None and not (isinstance(value, dict) and all(isinstance(one, str) for one in value.values())):
            self._wrong(name, value, 'an object of texts, such as {"version": "2"}')
        return value

    def text_or_object(self, name: str) -> str | dict[str, Any] | None:
        """A text, or an object."""
        value = self._take(name)
        if value is not None and not isinstance(value, (str, dict)):
            self._wrong(name, value, "a text or an object")
        return value

    def done(self) -> None:
        """There must be nothing else."""
        if self._given:
            strangers = ", ".join(shown(name) for name in list(self._given)[:3])
            text = f"{self._what} has {strangers}, which nobody knows. Known are {', '.join(self._known)}. Nothing was changed."
            raise Problem(400, text, field=next(iter(self._given)))

    def _take(self, name: str, needed: bool = False) -> Any:
        self._known.append(name)
        value = self._given.pop(name, None)
        if value is None and needed:
            raise Problem(400, f"{self._what} lacks {name!r}, which must be there. Nothing was changed.", field=name)
        return value

    def _wrong(self, name: str, value: object, wanted: str) -> NoReturn:
        raise Problem(400, f"{name!r} is {shown(value)}, not {wanted}. Nothing was changed.", field=name)


class Query:
    """The query of a request: each parameter known, and none twice unless it may be."""

    def __init__(self, request: Request, known: Collection[str], repeatable: Collection[str] = ()) -> None:
        self._given = request.query_params
        for name in self._given:
            if name not in known and name not in repeatable:
                here = ", ".join([*known, *repeatable]) or "none"
                raise Problem(400, f"The parameter {shown(name)} is not known here. Known are: {here}.")
            if name not in repeatable and len(self._given.getlist(name)) > 1:
                raise Problem(400, f"The parameter {name!r} stands twice; say it once.", field=name)

    def text(self, name: str) -> str | None:
        """A text, or None."""
        return self._given.get(name)

    def needed(self, name: str) -> str:
        """A text that must be there."""
        value = self._given.get(name)
        if value is None:
            raise Problem(400, f"The parameter {name!r} is missing.", field=name)
        return value

    def choice(self, name: str, among: Collection[str]) -> str | None:
        """One of some words, or None."""
        value = self._given.get(name)
        if value is not None and value not in among:
            raise Problem(400, f"{name}={shown(value)} is none of {', '.join(among)}.", field=name)
        return value

    def truth(self, name: str) -> bool:
        """`true` or `false`; false if it is not there."""
        return self.choice(name, ("true", "false")) == "true"

    def whole(self, name: str, most: int) -> int | None:
        """A whole number from 0, or None."""
        value = self._given.get(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) <= 18 and int(value) <= most):
            raise Problem(400, f"{name}={shown(value)} is not a whole number from 0 to {most}.", field=name)
        return int(value)

    def labels(self) -> dict[str, str] | None:
        """What `label=key:value`, repeatable, says."""
        pairs = [(text, *text.partition(":")) for text in self._given.getlist("label")]
        for text, key, colon, _ in pairs:
            if not key or not colon:
                raise Problem(400, f"label={shown(text)} is not key:value.", field="label")
        return {key: value for _, key, _, value in pairs} or None

    def texts(self, name: str) -> list[str]:
        """All that a repeatable parameter says."""
        return self._given.getlist(name)
