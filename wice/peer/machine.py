"""One peer on one interface, without I/O: signaling, ICE and WireGuard meet in its effects.

The session says who the peer is today, an ICE agent for each of our own sessions finds a path,
and the device is pointed at it. Paths are never made worse (DESIGN D13): a newer session's agent
takes over only with a pair that works, and the older one carries the tunnel until then.
"""

from collections import deque
from collections.abc import Callable

from wice.datagram import Path
from wice.errors import RemoteProtocolError
from wice.events import Dropped, PeerTransitioned
from wice.ice import (
    Agent,
    AgentEvent,
    Candidate,
    ChecksExhausted,
    ChecksStarted,
    Credentials,
    MappingBehaviour,
    PairSelected,
    PairValidated,
    RemoteCheckReceived,
    SelectedPathDoubted,
    SelectedPathLost,
    SelectedPathTrusted,
    endpoint_of,
)
from wice.ice.candidate import base_of
from wice.keys import PublicKey
from wice.peer.descriptions import RemoteSide, describe
from wice.peer.effects import (
    AskServers,
    Effect,
    Emit,
    Gathered,
    Publish,
    RegisterAgent,
    SetPath,
    UnregisterAgent,
    WakeAgent,
)
from wice.peer.generations import Generation, Generations
from wice.peer.path_log import PathChange, PathLog
from wice.peer.stages import Stages
from wice.peer.states import TRANSITIONS, State, Stimulus
from wice.signaling.description import Description
from wice.signaling.session import (
    LocalSessionStarted,
    RemoteDescribed,
    Session,
    SessionEvent,
    SessionStatistics,
)

HANDSHAKE_WITHHELD_S = 2.0
"""How long the controlled side leaves the first handshake to the other (DESIGN D13)."""

PERSISTENT_KEEPALIVE_S = 25
"""A backstop: consent checks keep the NAT's mapping (RFC 7675)."""

LIVE_TRAFFIC_S = 15.0
"""A peer that WireGuard heard within this time is not given up for lost consent."""

SESSION_LIFETIME_S = 180.0
"""WireGuard's REJECT_AFTER_TIME: an older session carries nothing."""

NO_PATH_REASON = "no path so far"
DOUBTED_REASON = "the path does not answer at the moment"
AWAITS_HANDSHAKE_REASON = "no handshake on the path yet"


