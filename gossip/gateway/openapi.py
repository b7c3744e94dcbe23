"""The OpenAPI document of the gateway. Built once; a test runs schemathesis with it against the running server."""

from __future__ import annotations

from typing import Any

from .. import InstanceState

Schema = dict[str, Any]

# what the package takes, in the dialect of JSON Schema; a test compares them
TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}
ID: Schema = {"type": "string", "pattern": r"^[A-Za-z0-9._:\[\]%/@-]{1,128}$"}
HOST: Schema = {"type": "string", "pattern": r"^\[?[A-Za-z0-9._:%-]{1,255}\]?$", "example": "10.0.0.5"}
ROUTE: Schema = {"type": "string", "pattern": r"^/[^\s?#\x00-\x1f\x7f]{0,511}$"}
PORT: Schema = {"oneOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string", "pattern": "^[0-9]{1,5}$"}]}
STATES = [str(state) for state in InstanceState]
PLACE: Schema = {"weight": {"type": "integer", "minimum": 1, "maximum": 100}, "id": ID}
PLACE |= {
    "labels": {"type": "object", "additionalProperties": TEXT},
    "routes": {"type": "array", "items": ROUTE, "description": "At most 16 different prefixes."},
    "ttl": {"type": "number", "exclusiveMinimum": 0, "description": "Seconds; gone unless renewed."},
    "check": {"description": "`http://…`, `https://…` or `tcp`; or an object with it as `target`, and interval, timeout, "
              "fail_after, pass_after.", "oneOf": [TEXT, {"type": "object"}]},
}  # fmt: skip


def _object(properties: Schema, *needed: str, closed: bool = False) -> Schema:
    """Without `needed`, all properties are."""
    found: Schema = {"type": "object", "properties": properties, "required": list(needed or properties)}
    return found | ({"additionalProperties": False} if closed else {})


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str, of: Schema, *, cut: bool = True) -> Schema:
    return _object({name: {"type": "array", "items": of}} | ({"left_out": {"type": "integer"}} if cut else {}))


def _json(schema: Schema, text: str = "Done.") -> Schema:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


PROBLEMS: Schema = {
    code: {"description": text, "content": {"application/problem+json": {"schema": _ref("Problem")}}}
    for code, text in {
        "400": "What was sent is wrong; the detail says what.",
        "401": "The bearer token is missing or wrong.",
        "404": "There is no such instance, or nothing at this path.",
        "405": "Another method is needed.",
        "408": "The request was too slow.",
        "409": "It lives with another gateway or peer; the detail says which.",
        "413": "The body is larger than 64 KiB.",
        "415": "The Content-Type is not application/json.",
        "421": "The Host is no name by which a gateway on loopback may be called.",
        "503": "A bound was hit, or the gateway is stopping.",
    }.items()
}


def _query(name: str, schema: Schema, *, needed: bool = False, text: str = "") -> Schema:
    found: Schema = {"name": name, "in": "query", "required": needed, "schema": schema}
    return found | ({"description": text} if text else {})


def _get(summary: str, answer: Schema, *parameters: Schema) -> Schema:
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": {"200": answer, **PROBLEMS}}}


def _post(summary: str, body: Schema, answers: Schema) -> Schema:
    content = {"required": True, "content": {"application/json": {"schema": body}}}
    return {"post": {"summary": summary, "requestBody": content, "responses": {**answers, **PROBLEMS}}}


