"""Writes docs/api.md from the docstrings and signatures of the public names; `--check` only says whether it is current.

Read from the source, not from live objects, so that every Python writes the same page. What has no place on the page, or
no docstring, is an error: a new public name is either placed in `PARTS` and `GROUPS`, or listed as internal.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"

# Heading -> the public names below it, in the order of the page.
PARTS = {
    "Peer": ["Peer"],
    "AsyncPeer and its handles": ["AsyncPeer", "AsyncRegistration", "AsyncWatch"],
    "Handles": ["Registration", "Watch", "Check"],
    "Other peers": ["Observer", "StaticPeer", "Lookups"],
    "Values": ["Instance", "Member", "Event", "Route", "Status", "Labels"],
    "Enums": ["InstanceState", "MemberState", "PeerState", "EventKind"],
    "Config": ["Config"],
    "Errors": [
        "GossipError", "ConfigError", "RegistrationError", "NoInstances", "PeerClosed", "PeerForked", "WireError",
        "InsecureWarning",
    ],
    "Version": ["__version__"],
}  # fmt: skip
GROUPS = {
    "Life": "from_env start close rotate_secrets renew_certificate revoke id name address state".split(),
    "Writes": "register".split(),
    "Reads": "lookup pick route routes locate preference_list services calling report_failure".split(),
    "Events and waits": "watch wait_for wait_synced".split(),
    "Status": "members status why".split(),
}
LIKE = {  # shown: only what differs from the other
    "AsyncPeer": "Peer",
    "Observer": "Peer",
    "StaticPeer": "Peer",
    "Lookups": "Peer",
    "AsyncRegistration": "Registration",
    "AsyncWatch": "Watch",
}
CONSTRUCTED = {"Peer", "AsyncPeer", "Observer", "StaticPeer"}  # the others are given to you, or are plain values
# Public for the modules of the package, not for users.
INTERNAL = {"abandon", "abandon_in_child", "sockets_in_use", "offer", "run", "judging", "number", "overlay", "ring"}
WIDTH = 100

INTRO = """# API

