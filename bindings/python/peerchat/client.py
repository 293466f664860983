"""The client: a running node, with a user on top of it unless it was opened without one."""

from __future__ import annotations

import asyncio
import atexit
import os
import time
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from types import TracebackType
from typing import Any

from ._native import native
from .errors import ClosedError, ForkedError, translated
from .events import Event, State, from_native, from_unix_ms

#: How long a blocking wait stays inside the library, where Ctrl-C does not reach it, in seconds.
_SLICE = 0.2


@dataclass(frozen=True)
class FoundUser:
    """What a lookup of a name found."""

    #: The name in the form in which names are compared.
    name: str
    #: The person behind it.
    user_id: str
    #: The first 8 characters of the person's id.
    fingerprint: str
    #: The node that their device last announced.
    node_id: str
    #: Where that node was last announced to be, one per address family at most.
    addresses: list[str]


@dataclass(frozen=True)
class Identity:
    """Who the person behind a name is, as far as this profile goes."""

    #: How they are shown and addressed: `alice` or `alice#7kq2m4xd`.
    name: str
    #: Who they are.
    user_id: str
    #: The first 8 characters of the person's id.
    fingerprint: str
    #: Whether they are marked as verified.
    is_verified: bool
    #: Who else was seen to hold the name; see `events.IdentityChanged`.
    rival_user_id: str | None


class Relation(IntEnum):
    """What a person is to the user of a profile."""

    #: Nobody in particular: never met, removed from the contacts, or unblocked. Their next message makes a request.
    STRANGER = 0
    #: They have introduced themselves, or written, and nothing was decided. What they write arrives; they get no read
    #: receipts.
    REQUEST = 1
    #: Accepted, added or written to.
    CONTACT = 2
    #: Nothing of theirs is taken.
    BLOCKED = 3


class Serve(IntEnum):
    """Whether a node keeps records and mail for others and is listed in their routing tables."""

    #: If others can reach it: if it was reached from an address to which it has sent nothing, if its peers are at
    #: loopback or private addresses, or as long as it knows fewer than three others.
    AUTO = 0
    #: Yes, unproven: for whoever knows that the node can be reached.
    ALWAYS = 1
    #: No, so that nobody asks it for anything: for programs that soon end, and where others must not cost battery or
    #: data.
    NEVER = 2


@dataclass(frozen=True)
class Person:
    """Somebody in the list of `Client.contacts`."""

    #: How they are shown and addressed: `alice` or `alice#7kq2m4xd`.
    name: str
    #: Who they are; None for a contact who was added and not found yet.
    user_id: str | None
    #: The first 8 characters of the person's id.
    fingerprint: str | None
    #: What they are to this user.
    relation: Relation
    #: Whether they are marked as verified.
    is_verified: bool


@dataclass(frozen=True)
class HistoryEntry:
    """One message of the history."""

    #: Names the message in this profile.
    id: str
    #: Its place in the history of the profile, for paging.
    position: int
    #: The other person of the conversation: `alice` or `alice#7kq2m4xd`.
    peer: str
    #: Whether this profile's user wrote it.
    is_own: bool
    #: What was written.
    text: str
    #: When it was written, by the writer's clock.
    sent: datetime
    #: When it was saved here.
    received: datetime
    #: How far it has come; None for a received message.
    state: State | None
    #: How many nodes keep it for the recipient, if its state is STORED; else 0.
    held_by: int
    #: Whether it is of somebody who is neither a contact nor blocked.
    is_request: bool