SERVICE = _query("service", TEXT | {"example": "orders"}, needed=True)
STRATEGY = _query("strategy", {"enum": ["round_robin", "random", "uniform"]}, text="`random` goes by weight, `uniform` does not.")
ZONE = _query("zone", TEXT)
KEY = _query("key", TEXT, needed=True)
LABEL = _query("label", {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+:[a-z0-9]*$"}}, text="key:value; all.")
EXCLUDE = _query("exclude", {"type": "array", "items": ID}, text="Ids that are not wanted.")
AGED: Schema = {"known_s": {"type": "number", "description": "So long this gateway has known it, in seconds."}}
ONE = _object({"service": NAME, "id": ID}, closed=True)
INSTANCE_ANSWER = _json(_ref("Instance"))

SCHEMAS: Schema = {
    "Problem": _object({"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT}),
    "Instance": _object(
        {
            "service": TEXT, "id": TEXT, "host": TEXT, "port": {"type": "integer"}, "address": TEXT,
            "weight": {"type": "integer"}, "labels": {"type": "object"}, "routes": {"type": "array", "items": TEXT},
            "zone": TEXT, "origin": TEXT,
            "state": {"enum": STATES},
        }
    ),
    "Member": _object(
        {
            "id": TEXT, "name": TEXT, "address": TEXT, "zone": TEXT, "state": {"enum": ["ALIVE", "SUSPECTED", "DEAD", "LEFT"]},
            "incarnation": {"type": "array"}, "version": {"type": "integer"}, "instances": {"type": "integer"},
        }
    ),
    "Event": _object({"seq": {"type": "integer"}, "at": {"type": "number"}, "kind": TEXT, "reason": TEXT}),
}  # fmt: skip

PATHS: Schema = {
    "/register": _post(
        "Register a service, as the original did.",
        _object({"name": NAME, "address": HOST, "port": PORT, **PLACE}, "name", "address", "port", closed=True),
        {"200": _json(_object({"status": {"enum": ["success"]}}))},
    ),
    "/discover": _get(
        "One instance of a service, as the original told it.",
        _json({"oneOf": [_object({"address": TEXT}, closed=True), _object({"address": TEXT, "port": TEXT}, closed=True)]}),
        _query("name", TEXT),
        _query("by", {"enum": ["cache", "route", "hash"]}),
        _query("strategy", {"enum": ["random", "round_robin", "weighted"]}),
        _query("key", TEXT, text="With by=hash."),
        _query("path", TEXT, text="With by=route."),
    ),
    "/v1/register": _post(
        "Register an instance, or change it.",
        _object({"service": NAME, "host": HOST, "port": PORT, **PLACE}, "service", "host", "port", closed=True),
        {"201": _json(_ref("Instance"), "New here."), "200": _json(_ref("Instance"), "It was registered here before.")},
    ),
    "/v1/renew": _post("Start its time to live anew.", ONE, {"200": INSTANCE_ANSWER}),
    "/v1/drain": _post("Take it out of picks and rings.", ONE, {"200": INSTANCE_ANSWER}),
    "/v1/deregister": _post("Remove it.", ONE, {"200": INSTANCE_ANSWER}),
    "/v1/services": _get("All services.", _json(_list("services", _object(
        {"service": TEXT, "instances": {"type": "integer"}, "up": {"type": "integer"}})))),
    "/v1/services/{service}/ring": _get(
        "The consistent hash ring of a service: shares, and where a key lies.",
        _json(_object({
            "service": TEXT,
            "instances": {"type": "array", "items": _object(
                {"id": TEXT, "weight": {"type": "integer"}, "origin": TEXT, "share": {"type": "number"}})},
            "places": {"type": "array", "items": {"type": "integer"},
                       "description": "Whose evenly spaced places of the ring are: numbers of `instances`."},
            "key": _object(
                {"key": TEXT, "place": {"type": "number"}, "owner": TEXT, "stand_ins": {"type": "array", "items": TEXT}}),
        }, "service", "instances", "places")),
        {"name": "service", "in": "path", "required": True, "schema": NAME | {"example": "orders"}},
        _query("places", {"type": "integer", "minimum": 0, "maximum": 4096}, text="So many; 720 without it."),
        _query("key", TEXT, text="Told where it lies, from 0 to 1 round the ring, and who owns it."),
    ),
    "/v1/overlay": _get(
        "The members in the order of their first ring, and who subscribes to whom: computed from the member list, not observed.",
        _json(_object({
            "computed": {"const": True},
            "members": {"type": "array", "items": _object({"id": TEXT, "place": {"type": "number"}})},
            "gone": {"type": "array", "items": _object({"id": TEXT, "place": {"type": "number"}}),
                     "description": "Where those stood who died or left in the last minute."},
            "links": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
            "members_left_out": {"type": "integer", "description": "Members whose links are not told: more than 200 live."},
        })),
        _query("member", ID, text="The links of this one alone."),
    ),
    "/v1/events": _get(
        "The last events, and the cursor from which /v1/watch goes on.",
        _json(_object({"events": {"type": "array", "items": _ref("Event")}, "cursor": TEXT, "now": {"type": "number"}})),
    ),
    "/v1/instances": _get(
        "Instances that meet all filters.", _json(_list("instances", {"allOf": [_ref("Instance"), _object(AGED)]})),
        _query("service", TEXT), ZONE, LABEL,
        _query("state", {"enum": [*STATES, "any"]}, text="Without it: those that may be used."), _query("origin", TEXT),
    ),
    "/v1/pick": _get("One instance, balanced.", INSTANCE_ANSWER, SERVICE, STRATEGY, ZONE, LABEL, EXCLUDE),
    "/v1/route": _get(
        "One instance that serves a path.", INSTANCE_ANSWER, _query("path", TEXT, needed=True), STRATEGY, ZONE, LABEL, EXCLUDE
    ),
    "/v1/locate": _get("The owner of a key.", INSTANCE_ANSWER, SERVICE, KEY),
    "/v1/preference-list": _get(
        "The owner of a key, then its stand-ins.", _json(_list("instances", _ref("Instance"), cut=False)), SERVICE, KEY,
        _query("n", {"type": "integer", "minimum": 0, "maximum": 1024}),
    ),
    "/v1/members": _get(
        "The peers of the cluster.", _json(_list("members", {"allOf": [_ref("Member"), _object(AGED)]})),
        _query("include_dead", {"enum": ["true", "false"]}),
    ),
    "/v1/status": _get("How this gateway is doing.", _json({"type": "object"})),
    "/v1/why": _get(
        "What happened to a name.", _json(_list("events", _ref("Event"), cut=False)), _query("name", TEXT, needed=True)
    ),
    "/v1/watch": _get(
        "What happens, as server-sent events.",
        {"description": "A stream without end.", "content": {"text/event-stream": {"schema": TEXT}}},
        _query("service", TEXT), _query("initial", {"enum": ["true", "false"]}),
        _query("since", {"type": "string", "pattern": "^[0-9a-f]{1,32}-[0-9]{1,18}$"}, text="A cursor, as Last-Event-ID."),
    ),
    "/v1/prometheus/sd": _get(
        "Targets, as Prometheus' http_sd.", _json({"type": "array"}), _query("service", TEXT), ZONE, LABEL,
        _query("state", {"enum": [*STATES, "any"]}), _query("origin", TEXT),
    ),
    "/metrics": _get(
        "Metrics, for Prometheus.", {"description": "The page.", "content": {"text/plain": {"schema": TEXT}}}
    ),
    "/v1/openapi.json": _get("This document.", _json({"type": "object"})),
    "/healthz": _get("That the gateway answers.", _json(_object({"status": TEXT}))),
}  # fmt: skip

DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {"title": "gossip gateway", "version": "1", "description": "A serverless service registry, over HTTP."},
    "paths": PATHS,
    "components": {"schemas": SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "security": [{}, {"token": []}],
}
