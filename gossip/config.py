"""Every number a user may turn, nested by mechanism, validated once. Durations are seconds, sizes bytes.

Each field says what more and less of it do. The defaults are those of `Config.lan()`; peers with different presets
work in one cluster, because each peer states its own interval and is judged by it.
"""

from __future__ import annotations

from typing import Any

from .errors import ConfigError
from .values import dataclass, field, fields, replace

INTERVAL_MIN_S = 0.01
INTERVAL_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """How often a peer speaks, and how patiently it compares digests."""

    interval_s: float = 1.0  # more: less idle traffic, slower detection of hung peers; less: the reverse
    digest_history_s: float = 1.0  # more: fewer needless pulls under load, later repair; less: the reverse
    digest_grace_s: float = 0.1  # as above, for changes still on their way here
    mismatches: int = 2  # heartbeats in a row that must differ before a pull; more: calmer, later repair


@dataclass(frozen=True, slots=True)
class Detection:
    """When a silent or vanished peer is accused, and when it is held dead (SWIM, Lifeguard)."""

    silence_intervals: float = 3.0  # of the subject's own interval; more: fewer false alarms, later detection
    ping_timeout_s: float = 0.5  # more: slow peers are spared; less: earlier accusations
    probe_timeout_s: float = 0.5  # the same for the TCP connect that checks a closed link
    gather_s: float = 0.02  # accusations of so long travel together; more: fewer messages, later deaths
    closed_accusers: int = 3  # watchers whose closed link is proof; more: safer against flaky networks, slower
    suspicion_accusers: int = 3  # independent accusers at which suspicion is shortest; more: safer, slower
    suspicion_max_s: float = 5.0  # more: fewer false deaths, slower detection
    suspicion_min_s: float = 1.0  # the same where several accuse; more: safer, slower; less: the reverse
    accusations_relayed_max: int = 4  # per subject and pulse; more: a surer flood, more traffic when many die
    mute_s: float = 5.0  # a refuted accuser keeps silent about it so long; doubles; more: calmer, later proof
    mute_max_s: float = 300.0  # up to so long
    late_tick_s: float = 1.0  # a tick later than this means that I was the sick one; more: more false accusations under load
    hold_max_s: float = 5.0  # so long a sick peer holds its accusations back; more: fewer false ones, later true ones
    mass_share: float = 0.5  # more than this share silent within one suspicion: a split, not deaths; more: buried sooner
    isolated_hold_s: float = 30.0  # so long the last known view is served on; more: longer stale answers


@dataclass(frozen=True, slots=True)
class Repair:
    """Anti-entropy: how differences are pulled."""

    pulls_max: int = 4  # at once; more: faster catch-up, more memory
    timeout_s: float = 3.0  # without progress a conversation is given up; more: slow links are spared, dead ones found later
    conversation_max_s: float = 60.0  # with progress too; the next one finds the rest; more: larger views in one go
    backoff_s: float = 1.0  # after a pull that brought nothing; doubles per partner; more: calmer, later repair
    backoff_max_s: float = 30.0  # up to so long
    reorder_max: int = 64  # deltas of one origin kept while an earlier one is on its way; more: fewer pulls, more memory
    reorder_s: float = 0.2  # so long, then the gap is pulled; more: fewer pulls, later repair
    log_deltas_min: int = 64  # recent deltas kept per origin; more: fewer whole states sent, more memory


@dataclass(frozen=True, slots=True)
class Overlay:
    """Which peers are linked."""

    full_mesh_max: int = 17  # up to so many members everyone links to everyone; more: quicker, more links. The same at all peers
    relink_interval_s: float = 0.2  # links are recomputed at most this often; more: calmer under churn, later links
    newcomer_wait_s: float = 2.0  # a newcomer takes far links after this, or when it has subscribers; less: lost ranges
    link_timeout_s: float = 2.0  # a replaced link is dropped after this even if the new one is not up; more: safer on slow links
    leave_linger_s: float = 0.5  # a leaver relays at most so long; more: surer goodbyes, a slower close


