"""What an application is told. Match on the class of an event, and ignore classes that you do not know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from typing import Any, Union

from ._native import native
from .errors import ErrorCode

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST = datetime(9999, 12, 31, tzinfo=timezone.utc)
_LATEST_MS = (_LATEST - _EPOCH) // timedelta(milliseconds=1)


class State(IntEnum):
    """How far a sent message has come. States only move forward, and each is true when it is told."""

    #: A state that this version has no name for: it is on its way.
    OTHER = 0
    #: On this disk; not yet with the recipient. It is retried until it expires.
    QUEUED = 1
    #: On this disk, and sealed on the disks of nodes that keep it for the recipient, who is away; they said so. It is
    #: still retried until it expires.
    STORED = 2
    #: On the disk of a device of the recipient, which said so.
    DELIVERED = 3
    #: As DELIVERED, and the recipient's application has marked it as read, and said so. Never told by a recipient who sends
    #: no read receipts, or to whom this user is no contact.
    READ = 4
    #: Given up: it was not delivered within its lifetime.
    EXPIRED = 5
    #: Given up for a reason that retrying does not change.
    FAILED = 6
    #: Given up by `Client.cancel`, or because this user blocked the recipient. A copy that was under way, or kept by others,
    #: cannot be called back and may still arrive.
    CANCELED = 7

    @property
    def is_final(self) -> bool:
        """Whether the message was delivered or given up: nothing is retried any more. DELIVERED may become READ."""
        return self in (State.DELIVERED, State.READ, State.EXPIRED, State.FAILED, State.CANCELED)


@dataclass(frozen=True)
class Bootstrapped:
    """A bootstrap call reached its node, and the own place in the network was looked up."""

    #: What the bootstrap call returned.
    command_id: int
    #: The node that answered.
    node_id: str
    #: Its address.
    address: str


@dataclass(frozen=True)
class BootstrapFailed:
    """A bootstrap call reached nobody."""

    #: What the bootstrap call returned.
    command_id: int
    #: The address as it was given.
    address: str
    #: What went wrong.
    code: ErrorCode
    #: The same in words, with what to do about it.
    detail: str


@dataclass(frozen=True)
class Online:
    """Other nodes answer."""

    #: How many nodes this one knows.
    contact_count: int


@dataclass(frozen=True)
class Offline:
    """No known node answers any more; they are tried again with growing pauses."""


@dataclass(frozen=True)
class Registered:
    """The user's name is held by a majority of the nodes responsible for it."""

    #: The name.
    name: str
    #: The user.
    user_id: str
    #: The first 8 characters of the user's id.
    fingerprint: str


@dataclass(frozen=True)
class RegistrationFailed:
    """The user's name could not be registered; messages still work by fingerprint."""

    #: The name.
    name: str
    #: Who holds it.
    holder_id: str
    #: The first 8 characters of the holder's id.
    holder_fingerprint: str
    #: What went wrong.
    code: ErrorCode
    #: The same in words, with what to do about it.
    detail: str


@dataclass(frozen=True)
class Message:
    """A message arrived and is on disk."""

    #: Names the message in this profile.
    id: str
    #: Who wrote it: `alice` or `alice#7kq2m4xd`.
    sender: str
    #: The person behind the name.
    user_id: str
    #: The first 8 characters of the person's id.
    fingerprint: str
    #: What they wrote.
    text: str
    #: Counts the messages of this sender to us, from 1, without gaps but for those the sender gave up.
    number: int
    #: When it was written, by the sender's clock.
    sent: datetime
    #: When it was saved here.
    received: datetime
    #: Whether the person is neither a contact nor blocked: `Client.accept_contact` or `Client.block` decides.
    is_request: bool


@dataclass(frozen=True)
class MessageState:
    """A sent message came further, or was given up."""

    #: What the send call returned.
    id: str
    #: Whom it is for, as it was addressed.
    recipient: str
    #: How far it came.
    state: State
    #: How many nodes keep it for the recipient, if it is STORED; else 0.
    held_by: int
    #: Why it was given up.
    code: ErrorCode | None
    #: The same in words; empty unless it was given up.
    detail: str


@dataclass(frozen=True)
class Closed:
    """The client stopped by itself: nothing follows. Open the profile again to go on."""

    #: What went wrong.
    code: ErrorCode
    #: The same in words.
    detail: str


@dataclass(frozen=True)
class IdentityChanged:
    """A name by which somebody is known here belongs to another key now.

    Messages to the name still go to the person who was met, and nothing to the other until `Client.accept_identity`. Told
    again whenever the profile is opened, until then or until the name is the person's again.
    """

    #: The name.
    name: str
    #: The person who was met under it.
    old_user_id: str
    #: The first 8 characters of that person's id.
    old_fingerprint: str
    #: The person who holds the name now.
    user_id: str
    #: The first 8 characters of that person's id.
    fingerprint: str


@dataclass(frozen=True)
class NameContested:
    """The network does not agree on who holds a name that something was sent to; what was sent fails."""

    #: The name.
    name: str
    #: Everyone who was named, most often named first, as to address them: `alice#7kq2m4xd`.
    claimants: list[str]


@dataclass(frozen=True)
class Typing:
    """A contact is typing, or has stopped.

    Told once for each change. It ends by itself: when a text of theirs arrives, just before its `Message`, or when nothing was
    heard of it for 10 seconds. Only the latest word on each person waits to be taken, and none is told again after a restart.
    """

    #: Who: `alice` or `alice#7kq2m4xd`.
    sender: str
    #: The person behind the name.
    user_id: str
    #: The first 8 characters of the person's id.
    fingerprint: str
    #: Whether they are typing now.
    is_typing: bool


@dataclass(frozen=True)
class Other:
    """Something that this version has no words for; ignore it."""


Event = Union[
    Bootstrapped,
    BootstrapFailed,
    Online,
    Offline,
    Registered,
    RegistrationFailed,
    Message,
    MessageState,
    Closed,
    IdentityChanged,
    NameContested,
    Typing,
    Other,
]

_KINDS: dict[str, type[Event]] = {
    "BOOTSTRAPPED": Bootstrapped,
    "BOOTSTRAP_FAILED": BootstrapFailed,
    "ONLINE": Online,
    "OFFLINE": Offline,
    "REGISTERED": Registered,
    "REGISTRATION_FAILED": RegistrationFailed,
    "MESSAGE": Message,
    "MESSAGE_STATE": MessageState,
    "CLOSED": Closed,
    "IDENTITY_CHANGED": IdentityChanged,
    "NAME_CONTESTED": NameContested,
    "TYPING": Typing,
    "OTHER": Other,
}


def from_unix_ms(unix_ms: int) -> datetime:
    """Returns a point in time; one beyond the year 9999, which a strange clock may send, becomes the last."""
    return _EPOCH + timedelta(milliseconds=min(unix_ms, _LATEST_MS))


def from_native(event: Any) -> Event:
    """Makes an event of what the generated module returned."""
    kind = _KINDS[type(event).__name__.rpartition(".")[2]]
    fields = {name: _value(value) for name, value in vars(event).items()}
    for name in ("sent", "received"):
        if f"{name}_unix_ms" in fields:
            fields[name] = from_unix_ms(fields.pop(f"{name}_unix_ms"))
    return kind(**fields)


def _value(value: Any) -> Any:
    if isinstance(value, native.ErrorCode):
        return ErrorCode(value.value)
    return State(value.value) if isinstance(value, native.MessageState) else value
