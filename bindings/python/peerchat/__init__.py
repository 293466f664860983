"""Chat without servers: people find one another by name and write to one another.

    async with peerchat.Client("profiles", user="alice") as client:
        client.bootstrap("192.0.2.1:4600")
        await client.send("bob", "hello")
        async for event in client.events():
            match event:
                case peerchat.events.Message(sender=sender, text=text):
                    print(f"{sender}: {text}")

`peerchat.events` has the events, `peerchat.errors` one exception for each kind of failure.
"""

from . import errors, events
from .client import (
    Client,
    Events,
    FoundUser,
    HistoryEntry,
    Identity,
    Person,
    Relation,
    Serve,
    Statistics,
    change_passphrase,
    import_profile,
    profile_exists,
    version,
)
from .errors import ErrorCode, PeerchatError
from .events import Event, State

__all__ = [
    "Client",
    "ErrorCode",
    "Event",
    "Events",
    "FoundUser",
    "HistoryEntry",
    "Identity",
    "PeerchatError",
    "Person",
    "Relation",
    "Serve",
    "State",
    "Statistics",
    "change_passphrase",
    "errors",
    "events",
    "import_profile",
    "profile_exists",
    "version",
]