@dataclass(frozen=True)
class Statistics:
    """Counts since the client was opened, but for the gauges."""

    #: Contacts in the routing table now.
    contact_count: int
    #: Records kept for the network now.
    record_count: int
    #: Whether the node keeps records and mail for others now: whether they can reach it, as far as it knows.
    is_serving: bool
    #: Envelopes kept now for people who are away.
    mail_count: int
    #: How much of `mail_quota` they take now, in bytes.
    mail_len: int
    #: Envelopes taken for people who were away.
    mail_deposited: int
    #: Of these, how many were given to their recipients; one that was asked for twice counts twice.
    mail_fetched: int
    #: Requests about mail that were refused, for whatever reason.
    mail_refused: int
    #: Of these, for want of room.
    mail_refused_full: int
    #: Of these, because too many waited.
    mail_refused_busy: int
    #: Of these, because a stranger had not worked as much as the room asked for.
    mail_refused_work: int
    #: Of these, because a token was none, or had expired.
    mail_refused_token: int
    #: How often an envelope of this user was not left with a node because of the work that it asked for.
    work_given_up: int
    #: Messages of our own that are not finished now, and receipts for mail that nobody has taken yet: at 0 nothing is
    #: lost to others if the client closes.
    outbox_count: int
    #: Encrypted links that are up now.
    link_count: int
    #: QUIC connections that are up now.
    connection_count: int
    #: Requests sent to the network, for whatever reason; one that had to be repeated counts once.
    requests_sent: int
    #: Searches of the network that have ended, for whatever reason.
    searches_ended: int
    #: The sum over these searches of how many requests in a row led to what they found.
    search_hops: int
    #: Records that others wanted kept here and that were refused, for whatever reason.
    refused_records: int
    #: Of these, because they were malformed: too short or long, of an unknown kind, with times that do not fit.
    refused_malformed: int
    #: Of these, because they were under a key that is not their owner's.
    refused_foreign_key: int
    #: Of these, claims on what is no user name.
    refused_bad_name: int
    #: Of these, because their signature is not the owner's.
    refused_bad_signature: int
    #: Of these, because they have expired.
    refused_expired: int
    #: Of these, because they are numbered or dated too far ahead of the clock.
    refused_too_far_ahead: int
    #: Of these, because a later one of the same owner is kept.
    refused_older: int
    #: Of these, claims on a name that somebody else holds.
    refused_owned: int
    #: Of these, because the node keeps as many as it may.
    refused_full: int
    #: Datagrams sent.
    datagrams_sent: int
    #: Datagrams received, dropped ones included.
    datagrams_received: int
    #: Bytes of UDP payload sent.
    bytes_sent: int
    #: Bytes of UDP payload received.
    bytes_received: int
    #: Sealed envelopes for this user that were dropped because they do not open, or nobody that is known wrote them.
    mail_dropped: int
    #: Messages, introductions and envelopes of people whom this user has blocked that were turned away.
    blocked: int
    #: Introductions and envelopes of strangers that were turned away because there were too many requests.
    requests_refused: int
    #: Typing notices of others that were not told: of nobody who is a contact, malformed, or too many.
    hints_dropped: int
    #: Whether one party may be all that the node sees, as far as it can tell: its contacts lie in fewer than three
    #: large blocks of public addresses, or its neighbours' ids are much denser than others, so that somebody must
    #: have chosen them.
    is_surrounded: bool
    #: Requests of others that were dropped because they came faster than the limits allow; they count as dropped too.
    requests_too_fast: int
    #: Requests of others that were answered that there is no room now, because too many of them, or too much for the
    #: disk, waited.
    requests_busy: int
    #: Requests of others that were forgotten before they were answered, because too many waited, or too long.
    requests_forgotten: int
    #: Events that say how far a message came and that were dropped because the application left too many; the state can
    #: still be asked for.
    events_dropped: int
    #: Datagrams and requests dropped because they were malformed, foreign, replayed or not authentic.
    dropped: int


