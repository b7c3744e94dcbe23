"""What can be seen without a word to anybody: versions, environment, secret, descriptors, clock."""

from __future__ import annotations

import importlib.util
import math
import os
import time

from ..bus.inquiry import versions
from ..bus.keys import Keyring, keyring_of, read_secrets
from ..config import Config
from ..environment import near_misses
from ..errors import ConfigError
from .finding import Finding, Plan, View, error, note, ok, warning

LIBZMQ_MIN = (4, 3, 3)  # before it strangers could have a server write beyond its buffers (CVE-2020-15166, CVE-2019-13132)
SKEW_S = 2.0  # clocks that differ by less are alike: only display and the first words of a new life depend on them
STEPPED_S = 0.5
EPOCH_MIN = 1704067200.0  # 2024: no clock that was ever set shows less
DESCRIPTORS_BASE = 64  # of an interpreter, the sockets of a peer and its doors, and some calls at once
DESCRIPTORS_PER_LINK = 2  # one at the subscriber, one at the publisher; who has n links has about n subscribers
UNLIMITED = 1 << 30
FULL_MESH_MAX = Config().overlay.full_mesh_max


def look_at_versions(plan: Plan) -> list[Finding]:
    """pyzmq and libzmq, and whether they encrypt."""
    pyzmq, libzmq, curve = versions()
    dotted = ".".join(map(str, libzmq))
    told = f"pyzmq {pyzmq}, libzmq {dotted}, {'with' if curve else 'without'} CURVE"
    if not curve and (plan.secret is not None or plan.secret_file is not None):
        return [error("versions", f"{told}: a secret is of no use", "install a wheel: pip install --force-reinstall pyzmq")]
    if libzmq < LIBZMQ_MIN:
        wanted = ".".join(map(str, LIBZMQ_MIN))
        return [warning("versions", f"{told}: known faults, mended in {wanted}", "pip install --upgrade pyzmq")]
    return [ok("versions", told)]


def look_at_the_environment() -> list[Finding]:
    """Variables that are nearly ours; what patches the interpreter."""
    found = []
    for miss, meant in near_misses(os.environ).items():
        found.append(warning("environment", f"{miss} is set, and nobody reads it", f"rename it: {meant}"))
    for module, advice in (
        ("eventlet", "a process that eventlet has patched cannot run a peer: use gevent, or threads"),
        ("gevent", "where it is used, patch_all() comes before Peer.start()"),
    ):
        if importlib.util.find_spec(module) is not None:
            found.append(note("environment", f"{module} is installed", advice))
    return found


def look_at_the_secret(plan: Plan) -> tuple[Keyring | None, list[Finding]]:
    """The keys of the secret, None without one, or with none that can be used."""
    try:
        given = read_secrets(plan.secret_file) if plan.secret_file is not None else plan.secret
        if given is None:
            return None, [note("secret", "none was given: this is an open cluster", _WITHOUT)]
        keyring = keyring_of([given] if isinstance(given, str) else list(given))
    except ConfigError as fault:
        what, _, advice = str(fault).removesuffix(" Nothing was changed.").partition(". ")
        return None, [error("secret", what, advice or "make one with `gossip keygen`")]
    count = len(keyring)
    told = "one, well made" if count == 1 else f"{count}, well made; the first is what this peer asks with"
    return keyring, [ok("secret", f"{told}{f', in {plan.secret_file}' if plan.secret_file else ''}")]


_WITHOUT = "for more than this machine: `gossip keygen -o FILE`, and --secret-file FILE at every peer"


def links_of(members: int) -> int:
    """About how many links a peer has in a cluster of so many (design, section 4: 12 at 30, 30 at 1,000, 40 at 10,000)."""
    return max(0, members - 1) if members <= FULL_MESH_MAX else max(12, math.ceil(4 * math.log2(members) - 8))


def look_at_the_descriptors(plan: Plan, members: int) -> list[Finding]:
    """What the cluster needs against RLIMIT_NOFILE, of which links take a share."""
    soft, hard = descriptors_limits()
    many = plan.members or max(1, members)
    share = Config().links.descriptors_share
    needed = DESCRIPTORS_BASE + DESCRIPTORS_PER_LINK * links_of(many)
    told = f"{needed} or so are needed in a cluster of {many}, {int(soft * share)} of {soft} may be used"
    if needed > soft * share:
        wanted = math.ceil(needed / share)
        how = f"ulimit -n {wanted}" if wanted <= hard else f"raise the hard limit too, which is {hard}: LimitNOFILE={wanted}"
        return [error("descriptors", told, how)]
    return [ok("descriptors", told)]


def descriptors_limits() -> tuple[int, int]:
    """Soft and hard RLIMIT_NOFILE; more than anybody needs where there is none."""
    try:
        import resource  # here, because Windows has none
    except ImportError:
        return UNLIMITED, UNLIMITED
    soft, hard = (UNLIMITED if each == resource.RLIM_INFINITY else each for each in resource.getrlimit(resource.RLIMIT_NOFILE))
    return soft, hard


def look_at_the_clock(view: View, skew_s: float | None, set_by_s: float) -> list[Finding]:
    """Against what members say: the time at which they saw this one join, or else the time at which they began.

    `set_by_s`: how far it moved against the monotonic clock while all this was looked at.
    """
    wall = time.time()
    if wall < EPOCH_MIN:
        return [error("clock", f"it shows {time.strftime('%Y-%m-%d', time.gmtime(wall))}: it was never set", _SET)]
    if abs(set_by_s) > STEPPED_S:
        return [
            warning("clock", f"it was set by {set_by_s:+.1f} s while this was looked at", "have one program alone set it, slowly")
        ]
    if skew_s is not None and abs(skew_s) > SKEW_S:
        way = "ahead of" if skew_s < 0 else "behind"
        return [warning("clock", f"it is {abs(skew_s):.0f} s {way} that of a member", _SET)]
    if view.begun_at - wall > SKEW_S:
        ahead = view.begun_at - wall
        return [warning("clock", f"{view.begun_by} began {ahead:.0f} s from now: its clock is ahead, or this one behind", _SET)]
    if skew_s is not None:
        return [ok("clock", "like that of a member")]
    return [ok("clock", "no member began later than now" if view.members else "set; there is no member to compare it with")]


_SET = "set it by NTP (timedatectl set-ntp true) on both machines: times in events and the order of restarts depend on it"
