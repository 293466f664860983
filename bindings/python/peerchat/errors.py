"""One exception for each kind of failure. The numbers are the same in C and never change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import IntEnum

from ._native import native


class ErrorCode(IntEnum):
    """Says what kind of thing went wrong."""

    INVALID_ARGUMENT = -10
    INVALID_NAME = -11
    INVALID_ADDRESS = -12
    EMPTY_TEXT = -13
    TEXT_TOO_LONG = -14
    OUTBOX_FULL = -15
    NOT_FOUND = -16
    NO_USER = -17
    NOT_MET = -18
    IDENTITY_NOT_SEEN = -19
    BLOCKED = -20
    TOO_MANY_CONTACTS = -21
    ALREADY_ENDED = -22
    BLOCKED_BY_RECIPIENT = -23
    CLOSED = -30
    TIMED_OUT = -31
    PROFILE_IN_USE = -40
    PROFILE_DAMAGED = -41
    PROFILE_TOO_NEW = -42
    STORAGE = -43
    WRONG_PASSPHRASE = -44
    ARCHIVE_DAMAGED = -45
    ARCHIVE_PASSPHRASE = -46
    ARCHIVE_TOO_NEW = -47
    PROFILE_EXISTS = -48
    ADDRESS_IN_USE = -50
    NETWORK = -51
    UNREACHABLE = -52
    WRONG_KEY = -53
    UNKNOWN_RECIPIENT = -60
    NAME_TAKEN = -61
    NAME_CONTESTED = -62
    EXPIRED = -63
    INTERNAL = -90


class PeerchatError(Exception):
    """What every failure of this package is. `str` gives the reason in words, with what to do about it."""

    #: The stable number of the kind.
    code: ErrorCode = ErrorCode.INTERNAL


class InvalidArgumentError(PeerchatError, ValueError):
    """An option is out of its range, or an argument does not have the form it must have."""

    code = ErrorCode.INVALID_ARGUMENT


class InvalidNameError(PeerchatError, ValueError):
    """A user name breaks the rules."""

    code = ErrorCode.INVALID_NAME


class InvalidAddressError(PeerchatError, ValueError):
    """An address is not of the form that is asked for."""

    code = ErrorCode.INVALID_ADDRESS


class EmptyTextError(PeerchatError, ValueError):
    """A message without text."""

    code = ErrorCode.EMPTY_TEXT


class TextTooLongError(PeerchatError, ValueError):
    """A message text that is too long."""

    code = ErrorCode.TEXT_TOO_LONG


class OutboxFullError(PeerchatError):
    """As many messages wait for delivery as may; an event that ends one makes room."""

    code = ErrorCode.OUTBOX_FULL


class NotFoundError(PeerchatError, LookupError):
    """No message has this id."""

    code = ErrorCode.NOT_FOUND


class NoUserError(PeerchatError):
    """The client has no user: it was opened as a node only."""

    code = ErrorCode.NO_USER


class NotMetError(PeerchatError, LookupError):
    """Nobody of this name was met: nothing was exchanged with them yet."""

    code = ErrorCode.NOT_MET


class IdentityNotSeenError(PeerchatError):
    """The name was not seen to belong to this person."""

    code = ErrorCode.IDENTITY_NOT_SEEN


class BlockedError(PeerchatError):
    """This user has blocked the person."""

    code = ErrorCode.BLOCKED


class TooManyContactsError(PeerchatError):
    """There are as many contacts as there may be."""

    code = ErrorCode.TOO_MANY_CONTACTS


class AlreadyEndedError(PeerchatError):
    """The message was delivered or given up before."""

    code = ErrorCode.ALREADY_ENDED


class BlockedByRecipientError(PeerchatError):
    """The recipient has blocked this user."""

    code = ErrorCode.BLOCKED_BY_RECIPIENT


class ClosedError(PeerchatError):
    """The client was closed."""

    code = ErrorCode.CLOSED


class ForkedError(ClosedError):
    """The process was forked after a client was opened, and has none of its threads: no client works here.

    Open the first client after the fork, or start a process anew: the start method `spawn` of `multiprocessing` does.
    """


class TimedOutError(PeerchatError, TimeoutError):
    """A wait ran out of time."""

    code = ErrorCode.TIMED_OUT


class ProfileInUseError(PeerchatError):
    """Another process, or another client of this one, has the profile open."""

    code = ErrorCode.PROFILE_IN_USE


class ProfileDamagedError(PeerchatError):
    """The profile on disk is damaged."""

    code = ErrorCode.PROFILE_DAMAGED


class ProfileTooNewError(PeerchatError):
    """The profile was written by a later version of peerchat."""

    code = ErrorCode.PROFILE_TOO_NEW


class StorageError(PeerchatError, OSError):
    """The disk refused: full, read-only, gone."""

    code = ErrorCode.STORAGE


class WrongPassphraseError(PeerchatError):
    """The profile has another passphrase, or has one and none was given, or the reverse."""

    code = ErrorCode.WRONG_PASSPHRASE


class ArchiveDamagedError(PeerchatError):
    """An exported profile is damaged."""

    code = ErrorCode.ARCHIVE_DAMAGED


class ArchivePassphraseError(PeerchatError):
    """An exported profile is encrypted with another passphrase."""

    code = ErrorCode.ARCHIVE_PASSPHRASE


class ArchiveTooNewError(PeerchatError):
    """An exported profile was written by a later version of peerchat."""

    code = ErrorCode.ARCHIVE_TOO_NEW


class ProfileExistsError(PeerchatError):
    """There is a profile where one is to be imported. It was left as it is."""

    code = ErrorCode.PROFILE_EXISTS


class AddressInUseError(PeerchatError, OSError):
    """Another program uses the UDP port."""

    code = ErrorCode.ADDRESS_IN_USE


class NetworkError(PeerchatError, OSError):
    """The UDP socket could not be opened."""

    code = ErrorCode.NETWORK


class UnreachableError(PeerchatError):
    """No node answered at the bootstrap address."""

    code = ErrorCode.UNREACHABLE


class WrongKeyError(PeerchatError):
    """The node at the bootstrap address has another key than the one that was asked for."""

    code = ErrorCode.WRONG_KEY


class UnknownRecipientError(PeerchatError, LookupError):
    """Nobody in the network goes by this name."""

    code = ErrorCode.UNKNOWN_RECIPIENT


class NameTakenError(PeerchatError):
    """Somebody else holds the name."""

    code = ErrorCode.NAME_TAKEN


class NameContestedError(PeerchatError):
    """The network does not agree on who holds the name."""

    code = ErrorCode.NAME_CONTESTED

    #: Of everyone who was named: append one to the name, as in `alice#7kq2m4xd`, to say whom you mean.
    fingerprints: list[str] = []


class ExpiredError(PeerchatError):
    """The message was not delivered before it expired."""

    code = ErrorCode.EXPIRED


class InternalError(PeerchatError):
    """A bug in peerchat: please report the words."""

    code = ErrorCode.INTERNAL


_BY_CODE: dict[ErrorCode, type[PeerchatError]] = {kind.code: kind for kind in PeerchatError.__subclasses__()}


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turns what the generated module raises into the exceptions above."""
    try:
        yield
    except native.PeerchatError as error:
        failure = _BY_CODE[ErrorCode(error.code.value)](error.detail)
        if isinstance(failure, NameContestedError):
            failure.fingerprints = list(error.fingerprints)
        raise failure from None
    except native.InternalError as error:
        # A panic in Rust.
        raise InternalError(str(error)) from error
