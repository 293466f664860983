"""Performs tests/scenario.md: scenario.py DIRECTORY COUNT."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import peerchat
from peerchat import errors, events

# Longer than anything that works takes.
PATIENCE = 60.0
BATCH = 1_500
# In step 9.
NETWORKS = 3


def check(condition: bool, what: object) -> None:
    if not condition:
        raise SystemExit(f"not as it should be: {what}")


@contextlib.contextmanager
def fails(kind: type[errors.PeerchatError]) -> Iterator[None]:
    try:
        yield
    except errors.PeerchatError as error:
        check(type(error) is kind and error.code is kind.code and str(error) != "", repr(error))
    else:
        raise SystemExit(f"no {kind.__name__}")


def shut_down(client: peerchat.Client) -> None:
    """Shuts a client down, however long the disk takes."""
    check(any(client.shutdown() for _ in range(40)), "not shut down within a minute")


def open_client(user: str | None = None, **options: Any) -> peerchat.Client:
    return peerchat.Client(user=user, **{"bind": "127.0.0.1:0", **options})


def wait_for(client: peerchat.Client, kind: type, condition: Callable[[Any], bool] = lambda event: True) -> Any:
    while (event := client.poll(PATIENCE)) is not None:
        if isinstance(event, kind) and condition(event):
            return event
    raise SystemExit(f"no {kind.__name__} in time")


def wait_for_end(client: peerchat.Client, message_id: str) -> events.MessageState:
    ended: events.MessageState = wait_for(
        client, events.MessageState, lambda event: event.id == message_id and event.state.is_final
    )
    return ended


def check_delivered(client: peerchat.Client, message_id: str) -> None:
    ended = wait_for_end(client, message_id)
    check(ended.state is peerchat.State.DELIVERED, ended)


def join(client: peerchat.Client, address: str, node: peerchat.Client) -> None:
    command = client.bootstrap(address)
    joined = wait_for(client, events.Bootstrapped)
    check((joined.command_id, joined.node_id) == (command, node.node_id), joined)


def expect_text(client: peerchat.Client, text: str, number: int) -> events.Message:
    message: events.Message = wait_for(client, events.Message)
    check((message.text, message.number) == (text, number), message)
    return message


class Scenario:
    def __init__(self, directory: Path, count: int) -> None:
        self.directory = directory
        self.count = count

    def open_person(self, name: str, **options: Any) -> peerchat.Client:
        return open_client(name, data_dir=self.directory, **options)

    def run(self) -> None:
        steps = [
            self.open, self.bootstrap, self.register, self.find, self.talk, self.trust,
            self.restart, self.move, self.errors, self.many_messages, self.mail, self.block,
            self.end,
        ]  # fmt: skip
        for number, step in enumerate(steps, 1):
            step()
            print(f"step {number} ok", flush=True)

    def open(self) -> None:
        self.node, self.alice, self.bob = open_client(), self.open_person("alice"), self.open_person("bob")
        check(self.node.user_name is None, self.node.user_name)
        user_id = self.alice.user_id or ""
        check(len(user_id) == 52 and self.alice.user_fingerprint == user_id[:8], user_id)
        check(peerchat.profile_exists(self.directory, "alice"), "a profile of alice")
        check(not peerchat.profile_exists(self.directory, "carol"), "no profile of carol")

    def bootstrap(self) -> None:
        join(self.alice, f"{self.node.node_key}@{self.node.local_address}", self.node)
        join(self.bob, self.node.local_address, self.node)

    def register(self) -> None:
        for client, name in [(self.alice, "alice"), (self.bob, "bob")]:
            registered = wait_for(client, events.Registered)
            check((registered.name, registered.user_id) == (name, client.user_id), registered)

    def find(self) -> None:
        found = self.bob.lookup_wait("Alice")
        check((found.name, found.user_id) == ("alice", self.alice.user_id), found)

    def talk(self) -> None:
        message_id = self.first_id = self.alice.send_blocking("bob", "grüße 🙂")
        message = expect_text(self.bob, "grüße 🙂", 1)
        check((message.sender, message.user_id) == ("alice", self.alice.user_id), message)
        check_delivered(self.alice, message_id)
        check(self.alice.message_state(message_id) is peerchat.State.DELIVERED, "the state of a delivered message")
        self.bob.send_blocking("alice", "hello")
        expect_text(self.alice, "hello", 1)
        self.check_history()

    def check_history(self) -> None:
        texts = [entry.text for entry in self.alice.history("bob")]
        check(texts == ["hello", "grüße 🙂"], texts)

    def trust(self) -> None:
        number = self.alice.safety_number("bob")
        check(number == self.bob.safety_number("alice") and len(number.replace(" ", "")) == 60, number)
        self.alice.set_verified("bob")
        check(self.alice.identity("bob").is_verified, "bob is verified")

    def restart(self) -> None:
        address, identity = self.alice.local_address, (self.alice.user_id, self.alice.node_key)
        shut_down(self.alice)
        self.alice = self.open_person("alice", bind=address)
        check((self.alice.user_id, self.alice.node_key) == identity, "alice is who she was")
        self.check_history()
        wait_for(self.alice, events.Online)
        self.alice.send_blocking("bob", "back again")
        expect_text(self.bob, "back again", 2)

    def move(self) -> None:
        address = self.alice.local_address
        shut_down(self.alice)
        with open_client(bind=address):
            self.alice = self.open_person("alice")
            message_id = self.bob.send_blocking("alice", "where are you?")
            expect_text(self.alice, "where are you?", 2)
            check_delivered(self.bob, message_id)
            self.alice.set_typing("bob", True)
            typing = wait_for(self.bob, events.Typing)
            check((typing.sender, typing.is_typing) == ("alice", True), "alice is typing")

    def errors(self) -> None:
        self.bad_calls()
        self.bad_profiles()
        self.bad_archives()
        self.failures_of_the_network()
        self.failures_of_the_lonely()
        self.a_contested_name()

    def bad_calls(self) -> None:
        alice, node = self.alice, self.node
        with fails(errors.InvalidArgumentError):
            open_client(k=0)
        with fails(errors.InvalidNameError):
            alice.send_blocking("two words", "x")
        with fails(errors.InvalidAddressError):
            alice.bootstrap("no-port")
        with fails(errors.EmptyTextError):
            alice.send_blocking("bob", "")
        with fails(errors.TextTooLongError):
            alice.send_blocking("bob", "x" * 16_385)
        with fails(errors.NotFoundError):
            alice.message_state("ee" * 16)
        with fails(errors.NoUserError):
            node.send_blocking("bob", "x")
        with fails(errors.NotMetError):
            alice.safety_number("carol")
        with fails(errors.AlreadyEndedError):
            alice.cancel(self.first_id)
        with fails(errors.IdentityNotSeenError):
            alice.accept_identity("bob", alice.user_id or "")
        with fails(errors.AddressInUseError):
            open_client(bind=node.local_address)
        with fails(errors.NetworkError):
            open_client(bind="192.0.2.1:0")

    def bad_profiles(self) -> None:
        with fails(errors.ProfileInUseError):
            self.open_person("alice")
        with fails(errors.StorageError):
            open_client("alice", data_dir="/dev/null/profiles")
        for name, place, spoilt, kind in [
            ("newer", 60, b"\x7f\xff\xff\xff", errors.ProfileTooNewError),
            ("damaged", 0, b"This is not a database.", errors.ProfileDamagedError),
        ]:
            shut_down(self.open_person(name))
            with open(self.directory / f"user-{name}.db", "r+b") as profile:
                profile.seek(place)
                profile.write(spoilt)
            with fails(kind):
                self.open_person(name)
        self.open_person("secret", passphrase="open sesame").shutdown()
        with fails(errors.WrongPassphraseError):
            self.open_person("secret")

    def bad_archives(self) -> None:
        archive, new = self.directory / "alice.peerchat", self.directory / "new"
        self.alice.export(archive, "open sesame")
        with fails(errors.ArchivePassphraseError):
            peerchat.import_profile(archive, "sesame", new)
        with fails(errors.ProfileExistsError):
            peerchat.import_profile(archive, "open sesame", self.directory)
        whole = archive.read_bytes()
        for place, kind in [(200, errors.ArchiveDamagedError), (8, errors.ArchiveTooNewError)]:
            archive.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            with fails(kind):
                peerchat.import_profile(archive, "open sesame", new)
        check(not new.exists(), "nothing is made of a bad archive")

    def failures_of_the_network(self) -> None:
        alice, node = self.alice, self.node
        with fails(errors.UnknownRecipientError):
            alice.lookup_wait("nobody")
        ended = wait_for_end(alice, alice.send_blocking("nobody", "hello?"))
        check((ended.state, ended.code) == (peerchat.State.FAILED, errors.ErrorCode.UNKNOWN_RECIPIENT), ended)
        with open_client() as stranger:
            for address, code in [
                ("127.0.0.1:1", errors.ErrorCode.UNREACHABLE),
                (f"{stranger.node_key}@{node.local_address}", errors.ErrorCode.WRONG_KEY),
            ]:
                command = alice.bootstrap(address)
                failed = wait_for(alice, events.BootstrapFailed)
                check((failed.command_id, failed.code) == (command, code) and failed.detail != "", failed)
        with open_client("alice") as other:
            other.bootstrap(node.local_address)
            refused = wait_for(other, events.RegistrationFailed)
            check((refused.code, refused.holder_id) == (errors.ErrorCode.NAME_TAKEN, alice.user_id), refused)

    def failures_of_the_lonely(self) -> None:
        with open_client("lone", message_lifetime=timedelta(milliseconds=1)) as lone:
            ended = wait_for_end(lone, lone.send_blocking("bob", "now or never"))
            check((ended.state, ended.code) == (peerchat.State.EXPIRED, errors.ErrorCode.EXPIRED), ended)
        with open_client("lone") as lone:
            with fails(errors.TimedOutError):
                lone.lookup_wait("bob")
            with fails(errors.OutboxFullError):
                for _ in range(1_000_000):
                    lone.send_blocking("bob", "x")
            lone.close()
            with fails(errors.ClosedError):
                lone.send_blocking("bob", "x")

    def a_contested_name(self) -> None:
        """Networks that know nothing of one another, each with its alice, and somebody who joins them all.

        The reader does not serve: else they would soon be one network, which settles whose the name is.
        """
        with contextlib.ExitStack() as clients:
            reader = clients.enter_context(open_client("reader", serve=peerchat.Serve.NEVER))
            for _ in range(NETWORKS):
                node = clients.enter_context(open_client())
                alice = clients.enter_context(open_client("alice"))
                alice.bootstrap(node.local_address)
                wait_for(alice, events.Registered)
                reader.bootstrap(node.local_address)
            for _ in range(NETWORKS):
                wait_for(reader, events.Bootstrapped)
            with fails(errors.NameContestedError):
                reader.lookup_wait("alice")

    def many_messages(self) -> None:
        message_id = ""
        for first in range(1, self.count + 1, BATCH):
            batch = range(first, min(first + BATCH, self.count + 1))
            for i in batch:
                message_id = self.alice.send_blocking("bob", f"message {i}")
            for i in batch:
                # Two messages were sent before.
                expect_text(self.bob, f"message {i}", i + 2)
        check_delivered(self.alice, message_id)

    def mail(self) -> None:
        shut_down(self.bob)
        message_id = self.alice.send_blocking("bob", "for later")
        kept = wait_for(self.alice, events.MessageState, lambda event: event.state is peerchat.State.STORED)
        check(kept.id == message_id and kept.held_by >= 1, kept)
        shut_down(self.alice)
        self.bob = self.open_person("bob")
        expect_text(self.bob, "for later", self.count + 3)
        self.alice = self.open_person("alice")
        check_delivered(self.alice, message_id)

    def block(self) -> None:
        self.bob.block("alice")
        with fails(errors.BlockedError):
            self.bob.send_blocking("alice", "no")
        ended = wait_for_end(self.alice, self.alice.send_blocking("bob", "are you there?"))
        check((ended.state, ended.code) == (peerchat.State.FAILED, errors.ErrorCode.BLOCKED_BY_RECIPIENT), ended)
        self.bob.unblock("alice")
        self.alice.send_blocking("bob", "once more")
        message = wait_for(self.bob, events.Message)
        check(message.text == "once more" and message.is_request, message)
        self.bob.accept_contact("alice")
        contacts = [(person.user_id, person.relation) for person in self.bob.contacts()]
        check(contacts == [(self.alice.user_id, peerchat.Relation.CONTACT)], contacts)

    def end(self) -> None:
        self.alice.close()
        with fails(errors.ClosedError):
            self.alice.send_blocking("bob", "x")
        for client in (self.alice, self.bob, self.node):
            shut_down(client)
        with self.open_person("alice") as alice:
            check(alice.history("bob", limit=1)[0].text == "once more", "the latest message of the history")


if __name__ == "__main__":
    Scenario(Path(sys.argv[1]), int(sys.argv[2])).run()