class PeerMachine:
    """Drive it with what happens, then take its effects until there are none left."""

    def __init__(
        self,
        *,
        interface: str,
        public_key: PublicKey,
        controlling: bool,
        random_bytes: Callable[[int], bytes],
        wall_time: Callable[[], float],
        gathered: Gathered,
        now: float,
    ) -> None:
        self.public_key = public_key
        self.added_at_s = now
        self.delivered_at_s: float | None = None
        self.state = State.SEEKING
        self.stages = Stages()
        self.path: Path | None = None
        self.is_relayed = False
        self.rtt_s: float | None = None
        self._interface = interface
        self._random_bytes = random_bytes
        self._controlling = controlling
        self._gathered = gathered
        self._remote = RemoteSide()
        self._trouble = ""
        self._path_log = PathLog()
        self._session = Session(random_bytes=random_bytes, wall_time=wall_time, now=now)
        self._generations = Generations()
        self._withheld_until: float | None = None
        self._handshake_at: float | None = None
        self._heard_at: float | None = None
        self._unheard_until: float | None = None
        self._strayed_at: float | None = None
        self._is_path_doubted = False
        self._effects: deque[Effect] = deque()
        self._settle(now)

    # What happens to the peer

    def receive_message(self, message: bytes, now: float) -> None:
        """A message that signaling proved to be the peer's."""
        try:
            self._session.receive(message, now)
        except RemoteProtocolError as error:
            self._drop_bytes("session", error, now)
        self._settle(now)

    def presence_changed(self, now: float, *, is_message_on_way: bool = False) -> None:
        """The overlay found the peer, or found it anew.

        is_message_on_way: a message to it is being handed over, and there is nothing to repeat.
        """
        self.stages.note_found(now)
        if not is_message_on_way:
            self._session.presence_changed(now)
        self._settle(now)

    def message_delivered(self, now: float) -> None:
        """The peer's side took a message of ours."""
        self.delivered_at_s = now

    def gathered_changed(self, gathered: Gathered, now: float) -> None:
        """The interface knows more of itself; the agents have the candidates already."""
        self._gathered = gathered
        if self._generations.newest is not None:
            self._describe(self._generations.newest, now)
        self._settle(now)

    def agent_event(self, agent: Agent, event: AgentEvent, now: float) -> None:
        """Something that an agent of ours reports; late words of a dropped one are ignored."""
        generation = self._generations.of_agent(agent)
        if generation is None:
            return
        match event:
            case ChecksStarted():
                self._transition(Stimulus.CHECKS_STARTED, now)
            case RemoteCheckReceived(remote_ufrag=remote_ufrag):
                generation.heard_ufrag = remote_ufrag
                self._confirm_if_heard(generation, now)
            case PairValidated(path=path, rtt_s=rtt_s, is_relayed=is_relayed):
                is_wanted = self._is_path_doubted or self.path is None
                if is_wanted or generation is not self._generations.carrying:
                    self._take_path(generation, path, rtt_s, is_relayed, now)
            case PairSelected(path=path, rtt_s=rtt_s, is_relayed=is_relayed):
                self._take_path(generation, path, rtt_s, is_relayed, now)
            case SelectedPathDoubted():
                self._is_path_doubted = True
                self._effects.append(AskServers())
            case SelectedPathTrusted(path=path, rtt_s=rtt_s, is_relayed=is_relayed):
                self._path_trusted(generation, path, rtt_s, is_relayed, now)
            case SelectedPathLost():
                self._path_lost(generation, now)
            case ChecksExhausted():
                if self.path is None:
                    self._trouble = NO_PATH_REASON
        self._settle(now)

    def traffic_received(self, received_at_s: float, now: float) -> None:
        """A packet of a WireGuard session came, the last one then: the first witness of liveness.

        A session outlives the path that it began on, and needs no handshake on the next.
        """
        self._heard_at = received_at_s
        if self._has_session(now):
            self._transition(Stimulus.SESSION_HEARD, now)

    def handshake_completed(self, path: Path | None, now: float) -> None:
        """WireGuard and the peer agreed on keys; the device sends along ``path``.

        The other side may have found that path before any check of ours was answered.
        """
        self._heard_at = self._handshake_at = now
        if self.path is None:
            self.path, self._trouble = path, ""
            self.is_relayed = path is not None and self._is_through_relay(path)
        self._transition(Stimulus.HANDSHAKE_COMPLETED, now)
        if self._withheld_until is not None:
            self._withheld_until = None
            self._point_wireguard()
        self._settle(now)

    def wireguard_uses(self, path: Path | None, now: float) -> None:
        """WireGuard sends along ``path``: it follows whoever it hears, late packets too.

        Where both sides follow one another, only ICE leads them back to its path, and does once
        that has answered since.
        """
        if self.path is None or path in (None, self.path):
            self._strayed_at = None
            return
        if self._strayed_at is None:
            self._strayed_at = now
        carrying = self._generations.carrying
        answered_at = None if carrying is None else carrying.agent.consented_at
        if answered_at is not None and answered_at > self._strayed_at:
            self._strayed_at = None
            self._point_wireguard()

    def remove(self, now: float) -> None:
        """The peer left our configuration."""
        while self._generations.newest is not None:
            self._drop(self._generations.newest)
        self._transition(Stimulus.PEER_REMOVED, now)

    def handle_timeout(self, now: float) -> None:
        if self._withheld_until is not None and now >= self._withheld_until:
            self._withheld_until = None
            self._point_wireguard()
        if self._unheard_until is not None and now >= self._unheard_until:
            self._unheard_until = None
            carrying = self._generations.carrying
            if carrying is not None and carrying.agent.selected is None:
                self._path_lost(carrying, now)
        expires_at_s = self._session_expires_at_s
        if expires_at_s is not None and now >= expires_at_s:
            self._transition(Stimulus.SESSION_EXPIRED, now)
        self._session.handle_timeout(now)
        self._settle(now)

    def deadline(self) -> float | None:
        if self.state is State.REMOVED:
            return None
        deadlines = (
            self._withheld_until,
            self._unheard_until,
            self._session_expires_at_s,
            self._session.deadline(),
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    @property
    def reason(self) -> str:
        """Why there is no path, or what it lacks, for a person; empty where all is well."""
        if self.path is not None and self._is_path_doubted:
            return DOUBTED_REASON
        if self.path is not None and self.awaits_handshake:
            return AWAITS_HANDSHAKE_REASON
        if self._trouble != NO_PATH_REASON:
            return self._trouble
        if not self._gathered.is_complete:
            return ""
        theirs = self._remote.nat_mapping or MappingBehaviour.UNKNOWN
        mappings = f"NAT mapping here: {self._gathered.nat_mapping}, there: {theirs}"
        has_relay = any(
            c.type == "relay" for c in (*self._gathered.candidates, *self._remote.candidates)
        )
        return f"{NO_PATH_REASON}; {mappings}{'' if has_relay else '; no relay here or there'}"

    @property
    def awaits_handshake(self) -> bool:
        """Whether WireGuard heard nothing, ever or since the peer came back without session."""
        if self._heard_at is None:
            return True
        carrying = self._generations.carrying
        return (
            carrying is not None
            and carrying.is_peer_sessionless
            and self._heard_at < carrying.began_at_s
        )

    @property
    def is_settled(self) -> bool:
        """Whether the peer acknowledged what we last said of ourselves."""
        return self._session.is_settled

    @property
    def agents(self) -> tuple[Agent, ...]:
        """The one that carries the tunnel, then the newest session's where that is another."""
        return self._generations.agents

    @property
    def gathered(self) -> Gathered:
        return self._gathered

    @property
    def remote_candidates(self) -> tuple[Candidate, ...]:
        """Those of the peer's last description."""
        return self._remote.candidates

    @property
    def remote_nat_mapping(self) -> str:
        """How the peer says that its NAT maps; empty before it said so."""
        return self._remote.nat_mapping

    @property
    def is_path_doubted(self) -> bool:
        return self._is_path_doubted

    @property
    def path_changes(self) -> tuple[PathChange, ...]:
        """The last changes of ``path``, oldest first."""
        return self._path_log.changes

    @property
    def signaling_statistics(self) -> SessionStatistics:
        return self._session.statistics

    def poll_effect(self) -> Effect | None:
        return self._effects.popleft() if self._effects else None

    # How it gets there

    def _settle(self, now: float) -> None:
        """One change, one drain: carry the session's events and messages over."""
        while (event := self._session.poll_event()) is not None:
            self._session_event(event, now)
        while (message := self._session.poll_transmit()) is not None:
            self._effects.append(Publish(message))
        self._path_log.note(self.path, self.is_relayed, now)

    def _session_event(self, event: SessionEvent, now: float) -> None:
        match event:
            case LocalSessionStarted(session_id=session_id):
                self._start_generation(session_id, now)
            case RemoteDescribed(local_session=local, remote_session=remote, description=said):
                generation = self._generations.of_session(local)
                if generation is not None:
                    self._take_description(generation, remote, said, now)
            case _:
                pass

    def _start_generation(self, session_id: bytes, now: float) -> None:
        for idle in self._generations.idle:
            self._drop(idle)
        credentials = Credentials.generate(self._random_bytes)
        agent = Agent(
            controlling=self._controlling,
            local=credentials,
            random_bytes=self._random_bytes,
            now=now,
        )
        generation = Generation(session_id, agent, credentials, now)
        self._generations.add(generation)
        self._effects.append(RegisterAgent(agent))
        self._describe(generation, now)

    def _describe(self, generation: Generation, now: float) -> None:
        description = describe(
            generation.credentials, self._gathered, has_session=self._has_session(now)
        )
        self._session.set_local(description, now)

    def _take_description(
        self, generation: Generation, remote_session: bytes, said: Description, now: float
    ) -> None:
        self.stages.note_found(now)
        self._transition(Stimulus.DESCRIPTION_RECEIVED, now)
        try:
            credentials = Credentials(said.ufrag, said.password)
        except RemoteProtocolError as error:
            self._drop_bytes("description", error, now)
            return
        generation.remote_session, generation.remote_ufrag = remote_session, said.ufrag
        self._confirm_if_heard(generation, now)
        self._remote.take(said, lambda error: self._drop_bytes("candidate", error, now))
        generation.is_peer_sessionless = not self._remote.has_session
        # A check through the peer's relay may come before the word that there is one.
        if self.path is not None and self._is_through_relay(self.path):
            self.is_relayed = True
        agent = generation.agent
        agent.set_remote(credentials, now, renomination=self._remote.can_renominate)
        self._give_candidates(agent, now)
        if said.end_of_candidates:
            agent.end_of_candidates(now)
        self._effects.append(WakeAgent(agent))

    def _give_candidates(self, agent: Agent, now: float) -> None:
        """Those that the peer no longer names go."""
        for candidate in self._remote.candidates:
            try:
                agent.add_remote_candidate(candidate, now)
            except RemoteProtocolError as error:
                self._drop_bytes("candidate", error, now)
        agent.retain_remote_candidates({endpoint_of(c) for c in self._remote.candidates}, now)

    def _take_path(
        self,
        generation: Generation,
        path: Path,
        rtt_s: float | None,
        is_relayed: bool,
        now: float,
    ) -> None:
        """A pair of ``generation`` works: it carries the tunnel from now on."""
        if self._generations.is_outdated(generation):
            return
        replaced = self._generations.carrying
        self._generations.carrying = generation
        self._is_path_doubted = False
        if replaced is not None and replaced is not generation:
            self._drop(replaced)
        is_first = self.path is None
        self.path, self.is_relayed = path, is_relayed
        self.rtt_s, self._trouble = rtt_s, ""
        self._transition(Stimulus.PATH_SELECTED, now, detail=self._named(path))
        if is_first and not self._controlling and self._other_starts(now):
            self._withheld_until = now + HANDSHAKE_WITHHELD_S
        elif self._withheld_until is None:
            self._point_wireguard()

    def _path_trusted(
        self, generation: Generation, path: Path, rtt_s: float, is_relayed: bool, now: float
    ) -> None:
        """ICE stays with ``path`` after all: a pair taken while it was doubted may be dead."""
        self._is_path_doubted = False
        if generation is self._generations.carrying and path != self.path:
            self._take_path(generation, path, rtt_s, is_relayed, now)

    def _confirm_if_heard(self, generation: Generation, now: float) -> None:
        """A check of theirs proves that they know our session; an answer to ours does not.

        Any older agent of theirs answers whoever has its credentials.
        """
        remote_session = generation.remote_session
        if remote_session is not None and generation.heard_ufrag == generation.remote_ufrag:
            self._session.confirm(generation.local_session, remote_session, now)

    def _has_session(self, now: float) -> bool:
        return self._handshake_at is not None and now < self._handshake_at + SESSION_LIFETIME_S

    @property
    def _session_expires_at_s(self) -> float | None:
        """When a peer that is connected is not any more, unless a handshake comes before."""
        if self.state is not State.CONNECTED or self._handshake_at is None:
            return None
        return self._handshake_at + SESSION_LIFETIME_S

    def _other_starts(self, now: float) -> bool:
        """Whether the controlling side is about to start a handshake.

        It is not where it thinks that it has a session: then we are the ones who were restarted.
        """
        return not self._has_session(now) and not self._remote.has_session

    def _named(self, path: Path) -> str:
        by_relay = f" through {path.source}" if self._is_through_our_relay(path) else ""
        return f"{path.remote}{by_relay}"

    def _is_through_our_relay(self, path: Path) -> bool:
        return any(
            base_of(c) == path.source for c in self._gathered.candidates if c.type == "relay"
        )

    def _is_through_relay(self, path: Path) -> bool:
        """Whether a path has a relay at one of its ends, as far as both sides told of theirs."""
        return self._is_through_our_relay(path) or any(
            endpoint_of(c) == path.remote for c in self._remote.candidates if c.type == "relay"
        )

    def _point_wireguard(self) -> None:
        assert self.path is not None
        self._effects.append(SetPath(self.path, PERSISTENT_KEEPALIVE_S))

    def _path_lost(self, generation: Generation, now: float) -> None:
        if generation is not self._generations.carrying:
            return
        if self._heard_at is not None and now < self._heard_at + LIVE_TRAFFIC_S:
            self._unheard_until = self._heard_at + LIVE_TRAFFIC_S
            # WireGuard may be heard and not hear us: any other pair that works is taken at once.
            self._is_path_doubted = True
            return
        # The device keeps sending where it did: a path that may come back beats none.
        self._transition(Stimulus.PATH_LOST, now, detail=str(self.path and self.path.remote))
        self.path, self.rtt_s, self._trouble = None, None, "the path stopped answering"
        self.is_relayed = False
        self._withheld_until = None
        if generation is self._generations.newest:
            self._session.restart(now)

    def _drop_bytes(self, room: str, error: RemoteProtocolError, now: float) -> None:
        self._effects.append(Emit(Dropped(at_s=now, room=room, reason=str(error))))

    def _drop(self, generation: Generation) -> None:
        self._generations.remove(generation)
        self._effects.append(UnregisterAgent(generation.agent))

    def _transition(self, stimulus: Stimulus, now: float, *, detail: str = "") -> None:
        old = self.state
        if old is not State.REMOVED:
            self.stages.note(stimulus, now)
        new = TRANSITIONS.get((old, stimulus))
        if new is None:
            return
        self.state = new
        if new is not old or stimulus is Stimulus.PATH_SELECTED:
            transition = PeerTransitioned(
                at_s=now,
                interface=self._interface,
                peer=self.public_key,
                old=str(old),
                new=str(new),
                cause=str(stimulus),
                detail=detail,
            )
            self._effects.append(Emit(transition))