What `from gossip import …` gives. Written by `python docs/reference.py` from the docstrings; edit those. Durations are
seconds, sizes bytes; any thread may call anything unless it says otherwise.
"""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Faults(Exception):
    """What keeps the page from being complete, one line each."""


@dataclass
class Source:
    """One class, where it stands."""

    node: ast.ClassDef
    text: str
    variables: set[str]  # the type variables of its module
    constants: dict[str, str]  # and its plain constants, as written

    @property
    def doc(self) -> str:
        return inspect.cleandoc(ast.get_docstring(self.node) or "")

    @property
    def bases(self) -> list[str]:
        return [base.id for base in self.node.bases if isinstance(base, ast.Name)]

    def own(self, name: str) -> Function | None:
        return next((item for item in self.node.body if isinstance(item, Function) and item.name == name), None)


@dataclass
class Package:
    """The classes of the package by name, and its public names."""

    classes: dict[str, Source] = field(default_factory=dict)
    public: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Package:
        package = cls()
        for file in sorted([*folder.glob("*.py"), *folder.glob("catalogue/*.py")]):
            text = file.read_text(encoding="utf-8")
            body = ast.parse(text, str(file)).body
            variables = {name for item in body for name in type_variables(item)}
            constants = {name: value for item in body for name, value in plain_constants(item)}
            for item in body:
                if isinstance(item, ast.ClassDef):
                    package.classes[item.name] = Source(item, text, variables, constants)
                elif file == folder / "__init__.py" and isinstance(item, ast.Assign):
                    package._constant(item)
        return package

    def _constant(self, item: ast.Assign) -> None:
        if ast.unparse(item.targets[0]) == "__all__":
            self.public = ast.literal_eval(item.value)

    def line(self, name: str) -> list[Source]:
        """The class and its bases in this package, nearest first."""
        source = self.classes.get(name)
        return [source, *(found for base in source.bases for found in self.line(base))] if source else []

    def members(self, name: str) -> dict[str, tuple[Source, Function]]:
        """Public methods and properties, inherited ones too, each with the class that defines it."""
        found: dict[str, tuple[Source, Function]] = {}
        for source in self.line(name):
            for item in source.node.body:
                if isinstance(item, Function) and not item.name.startswith("_") and item.name not in INTERNAL:
                    found.setdefault(item.name, (source, item))
        return found

    def shown(self, name: str) -> dict[str, tuple[Source, Function]]:
        """The members that the page tells of the class itself."""
        mine, theirs = self.members(name), self.members(LIKE[name]) if name in LIKE else {}
        if name == "Lookups":  # the reads, by their signatures
            return {}
        return {member: found for member, found in mine.items() if theirs.get(member) != found}

    def faults(self) -> Iterator[str]:
        placed = [name for names in PARTS.values() for name in names]
        yield from (f"{name} is public and has no place: add it to PARTS" for name in self.public if name not in placed)
        yield from (f"{name} has a place and is not public" for name in placed if name not in self.public)
        grouped = {member for members in GROUPS.values() for member in members}
        for name in self.public:
            if name == "__version__":
                continue
            if name not in self.classes:
                yield f"{name} is no class of gossip/ or gossip/catalogue/"
                continue
            if not self.classes[name].doc:
                yield f"{name} has no docstring"
            for member, (_, node) in self.members(name).items():
                if not ast.get_docstring(node):
                    yield f"{name}.{member} has no docstring"
                if name == "Peer" and member not in grouped:
                    yield f"{name}.{member} has no place: add it to GROUPS, or to INTERNAL"
        yield from (f"Peer.{member} has a place and is not there" for member in grouped - set(self.members("Peer")))
        yield from (f"Lookups.{member} is no call of Peer" for member in set(self.members("Lookups")) - grouped)


def type_variables(item: ast.stmt) -> list[str]:
    made = isinstance(item, ast.Assign) and isinstance(item.value, ast.Call) and ast.unparse(item.value.func) == "TypeVar"
    return [ast.unparse(target) for target in item.targets] if made and isinstance(item, ast.Assign) else []


def plain_constants(item: ast.stmt) -> list[tuple[str, str]]:
    plain = isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant)
    return [(ast.unparse(target), ast.unparse(item.value)) for target in item.targets] if plain else []  # type: ignore[attr-defined]


# one thing each ---------------------------------------------------------------------------------------------------------


def written(source: Source, node: ast.AST) -> str:
    """As it stands in the source, on one line."""
    return " ".join((ast.get_source_segment(source.text, node) or "").split())


def parameters(source: Source, arguments: ast.arguments) -> list[str]:
    def one(argument: ast.arg, default: ast.expr | None) -> str:
        shown = argument.arg + (f": {written(source, argument.annotation)}" if argument.annotation else "")
        if default is None:
            return shown
        value = written(source, default)
        return f"{shown}{' = ' if argument.annotation else '='}{source.constants.get(value, value)}"

    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    listed = [one(argument, default) for argument, default in zip(plain, defaults, strict=True)]
    listed = listed[1:] if plain and plain[0].arg in ("self", "cls") else listed
    if arguments.vararg:
        listed.append(f"*{one(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        listed.append("*")
    listed += [one(argument, default) for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return listed + ([f"**{one(arguments.kwarg, None)}"] if arguments.kwarg else [])


def signature(name: str, source: Source, node: Function) -> str:
    """As a caller writes it, with `await` where it must be awaited."""
    result = written(source, node.returns) if node.returns else ""
    result = name if result in source.variables else result
    if any(ast.unparse(decorator) == "property" for decorator in node.decorator_list):
        return f"{name}.{node.name}: {result}"
    start = {"__init__": name}.get(node.name, f"{name}.{node.name}")
    start = f"await {start}" if isinstance(node, ast.AsyncFunctionDef) else start
    end = "" if node.name == "__init__" else f" -> {result}"
    listed = parameters(source, node.args)
    line = f"{start}({', '.join(listed)}){end}"
    if len(line) <= WIDTH:
        return line
    return f"{start}(\n" + "".join(f"    {one},\n" for one in listed) + f"){end}"


def code(text: str) -> str:
    return f"```python\n{text}\n```\n"


def member(name: str, source: Source, node: Function) -> str:
    doc = inspect.cleandoc(ast.get_docstring(node) or "")
    return f"#### `{name}.{node.name}`\n\n{code(signature(name, source, node))}\n{doc}\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def default_of(source: Source, value: ast.expr | None) -> str:
    if value is None:
        return ""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        return "empty" if any(given.arg == "default_factory" for given in value.keywords) else ""
    return f"`{written(source, value)}`"


def comment_of(source: Source, node: ast.AnnAssign) -> str:
    line = source.text.splitlines()[(node.end_lineno or 1) - 1]
    rest = line.encode()[node.end_col_offset or 0 :].decode().strip()
    return rest.removeprefix("#").strip()


def fields_of(source: Source) -> list[ast.AnnAssign]:
    return [item for item in source.node.body if isinstance(item, ast.AnnAssign)]


def fields_table(source: Source, *, comments: bool) -> str:
    rows = [["field", "type", "default"], ["---"] * 3]
    for item in fields_of(source):
        row = [f"`{ast.unparse(item.target)}`", f"`{written(source, item.annotation)}`", default_of(source, item.value)]
        rows.append([*row, comment_of(source, item)] if comments else row)
    if comments:
        rows[0].append("effect")
        rows[1].append("---")
    return "".join(f"| {' | '.join(map(cell, row))} |\n" for row in rows)


def words_of(source: Source) -> str:
    words = [ast.literal_eval(item.value) for item in source.node.body if isinstance(item, ast.Assign)]
    return " · ".join(f"`{word}`" for word in words) + "\n"


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# the page ---------------------------------------------------------------------------------------------------------------


def class_text(package: Package, name: str) -> str:
    source = package.classes[name]
    parts = [f"### `{name}`\n"] if name not in PARTS else []  # there it stands already
    if name in CONSTRUCTED:
        owner, init = next((one, node) for one in package.line(name) if (node := one.own("__init__")))
        parts.append(code(signature(name, owner, init)))
    parts.append(f"{source.doc}\n")
    if any("dataclass" in ast.unparse(decorator) for decorator in source.node.decorator_list):
        parts.append(fields_table(source, comments=False))
    if "_Word" in source.bases:
        parts.append(words_of(source))
    shown = package.shown(name)
    same = [one for one in package.members(name) if one not in shown] if name in LIKE else []
    if same:
        other = LIKE[name]
        links = ", ".join(f"[`{one}`](#{slug(f'{other}.{one}')})" for one in sorted(same))
        parts.append(f"As those of `{other}`: {links}.\n")
    if name != "Peer":
        return "\n".join([*parts, *(member(name, *found) for found in shown.values())])
    for group, members in GROUPS.items():
        parts += [f"### {group}\n", *(member(name, *shown[one]) for one in members)]
    return "\n".join(parts)


def config_text(package: Package) -> str:
    source = package.classes["Config"]
    parts = [f"{source.doc}\n", *(member("Config", *found) for found in package.shown("Config").values())]
    for item in fields_of(source):
        nested = package.classes[written(source, item.annotation)]
        parts.append(f"### `config.{ast.unparse(item.target)}`: {nested.node.name}\n\n{nested.doc}\n")
        parts.append(fields_table(nested, comments=True))
    return "\n".join(parts)


def errors_text(package: Package) -> str:
    def tree(name: str, depth: int) -> Iterator[str]:
        source = package.classes[name]
        also = [base for base in source.bases if base not in package.classes and base != "Exception"]
        told = f" (also `{'`, `'.join(also)}`)" if also else ""
        yield f"{'  ' * depth}- `{name}`{told}: {' '.join(source.doc.split())}\n"
        for below in PARTS["Errors"]:
            if name in package.classes[below].bases:
                yield from tree(below, depth + 1)

    roots = [name for name in PARTS["Errors"] if not set(package.classes[name].bases) & set(PARTS["Errors"])]
    return "".join(line for root in roots for line in tree(root, 0))


def contents(page: str) -> str:
    """Links to the headings, those of methods in one line."""
    lines: list[str] = []
    met: Counter[str] = Counter()
    for marks, heading in re.findall(r"^(##+) (.*)$", page, re.MULTILINE):
        text = heading if marks != "####" else f"`{heading.strip('`').rpartition('.')[2]}`"
        anchor = slug(heading)
        link = f"[{text}](#{anchor}-{met[anchor]})" if met[anchor] else f"[{text}](#{anchor})"
        met[anchor] += 1  # of equal headings GitHub numbers the second and later ones
        if marks == "####":
            lines[-1] += f" {link}" if lines[-1].endswith(")") and "·" in lines[-1] else f" · {link}"
        else:
            lines.append(f"{'  ' * (len(marks) - 2)}- {link}")
    return "\n".join(lines) + "\n"


def page_of(package: Package) -> str:
    """The whole page. Raises `Faults`."""
    if found := list(package.faults()):
        raise Faults("\n".join(found))
    texts = []
    for heading, names in PARTS.items():
        if heading == "Config":
            text = config_text(package)
        elif heading == "Errors":
            text = errors_text(package)
        elif heading == "Version":
            text = "`gossip.__version__`: the version of the distribution, a `str`.\n"
        else:
            text = "\n".join(class_text(package, name) for name in names)
        texts.append(f"## {heading}\n\n{text}")
    body = "\n".join(texts)
    return "\n".join([INTRO, contents(body), body])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if docs/api.md is not current")
    given = parser.parse_args()
    try:
        page = page_of(Package.read(ROOT / "gossip"))
    except Faults as faults:
        sys.exit(f"docs/api.md cannot be written:\n{faults}")
    if given.check and (not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page):
        sys.exit("docs/api.md is not current: run python docs/reference.py")
    if not given.check:
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
