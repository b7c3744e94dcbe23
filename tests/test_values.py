"""Our value classes beside those of the standard library: whatever one can ask of them, both answer alike."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import pprint
import subprocess
import sys
from typing import Any

import pytest

from gossip import Config, Event, EventKind, Instance, values
from gossip.bus.seeds import FileSeed
from gossip.core.effects import Heard


def both(**said: Any) -> list[Any]:
    """One class, made by us and by the standard library."""

    def shape(module: Any) -> Any:
        @module.dataclass(slots=True, **said)
        class Shape:
            name: str
            corners: int = 4
            tags: list[str] = module.field(default_factory=list)
            secret: str = module.field(default="", repr=False)
            drawn: int = module.field(default=0, compare=False)
            area: float = module.field(init=False, default=1.5)

        return Shape

    return [shape(values), shape(dataclasses)]


def told(made: Any, *arguments: Any, **named: Any) -> Any:
    """What comes of a call: a value's text, or the kind of the error."""
    try:
        return repr(made(*arguments, **named)).rpartition(".")[2]
    except (TypeError, AttributeError) as error:
        return type(error)


def test_a_value_is_made_and_shown_as_the_standard_library_does() -> None:
    ours, theirs = both()
    for arguments, named in (
        (("box",), {}),
        (("box", 3, ["red"]), {"drawn": 1}),
        (("box",), {"secret": "s", "corners": 1}),
        ((), {}),
        (("box",), {"size": 1}),
        (("box",), {"area": 2.0}),
    ):
        assert told(ours, *arguments, **named) == told(theirs, *arguments, **named)


def test_a_default_factory_makes_each_value_its_own() -> None:
    ours, _ = both()
    assert ours("box").tags is not ours("box").tags


@pytest.mark.parametrize("said", [{}, {"frozen": True}, {"eq": False}, {"unsafe_hash": True}], ids=str)
def test_equality_and_hashing_are_those_of_the_standard_library(said: dict[str, Any]) -> None:
    def answers(shape: Any) -> list[Any]:
        one, other = shape("box", 4, ()), shape("box", 4, ())  # type: ignore[arg-type]
        hashed = told(lambda: hash(one) == hash(other))
        same = one == shape("box", 4, (), drawn=7), one == shape("ball", 4, ()), one == ("box", 4, ()), one != other
        return [one == other, *same, hashed]

    ours, theirs = both(**said)
    assert answers(ours) == answers(theirs)


def test_a_frozen_value_refuses_every_change() -> None:
    for shape in both(frozen=True):
        box = shape("box")
        for change in (
            lambda box=box: setattr(box, "name", "ball"),
            lambda box=box: setattr(box, "unknown", 1),
            lambda box=box: delattr(box, "name"),
        ):
            with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):  # the library's own fails by TypeError, in 3.11
                change()
        assert box.name == "box"


def test_no_value_takes_what_is_no_field() -> None:
    ours, _ = both()
    with pytest.raises(AttributeError):
        ours("box").unknown = 1
    assert not hasattr(ours("box"), "__dict__")


def test_values_survive_pickling_and_copying() -> None:
    instance = Instance("orders", "a", "10.0.0.1", 80, labels=Instance("x", "y", "z", 1).labels, routes=("/a",))
    event = Event(1, 2.0, EventKind.ADDED, "orders", None, instance, "registered")
    heard = Heard(b"frame")
    for value in (instance, event, heard, Config.wan()):
        assert pickle.loads(pickle.dumps(value)) == value
        assert copy.copy(value) == value
        assert copy.deepcopy(value) == value


def test_the_standard_library_takes_them_for_its_own() -> None:
    ours, theirs = both(frozen=True)
    assert dataclasses.is_dataclass(ours)
    assert [(f.name, f.default, f.init, f.repr, f.compare) for f in dataclasses.fields(ours)] == [
        (f.name, f.default, f.init, f.repr, f.compare) for f in dataclasses.fields(theirs)
    ]
    box = ours("box", tags=["red"])
    assert dataclasses.asdict(box) == dataclasses.asdict(theirs("box", tags=["red"]))
    assert dataclasses.replace(box, name="ball") == values.replace(box, name="ball") == ours("ball", tags=["red"])
    with pytest.raises(TypeError):
        values.replace(box, size=1)  # type: ignore[call-arg]


def test_values_of_ours_are_pretty_printed_and_inherited_from(request: pytest.FixtureRequest) -> None:
    """Whoever compares two instances in a test of their own sees the difference, not an error of the printing."""
    instances = [Instance("orders", f"{number}" * 60, "10.0.0.1", 80) for number in range(3)]
    assert pprint.pformat(instances).count("Instance(service='orders'") == 3
    (said,) = request.config.hook.pytest_assertrepr_compare(
        config=request.config, op="==", left=instances[:1], right=instances[1:]
    )
    assert "representation of details failed" not in "\n".join(said)

    @dataclasses.dataclass(frozen=True)
    class Priced(Instance):
        price: int = 0

    priced = Priced("orders", "a", "10.0.0.1", 80, price=3)
    assert (priced.price, priced.service) == (3, "orders")
    with pytest.raises(TypeError, match="non-frozen"):
        dataclasses.dataclass(type("Loose", (Instance,), {}))


def test_a_signature_is_that_of_the_fields_before_the_first_value_is_made() -> None:
    ours, theirs = (inspect.signature(shape) for shape in both())
    assert list(ours.parameters) == list(theirs.parameters)
    assert [p.annotation for p in ours.parameters.values()] == [p.annotation for p in theirs.parameters.values()]
    assert list(ours.bind("box", drawn=2).arguments) == ["name", "drawn"]


def test_a_value_is_matched_by_its_fields_in_order() -> None:
    match Heard(b"frame", 7):
        case Heard(frame, source):
            assert (frame, source) == (b"frame", 7)
        case _:
            pytest.fail("no match")


def test_a_subclass_has_the_fields_of_its_base_first() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Base:
        a: int
        b: int = 2

    @values.dataclass(frozen=True, slots=True)
    class Derived(Base):
        c: int = 3

    assert repr(Derived(1)).endswith("Derived(a=1, b=2, c=3)")
    assert [each.name for each in values.fields(Derived)] == ["a", "b", "c"]
    assert Derived(1) != Base(1)
    assert pickle.loads(pickle.dumps(FileSeed("seeds"))) == FileSeed("seeds")


def test_only_slotted_classes_are_made() -> None:
    with pytest.raises(TypeError, match="slots=True"):
        values.dataclass(slots=False)


def test_importing_a_peer_imports_no_module_that_only_the_standard_librarys_dataclasses_need() -> None:
    program = "import sys, zmq, msgpack, uhashring; known = set(sys.modules); import gossip; print(*set(sys.modules) - known)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert not {"dataclasses", "inspect", "ast", "dis"} & set(run.stdout.split())