class Events:
    """The events of a client, for `async for` and for `for`; both end when the client is closed."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._client.next_event()
        except ForkedError:
            raise
        except ClosedError:
            raise StopAsyncIteration from None

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            while True:
                if (event := self._client.poll(None)) is not None:
                    return event
        except ForkedError:
            raise
        except ClosedError:
            raise StopIteration from None


class Client:
    """A running node, with a user on top of it unless it was opened without one.

    Opening blocks briefly, on the disk only. Close it with `async with`, with `with`, or by `shutdown`. Every method
    may be called from any thread; coroutines belong to their event loop, as all do. In a process that was forked after
    a client was opened, every call raises `ForkedError`.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        user: str | None = None,
        network: str | None = None,
        bind: str | None = None,
        port: int | None = None,
        k: int | None = None,
        alpha: int | None = None,
        message_lifetime: timedelta | None = None,
        mail_quota: int | None = None,
        read_receipts: bool | None = None,
        passphrase: str | None = None,
        memory_limit: int | None = None,
        limits: Mapping[str, int] | None = None,
        serve: Serve | None = None,
    ) -> None:
        """Opens the profile, binds the socket and starts the node.

        `data_dir` is made if it is missing; None keeps the profile in memory, where it is gone when the client
        closes. `user` None opens a node that serves the network and nobody in particular. `bind` is ip:port and
        excludes `port`; the default is any port on every address. `message_lifetime` is how long an undelivered
        message is retried, by default 30 days. `mail_quota` is how many bytes of mail the node keeps for people who are
        away, by default 1 GiB, or 64 MiB in memory; 0 keeps none. `read_receipts` False tells nobody what was read; by
        default contacts are told what `mark_read` marks. `passphrase` is the one that the profile has, or gets if it is new: it
        encrypts the keys on disk; `change_passphrase` sets, changes and removes it. `memory_limit` is how many bytes of memory
        others can make the node take, 40 MiB or more, by default 256 MiB; `limits` sets limits by the names in
        docs/limits.md. `serve` says whether the node keeps records and mail for others, by default `Serve.AUTO`.
        """
        _threads.check()
        options = native.ClientOptions(
            data_dir=None if data_dir is None else os.fspath(data_dir),
            user=user,
            network=network,
            bind=bind,
            port=port,
            k=k,
            alpha=alpha,
            message_lifetime_ms=None if message_lifetime is None else message_lifetime // timedelta(milliseconds=1),
            mail_quota_len=mail_quota,
            read_receipts=read_receipts,
            passphrase=passphrase,
            memory_limit_len=memory_limit,
            limits=None if limits is None else dict(limits),
            serve=None if serve is None else native.Serve(serve),
        )
        with translated():
            self._native: Any = native.Client(options)
        #: The wait for the next event, which outlives an `await` that was cancelled: its event goes to the next one.
        self._pending: asyncio.Future[Any] | None = None
        _open_clients.add(self)
        _threads.clients.add(self)

    @property
    def user_name(self) -> str | None:
        """The user's name in the form in which names are compared, None for a node without a user."""
        name: str | None = self._native.user_name()
        return name

    @property
    def user_id(self) -> str | None:
        """The user's id, None for a node without a user."""
        user: str | None = self._native.user_id()
        return user

    @property
    def user_fingerprint(self) -> str | None:
        """The first 8 characters of the user's id, None for a node without a user."""
        fingerprint: str | None = self._native.user_fingerprint()
        return fingerprint

    @property
    def node_id(self) -> str:
        """The node's id."""
        node: str = self._native.node_id()
        return node

    @property
    def node_key(self) -> str:
        """The node's key, the part before @ in key@host:port."""
        key: str = self._native.node_key()
        return key

    @property
    def local_address(self) -> str:
        """The UDP address that the node is bound to, with the port that the system chose."""
        address: str = self._native.local_address()
        return address

    def bootstrap(self, address: str) -> int:
        """Joins the network through the node at host:port, [ipv6]:port or key@host:port.

        Returns an id at once; `events.Bootstrapped` or `events.BootstrapFailed` follows with the same id.
        """
        with translated():
            command_id: int = self._native.bootstrap(address)
        return command_id

    async def send(self, recipient: str, text: str, *, lifetime: timedelta | None = None) -> str:
        """Saves a text for sending and returns its id once it is on disk; `events.MessageState` tells the rest.

        `recipient` is `alice` or `alice#7kq2m4xd`, and a contact from then on. `lifetime` is how long the message is retried
        while it is not delivered, 1 second to 30 days; None: as long as the client was told. Cancelling the call does not
        take the message back; `cancel` does.
        """
        with translated():
            message_id: str
            if lifetime is None:
                message_id = await self._native.send(recipient, text)
            else:
                message_id = await self._native.send_for(recipient, text, _milliseconds(lifetime))
        return message_id

    def send_blocking(self, recipient: str, text: str, *, lifetime: timedelta | None = None) -> str:
        """Does what `send` does, outside of asyncio. It waits for the disk, never for the network."""
        with translated():
            message_id: str
            if lifetime is None:
                message_id = self._native.send_blocking(recipient, text)
            else:
                message_id = self._native.send_for_blocking(recipient, text, _milliseconds(lifetime))
        return message_id

    def cancel(self, message_id: str) -> None:
        """Stops retrying a message of our own that is not delivered. Waits for the disk.

        What is under way already, or kept by others for the recipient, cannot be called back and may still arrive.
        """
        with translated():
            self._native.cancel(message_id)

    def set_typing(self, recipient: str, is_typing: bool) -> None:
        """Says whether this user is typing to somebody, who is shown it if they are a contact and there: `events.Typing`.

        To be called with every key, and with False when the text is deleted or left alone for a while: no more than one notice
        in 3 seconds goes out, and sending a text says that typing has ended. Who never calls this tells nobody.

        It goes over an encrypted link to the person's device that is up already, and is neither saved nor repeated nor kept by
        others: if they are away, or no link is up, or they are no contact, nothing happens, and nothing tells so. Waits for the
        node to take it, neither for the disk nor for the network. Raises `errors.NotMetError` for somebody who was neither met
        nor added.
        """
        with translated():
            self._native.set_typing(recipient, is_typing)

    def mark_read(self, message_id: str) -> None:
        """Marks a received message, and everything that the person wrote before it, as read. Waits for the disk.

        If they are a contact they are told, unless the client was opened with `read_receipts` False.
        """
        with translated():
            self._native.mark_read(message_id)

    def contacts(self) -> list[Person]:
        """Returns everybody who is a contact, has made a request or is blocked, in the order in which they were met."""
        with translated():
            people = self._native.contacts()
        return [Person(**{**vars(person), "relation": Relation(person.relation.value)}) for person in people]

    def add_contact(self, name: str) -> None:
        """Makes somebody a contact, whether they were met or not. Waits for the disk."""
        with translated():
            self._native.add_contact(name)

    def accept_contact(self, name: str) -> None:
        """Makes somebody who has made a request a contact. Waits for the disk.

        What of theirs was marked as read before is told to them now.
        """
        with translated():
            self._native.accept_contact(name)

    def block(self, name: str) -> None:
        """Blocks somebody who was met. Waits for the disk.

        Nothing of theirs is taken any more: what they deliver fails at their side with
        `errors.ErrorCode.BLOCKED_BY_RECIPIENT`; what they leave with others is dropped unread. What is still owed to them is
        canceled. A block is of a person's key, not of a name.
        """
        with translated():
            self._native.block(name)

    def unblock(self, name: str) -> None:
        """Takes what somebody writes again; their next message makes a request. Waits for the disk."""
        with translated():
            self._native.unblock(name)

    def remove_contact(self, name: str) -> None:
        """Takes somebody out of the contacts, or turns their request down. Waits for the disk.

        What was said stays. Their next message makes a request again: `block` them if there should be none.
        """
        with translated():
            self._native.remove_contact(name)

    def events(self) -> Events:
        """Returns the events from now on, for `async for` or for `for`, until the client is closed."""
        return Events(self)

    async def next_event(self) -> Event:
        """Waits for the next event. Asking for the next one confirms the last; cancelling the call loses none."""
        while True:
            pending = self._pending_event()
            await asyncio.wait([pending])
            if self._pending is pending:
                self._pending = None
                with translated():
                    return from_native(pending.result())
            # Another coroutine waited for the same event and has taken it.

    def _pending_event(self) -> asyncio.Future[Any]:
        pending = self._pending
        if pending is None or pending.cancelled() or pending.get_loop() is not asyncio.get_running_loop():
            pending = asyncio.ensure_future(self._native.next_event())
            # If nobody asks again, nobody needs to hear that the client was closed.
            pending.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._pending = pending
        return pending

    def poll(self, timeout: float | None = 0) -> Event | None:
        """Waits up to `timeout` seconds (None: for ever) for the next event, outside of asyncio.

        Ctrl-C interrupts it. Do not use it and `next_event` of the same client by turns.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _SLICE if deadline is None else min(_SLICE, max(0.0, deadline - time.monotonic()))
            with translated():
                event = self._native.poll(round(left * 1000))
            if event is not None:
                return from_native(event)
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def message_state(self, message_id: str) -> State:
        """Returns how far a message of our own has come."""
        with translated():
            return State(self._native.message_state(message_id).value)

    def message_holders(self, message_id: str) -> int:
        """Returns how many nodes keep a message of our own for its recipient, who is away: 0 unless it is STORED."""
        with translated():
            return int(self._native.message_holders(message_id))

    def history(self, peer: str, *, before: int | None = None, limit: int = 50) -> list[HistoryEntry]:
        """Returns up to `limit` messages of the conversation with `peer`, the latest first.

        `before` is the `position` of an entry, to go on from there. Reads the disk on the calling thread.
        """
        with translated():
            entries = self._native.history(peer, before, limit)
        return [_history_entry(entry) for entry in entries]

    def search(
        self, words: str, *, peer: str | None = None, before: int | None = None, limit: int = 50
    ) -> list[HistoryEntry]:
        """Returns up to `limit` messages that hold every word of `words`, the latest first.

        Case and accents do not count, and `*` right after a word stands for whatever ends it. With `peer`, only what was
        said with them; `before` is the `position` of an entry, to go on from there. Reads the disk on the calling
        thread; the first search of a profile indexes it, about half a minute for each million messages.
        """
        with translated():
            entries = self._native.search(words, peer, before, limit)
        return [_history_entry(entry) for entry in entries]

    def export(self, path: str | os.PathLike[str], passphrase: str) -> None:
        """Writes the profile as it is now into a new file that `passphrase` encrypts.

        The profile that `import_profile` makes of it continues as this very device: close this client right after, and do
        not open its profile again. Reads and writes the disk on the calling thread.
        """
        with translated():
            self._native.export(os.fspath(path), passphrase)

    async def lookup(self, name: str) -> FoundUser:
        """Looks a name up in the directory."""
        with translated():
            found = await self._native.lookup(name)
        return FoundUser(**vars(found))

    def lookup_wait(self, name: str) -> FoundUser:
        """Does what `lookup` does, outside of asyncio. It waits for the network, some seconds at most."""
        with translated():
            found = self._native.lookup_wait(name)
        return FoundUser(**vars(found))

    def identity(self, name: str) -> Identity:
        """Returns who the person is whom messages to this name go to, whoever holds the name by now."""
        with translated():
            identity = self._native.identity(name)
        return Identity(**vars(identity))

    def safety_number(self, name: str) -> str:
        """Returns the safety number with the person of this name: 60 digits in groups of five, the same on both sides.

        If two people read it to each other and it agrees, nobody sits between them: mark it with `set_verified`.
        """
        with translated():
            number: str = self._native.safety_number(name)
        return number

    def set_verified(self, name: str, is_verified: bool = True) -> None:
        """Marks the person of this name as verified, or no longer. Waits for the disk.

        The mark belongs to the person's key: who takes over the name does not get it.
        """
        with translated():
            self._native.set_verified(name, is_verified)

    def accept_identity(self, name: str, user_id: str) -> None:
        """Lets a name mean the person who holds it now, after `events.IdentityChanged` has named them.

        From then on messages to the name go to them. What was said so far, and what is still to be delivered, stays with
        the person it was written to, who goes by name and fingerprint from then on. Waits for the disk.
        """
        with translated():
            self._native.accept_identity(name, user_id)

    def statistics(self) -> Statistics:
        """Returns counts and gauges."""
        with translated():
            statistics = self._native.statistics()
        return Statistics(**vars(statistics))

    def close(self) -> None:
        """Closes the client and returns at once: waiting calls raise `ClosedError`, and so do later ones."""
        self._native.close()

    def shutdown(self) -> bool:
        """Closes the client and waits, up to 1.5 seconds, until its port and profile are free again.

        Returns whether they are; if not, calling it again waits for longer, and so does opening the same profile.
        """
        _open_clients.discard(self)
        is_done: bool = self._native.shutdown()
        return is_done

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        await asyncio.to_thread(self.shutdown)


def profile_exists(data_dir: str | os.PathLike[str], user: str) -> bool:
    """Tells whether a data directory holds a profile of this user, without opening it."""
    with translated():
        exists: bool = native.profile_exists(os.fspath(data_dir), user)
    return exists


def change_passphrase(
    data_dir: str | os.PathLike[str], user: str | None, old: str | None, new: str | None
) -> None:
    """Sets, changes or removes (None) the passphrase of a profile that no client has open.

    `user` None is the node without a user. All of it happens or nothing. Takes about half a second.
    """
    with translated():
        native.change_passphrase(os.fspath(data_dir), user, old, new)


def import_profile(
    archive: str | os.PathLike[str],
    passphrase: str,
    data_dir: str | os.PathLike[str],
    new_passphrase: str | None = None,
) -> str:
    """Makes a profile in `data_dir` of a file that `Client.export` wrote, and returns the user's name.

    `new_passphrase` is the one that the profile gets. All of it happens or nothing, and a profile that exists is never
    touched. Blocks the calling thread as long as it takes to copy the profile: in a coroutine, use `asyncio.to_thread`.
    """
    with translated():
        user: str = native.import_profile(os.fspath(archive), passphrase, os.fspath(data_dir), new_passphrase)
    return user


def version() -> str:
    """Returns the version of the library."""
    text: str = native.version()
    return text


def _milliseconds(lifetime: timedelta) -> int:
    # What is below zero is refused by the library as too short.
    return max(0, lifetime // timedelta(milliseconds=1))


def _history_entry(entry: Any) -> HistoryEntry:
    return HistoryEntry(
        id=entry.id,
        position=entry.position,
        peer=entry.peer,
        is_own=entry.is_own,
        text=entry.text,
        sent=from_unix_ms(entry.sent_unix_ms),
        received=from_unix_ms(entry.received_unix_ms),
        state=None if entry.state is None else State(entry.state.value),
        held_by=entry.held_by,
        is_request=entry.is_request,
    )


_open_clients: weakref.WeakSet[Client] = weakref.WeakSet()


class _Threads:
    """The threads of the library: they begin with the first client, and a fork does not copy them."""

    def __init__(self) -> None:
        #: Everything that was opened and is still referred to.
        self.clients: weakref.WeakSet[Client] = weakref.WeakSet()
        self._have_begun = False
        self._are_lost = False

    def check(self) -> None:
        """Notes that threads are needed, and raises if they were lost."""
        if self._are_lost:
            raise _forked()
        self._have_begun = True

    def lose(self) -> None:
        """Called in a child: nothing here may reach into the library, where it would wait for ever."""
        self._are_lost = self._have_begun
        for client in list(self.clients):
            # Not freed either: that, too, takes the threads.
            client._native._handle = None
            client._native = _LeftBehind()
        _open_clients.clear()


class _LeftBehind:
    """Stands for the native client in a process that was forked."""

    #: What `_Threads.lose` clears, should the child fork again.
    _handle = None

    def __getattr__(self, name: str) -> Any:
        raise _forked()


def _forked() -> ForkedError:
    return ForkedError(
        "the process was forked after a client was opened: open the first client after the fork, or start processes "
        "by multiprocessing's method `spawn`"
    )


_threads = _Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.lose)


@atexit.register
def _shut_down_at_exit() -> None:
    """Ends the nodes while there is an interpreter: their threads must not call into one that is gone."""
    for client in list(_open_clients):
        client.shutdown()
