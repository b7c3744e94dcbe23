"""`dataclass` as this package uses it, made at a tenth of the cost: an embedded peer has some hundred of them to import.

The standard library writes and compiles six functions for each class, and imports `inspect` to do so: half of what
`import gossip` took. Here one is compiled, `__init__`, when the first value is made; the others read the names of the fields.

What one has of such a class is the same: a slotted class with `__init__`, `__eq__`, `__repr__`, `__match_args__`, if frozen
also `__hash__`, pickling, and the refusal to be changed. The standard library takes it for one of its own (`fields`,
`replace`, `asdict`, `is_dataclass`), and so do type checkers. Not here: `order`, `kw_only`, `InitVar`, a dict of attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass, field, fields, replace
else:
    from operator import attrgetter

    class _Nothing:
        def __repr__(self):
            return "<made anew>"

    _NOTHING = _Nothing()  # stands for a default that the class does not give, or an argument that the caller does not

    class Field:
        """One field, as `field` gives it. `default` or `default_factory` is `_NOTHING`, or both are."""

        __slots__ = ("compare", "default", "default_factory", "hash", "init", "name", "repr")

        def __init__(self, default, default_factory, init, repr, compare, hash):
            self.default, self.default_factory = default, default_factory
            self.init, self.repr, self.compare = init, repr, compare
            self.hash = compare if hash is None else hash

    def field(*, default=_NOTHING, default_factory=_NOTHING, init=True, repr=True, compare=True, hash=None):
        """What is to be said of a field besides its type, as in `dataclasses`."""
        return Field(default, default_factory, init, repr, compare, hash)

    def fields(value):
        """The fields of a value, or of its class, in order; of each `name`, `default`, `default_factory`. O(1)."""
        return value.__value_fields__

    def replace(value, /, **changes):
        """Another value of the same class, with these fields changed. O(fields)."""
        cls = type(value)
        return cls(**{name: getattr(value, name) for name in cls.__match_args__} | changes)

    def dataclass(*, slots, frozen=False, eq=True, unsafe_hash=False):
        """Decorator of a class of annotated fields. `slots` is always True, and said for those who read it."""
        if slots is not True:
            raise TypeError("the dataclasses of gossip.values are slotted: say slots=True, or use those of the standard library")

        def made(cls):
            members = dict(cls.__dict__)
            for dropped in ("__dict__", "__weakref__"):
                members.pop(dropped, None)
            own = [_taken(name, members) for name, kind in cls.__annotations__.items() if not kind.startswith("ClassVar")]
            inherited = getattr(cls, "__value_fields__", ())
            every = (*(each for each in inherited if each.name not in {one.name for one in own}), *own)
            known = {each.name for each in inherited}
            members |= {
                "__slots__": tuple(each.name for each in own if each.name not in known),
                "__value_fields__": every,
                "__match_args__": tuple(each.name for each in every if each.init),
                "__dataclass_fields__": _Standard("__dataclass_fields__", frozen),
                "__dataclass_params__": _Standard("__dataclass_params__", frozen),
                "__signature__": _Signature(),
                "__replace__": replace,
            }
            for name, function in _functions(every, frozen=frozen, eq=eq, hashed=unsafe_hash or (frozen and eq)).items():
                members.setdefault(name, function)
            if frozen:
                members |= _FROZEN
            result = type(cls)(cls.__name__, cls.__bases__, members)
            if "__init__" not in members:
                result.__init__ = _first_init(result, every, frozen)
            return result

        return made

    def _taken(name, members):
        """The field of this name, its default taken out of the class: a slot has to stand there."""
        given = members.pop(name, _NOTHING)
        found = given if type(given) is Field else field(default=given)
        found.name = name
        return found

    def _first_init(cls, every, frozen):
        """Stands in for `__init__` until it is called: many a process never makes a value of most classes."""

        def __init__(self, /, *args, **kwargs):
            cls.__init__ = _init(cls, every, frozen)
            cls.__init__(self, *args, **kwargs)

        __init__.compiled = lambda: _init(cls, every, frozen)
        return __init__

    def _init(cls, every, frozen):
        """The one function that is compiled, because each value that is made calls it."""
        scope = {"_nothing": _NOTHING, "__name__": cls.__module__}
        parameters, lines = [], []
        for each in every:
            name = value = each.name
            if each.default is not _NOTHING:
                scope[f"_default_{name}"] = each.default
                value = f"_default_{name}"
            elif each.default_factory is not _NOTHING:
                scope[f"_make_{name}"] = each.default_factory
                value = f"_make_{name}()"
            if each.init:
                fixed = value == name
                made_anew = not fixed and each.default is _NOTHING
                parameters.append(name if fixed else f"{name}=_nothing" if made_anew else f"{name}={value}")
                value = f"{value} if {name} is _nothing else {name}" if made_anew else name
            elif value == name:
                continue  # whoever makes it sets it later
            if frozen:  # the slot itself knows no refusal, and is quicker than object.__setattr__
                scope[f"_set_{name}"] = getattr(cls, name).__set__
                lines.append(f"_set_{name}(self, {value})")
            else:
                lines.append(f"self.{name} = {value}")
        if hasattr(cls, "__post_init__"):
            lines.append("self.__post_init__()")
        exec(f"def __init__(self, {', '.join(parameters)}):\n {'; '.join(lines) or 'pass'}", scope)  # nosec B102
        init = scope["__init__"]
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        kinds = _kinds(cls)
        init.__annotations__ = {each.name: kinds[each.name] for each in every if each.init}
        return init

    def _kinds(cls):
        """The annotations of a class and its bases."""
        return {name: kind for base in reversed(cls.__mro__[:-1]) for name, kind in base.__annotations__.items()}

    def _functions(every, *, frozen, eq, hashed):
        """What need not be compiled for each class."""
        shown = [each.name for each in every if each.repr]

        def __repr__(self):
            return f"{type(self).__qualname__}({', '.join([f'{name}={getattr(self, name)!r}' for name in shown])})"

        functions = {"__repr__": __repr__}
        if eq:
            compared = _getter([each.name for each in every if each.compare])

            def __eq__(self, other):
                return compared(self) == compared(other) if other.__class__ is self.__class__ else NotImplemented

            functions["__eq__"] = __eq__
        if hashed:
            of_hash = _getter([each.name for each in every if each.hash])
            functions["__hash__"] = lambda self: hash(of_hash(self))
        return functions

    def _getter(names):
        return attrgetter(*names) if names else lambda value: ()

    # frozen ones ------------------------------------------------------------------------------------------------------

    def _refuse_change(self, name, value=None):
        from dataclasses import FrozenInstanceError  # here, for its import is what is spared

        raise FrozenInstanceError(f"cannot change the field {name!r} of a {type(self).__name__}: make another with replace()")

    def _state(self):
        return [getattr(self, each.name) for each in self.__value_fields__]

    def _set_state(self, state):
        for each, value in zip(self.__value_fields__, state, strict=True):
            object.__setattr__(self, each.name, value)

    _FROZEN = {
        "__setattr__": _refuse_change,
        "__delattr__": _refuse_change,
        "__getstate__": _state,
        "__setstate__": _set_state,
    }

    # what the standard library asks for ---------------------------------------------------------------------------------

    class _Signature:
        """Whoever inspects a class is to find its compiled `__init__`; None means that it is to be read from there."""

        def __get__(self, instance, owner):
            if hasattr(owner.__init__, "compiled"):
                owner.__init__ = owner.__init__.compiled()

    class _Standard:
        """What the standard library knows its own by, and asks them (`pprint` does, and whoever inherits): made when asked."""

        def __init__(self, name, frozen):
            self._name, self._frozen = name, frozen

        def __get__(self, instance, owner):
            import dataclasses

            def standard(each):
                given = {
                    key: value
                    for key in ("default", "default_factory")
                    if (value := getattr(each, key)) is not _NOTHING
                }
                return dataclasses.field(**given, init=each.init, repr=each.repr, compare=each.compare, hash=each.hash)

            kinds = _kinds(owner)
            specs = [(each.name, kinds[each.name], standard(each)) for each in owner.__value_fields__]
            twin = dataclasses.make_dataclass(owner.__name__, specs, frozen=self._frozen)
            setattr(owner, self._name, getattr(twin, self._name))
            return getattr(twin, self._name)


__all__ = ["dataclass", "field", "fields", "replace"]