@dataclass(frozen=True, slots=True)
class Joining:
    """How a peer finds the others."""

    dial_interval_s: float = 10.0  # between dials of seeds or the dead, less where few live; more: later heals, less traffic
    alone_interval_s: float = 1.0  # the same while alone, or after a mass loss; more: later heals, less traffic
    synced_deadline_s: float = 2.0  # then a peer serves what it has, with an event; more: longer `joining`, seldom half a view
    rendezvous_min_s: float = 0.2  # zero configuration: checks of the common port, at random between these two
    rendezvous_max_s: float = 1.0  # more: less work while alone, a later meeting
    retention_s: float = 24 * 3600.0  # a dead peer's floor is kept so long; more: safer against ghosts, more memory


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds. What exceeds one is refused, counted in `status().counters`, and told by a NOTICE event."""

    frame_bytes_max: int = 64 * 1024  # of one message; more: larger records, and strangers' messages. The same at all peers
    state_part_bytes_max: int = 256 * 1024  # of one part of a whole state, up to 1 MiB; more: fewer parts, longer ones
    instances_max: int = 256  # per origin, my own included; raise it on gateways and on all who must accept them
    origin_bytes_max: int = 64 * 1024  # of one origin's whole state, as encoded; as above
    members_max: int = 4096  # living members; more: larger clusters, more memory under attack
    joins_per_s: float = 100.0  # members never heard of, after members_max at once; less: large clusters are met more slowly
    table_bytes_max: int = 256 * 1024 * 1024  # all that is held of others, as encoded; more: larger clusters, more memory
    waiting_bytes_max: int = 16 * 1024 * 1024  # of that: what waits for the rest of a state, or for earlier deltas
    answer_bytes_per_s: int = 64 * 1024 * 1024  # to all who ask; more: quicker mass joins, more work for strangers
    syncs_per_s: float = 200.0  # conversations opened by others, after 10 s' worth at once; as above
    pings_per_s: float = 500.0  # likewise pings of others, on which they judge me; as above
    charges_per_s: float = 5000.0  # likewise accusations; less: mass deaths are told more slowly
    bad_frames_max: int = 20  # a minute from one link or connection, which is then cut, or not read, for a minute
    floors_max: int = 16384  # dead or left members remembered; more: safer against ghosts, more memory
    subscribers_max: int = 4096  # ids that may be linked to me at once; some 40 are at 10,000 members; as above
    watch_queue_max: int = 1024  # events a watch may lag behind before it gets a RESYNC; more: slower readers, more memory
    history_max: int = 4096  # events kept for watch(since=...) and why; more: a longer memory, more of it
    snapshot_bytes_max: int = 64 * 1024 * 1024  # of the file of `snapshot=`; more: larger clusters remembered, longer starts
    mailbox_max: int = 10_000  # commands waiting for the bus thread; more: longer bursts, later errors
    recalls_per_second_max: int = 16  # observers' questions what happened here; more: quicker answers, a busier bus under attack
    accusations_seen_max: int = 8192  # flood headers remembered; less: the same accusation may be passed on twice


@dataclass(frozen=True, slots=True)
class Links:
    """Sockets: re-dialling, queues, descriptors."""

    redial_min_s: float = 0.1  # back-off of a broken link, doubling with jitter; more: calmer, later repair
    redial_max_s: float = 5.0  # up to so long
    handshake_timeout_s: float = 3.0  # more: slow peers are spared, strangers on our ports hold a connection longer
    connect_timeout_s: float = 2.0  # more: slow networks are spared, dead hosts are given up later
    queue_messages_max: int = 2000  # ZeroMQ high-water mark of what is sent; more: longer bursts, more memory per slow reader
    messages_per_s: int = 5000  # from one asker or answerer, which is then cut; a link may hold 10 s' worth; more: longer floods
    subscriptions_per_s: int = 50  # likewise subscriptions from one connection; as above
    handshakes_max: int = 32  # unfinished ones per socket, above which the oldest are hung up on; more: more memory to strangers
    connections_max: int = 4096  # others' connections per socket; above, the newest is hung up on; more: larger clusters
    descriptors_share: float = 0.8  # of RLIMIT_NOFILE; links beyond it are refused; more: larger clusters, less left to the host


@dataclass(frozen=True, slots=True)
class Balancing:
    """Local choices of `pick` and `route`."""

    failure_backoff_s: float = 1.0  # report_failure: skipped so long, doubling each time; more: fewer failed tries
    failure_backoff_max_s: float = 30.0  # up to so long; more: an instance that recovered is used later


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a peer. `Config(detection=Detection(ping_timeout_s=1.0))`, or start from a preset."""

    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    detection: Detection = field(default_factory=Detection)
    repair: Repair = field(default_factory=Repair)
    overlay: Overlay = field(default_factory=Overlay)
    joining: Joining = field(default_factory=Joining)
    limits: Limits = field(default_factory=Limits)
    links: Links = field(default_factory=Links)
    balancing: Balancing = field(default_factory=Balancing)

    def __post_init__(self) -> None:
        for part in fields(self):
            _check(part.name, getattr(self, part.name))
        if not INTERVAL_MIN_S <= self.heartbeats.interval_s <= INTERVAL_MAX_S:
            raise ConfigError(
                f"config.heartbeats.interval_s is {self.heartbeats.interval_s!r}; "
                f"it must be between {INTERVAL_MIN_S:g} and {INTERVAL_MAX_S:g}, such as 1.0"
            )
        if self.heartbeats.digest_grace_s >= self.heartbeats.interval_s:
            raise ConfigError("heartbeats.digest_grace_s is not below interval_s, so no digest would ever be judged: lower it")
        if self.limits.frame_bytes_max > self.limits.state_part_bytes_max:
            raise ConfigError(
                "limits.frame_bytes_max is above limits.state_part_bytes_max, but a frame must fit into a part: raise the latter"
            )
        if self.limits.state_part_bytes_max > 1 << 20:
            raise ConfigError("limits.state_part_bytes_max is above 1 MiB, which other peers' sockets refuse: lower it")
        if self.detection.suspicion_min_s > self.detection.suspicion_max_s:
            raise ConfigError("detection.suspicion_min_s is above suspicion_max_s: swap them")

    @classmethod
    def local(cls, **parts: Any) -> Config:
        """For one machine: quicker pings and suspicions. `parts` replace its own; raises `ConfigError`."""
        detection = Detection(ping_timeout_s=0.25, suspicion_max_s=3.0, suspicion_min_s=0.5)
        return replace(cls(detection=detection), **parts)

    @classmethod
    def lan(cls, **parts: Any) -> Config:
        """For one data centre; the defaults. `parts` as above."""
        return cls(**parts)

    @classmethod
    def wan(cls, **parts: Any) -> Config:
        """For links of 100 ms and more: patient pings, suspicions and repair. `parts` as above."""
        wide = cls(
            heartbeats=Heartbeats(interval_s=2.0, digest_grace_s=0.5, digest_history_s=2.0),
            detection=Detection(
                ping_timeout_s=2.0, probe_timeout_s=2.0, gather_s=0.1, suspicion_max_s=15.0, suspicion_min_s=3.0
            ),
            repair=Repair(timeout_s=10.0, reorder_s=1.0),
            links=Links(handshake_timeout_s=10.0, connect_timeout_s=5.0),
        )
        return replace(wide, **parts)


def _check(name: str, part: Any) -> None:
    wanted: Any = {f.name: f for f in fields(Config)}[name].default_factory
    if type(part) is not wanted:
        raise ConfigError(f"config.{name} is {part!r}, not a {wanted.__name__}(...): pass one, or leave it out")
    for item in fields(part):
        value: Any = getattr(part, item.name)
        default: Any = item.default
        kind = type(default)
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise ConfigError(f"config.{name}.{item.name} is {value!r}; it takes a positive {kind.__name__} such as {default!r}")
        if not 0 < value < 1e9:
            raise ConfigError(f"config.{name}.{item.name} is {value!r}; it must be above 0 and finite, such as {default!r}")
