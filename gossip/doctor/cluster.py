"""One view everywhere? An observer takes the view of a peer; other members are asked what differs in theirs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

from ..bus.inquiry import asker, converse, reached
from ..bus.keys import Keyring, read_secrets
from ..core.codec import Codec
from ..core.messages import Entries, Sync
from ..core.observer import ObserverNode
from ..core.origin import Origin
from ..core.signatures import names_a_key
from ..errors import GossipError, WireError
from ..observer import Observer
from .finding import Finding, Plan, View, error, note, ok, warning
from .meeting import Met, all_at_once, codec_of

ASKED_MAX = 16  # members whose view is compared
GRACE_S = 1.5  # changes that are under way are no difference
NAMED_MAX = 3


def look_at_the_cluster(plan: Plan, keyring: Keyring | None, contacts: Sequence[Met]) -> tuple[View, list[Finding]]:
    """How large it is, and whether all hold the same."""
    if not contacts:
        return View(), [note("cluster", "not looked at: no peer of it answered")]
    try:
        with observer_of(plan, contacts) as observer:
            observer.wait_synced(3 * plan.timeout_s)
            node = observer._node
            assert isinstance(node, ObserverNode)
            living = sorted(_alive(node), key=lambda origin: origin.id)
            latest = max(living, key=lambda origin: origin.incarnation, default=None)
            begun = (latest.incarnation[0] / 1000, latest.id) if latest is not None else (0.0, "")
            view = View(len(living), *begun)
            told = f"{view.members} members, {node.local.directory.count} instances, as {observer.source} sees it"
            unreached, found = _unheard(living, plan)
            others = [origin for origin in living if origin.id not in unreached and origin.id != observer.source]
            found = [*_signing(living, plan), *found]
            return view, [ok("cluster", told), *found, *_compared(observer, others[:ASKED_MAX], plan, keyring)]
    except (GossipError, TimeoutError) as fault:
        return View(), [error("cluster", f"its view cannot be taken: {fault}", "mend what is said of the seeds, then ask again")]


def _alive(node: ObserverNode) -> list[Origin]:
    """Who lives, copied in one step: the observer's own thread goes on."""
    return [origin for origin in tuple(node.local.table.origins.values()) if origin.alive]


def observer_of(plan: Plan, contacts: Sequence[Met]) -> Observer:
    """One that asks those who answered. Raises `ConfigError`."""
    secret = read_secrets(plan.secret_file) if plan.secret_file is not None else plan.secret
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is insecure was said of the seeds themselves
        return Observer("doctor", cluster=plan.cluster, seeds=[one.address for one in contacts], secret=secret, insecure=True)


def _signing(living: Sequence[Origin], plan: Plan) -> list[Finding]:
    """That members sign and this peer would not. A note: none of them tells whether it requires that of others."""
    signers = sum(names_a_key(origin.id) for origin in living)
    if not signers or plan.signing_key is not None:
        return []
    fix = "those that require it of others do not see a peer without a key: --signing-key FILE, or new"
    return [note("signing", f"{signers} of {len(living)} members sign what they say, and this peer would not", fix)]


def _unheard(living: Sequence[Origin], plan: Plan) -> tuple[set[str], list[Finding]]:
    """Members whose contact or publisher cannot be dialled from here: this peer would hear nothing of them."""
    some = living[:ASKED_MAX]
    places = [(origin.id, what, address) for origin in some for what, address in _doors(origin)]
    answers = all_at_once(places, lambda place: reached(place[2], plan.timeout_s), 2 * plan.timeout_s)
    found, unreached = [], set()
    for (id, what, address), why in zip(places, answers, strict=True):
        if why != "":
            unreached.add(id)
            fix = "open both ports of every peer to every other; is what it advertises right?"
            found.append(error("reach", f"the {what} of {id} at {address} is not reached from here: {why or 'no answer'}", fix))
    if not found:
        found.append(ok("reach", f"contact and publisher of {len(some)} members are reached from here"))
    return unreached, found


def _doors(origin: Origin) -> tuple[tuple[str, str], ...]:
    return ("contact", origin.contact), ("publisher", origin.publisher)


def _compared(observer: Observer, some: Sequence[Origin], plan: Plan, keyring: Keyring | None) -> list[Finding]:
    codec = codec_of(plan, keyring)
    differing = _differing(observer, some, codec, plan, keyring)
    if differing:
        time.sleep(GRACE_S)
        differing = _differing(observer, [origin for origin in some if origin.id in differing], codec, plan, keyring)
    found = []
    for id, names in list(differing.items())[:NAMED_MAX]:
        if names:
            fix = "wait: repair mends it within seconds. If it stays, they do not reach each other: `gossip why` of each"
            found.append(warning("agreement", f"{id} holds another view than {observer.source}: it differs in {names}", fix))
        else:
            fix = "it hangs, or is too busy: look at its process; if it is dead, the others will soon know"
            found.append(warning("agreement", f"{id} does not answer when it is asked for its view", fix))
    if some and not found:
        found.append(ok("agreement", f"{len(some) + 1} members hold the same view"))
    return found


def _differing(
    observer: Observer, members: Sequence[Origin], codec: Codec, plan: Plan, keyring: Keyring | None
) -> dict[str, str]:
    """Of these members, whose view is another: id -> in whom it differs, "" for one that does not answer."""
    node = observer._node
    assert isinstance(node, ObserverNode)
    table = node.local.table
    question = codec.encode(Sync(asker(), (0, 0), 0, 0, True, table.packed_sums()))

    def ask(origin: Origin) -> list[Entries] | None:
        talk = converse(origin.contact, keyring, [question], plan.timeout_s, lambda answers: _is_last(answers[-1], codec))
        return [entries for answer in talk.answers if (entries := _entries(answer, codec)) is not None] or None

    answers = all_at_once(members, ask, 2 * plan.timeout_s)
    found = {}
    for origin, told in zip(members, answers, strict=True):
        if told is None:
            found[origin.id] = ""
            continue
        theirs = {entry.origin: (entry.incarnation, entry.version) for part in told for entry in part.entries}
        buckets = told[0].buckets
        if not any(buckets):
            continue
        mine = {
            one.id: (one.incarnation, one.version) for one in _alive(node) if buckets[one.hash[0] >> 3] >> (one.hash[0] & 7) & 1
        }
        names = sorted(id for id in mine.keys() | theirs.keys() if mine.get(id) != theirs.get(id))
        if names:
            found[origin.id] = ", ".join(names[:NAMED_MAX]) + (" and others" if len(names) > NAMED_MAX else "")
    return found


def _entries(answer: bytes, codec: Codec) -> Entries | None:
    try:
        message = codec.decode(answer)
    except WireError:
        return None
    return message if isinstance(message, Entries) else None


def _is_last(answer: bytes, codec: Codec) -> bool:
    entries = _entries(answer, codec)
    return entries is None or not entries.more
