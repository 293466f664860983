"""Two people in one process find one another by name over the loopback, with asyncio and without."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from datetime import timedelta
from pathlib import Path

import peerchat
from peerchat import errors, events

# Longer than anything that works takes, shorter than the patience of whoever runs the tests.
PATIENCE = 60.0


def open_client(user=None, **options):
    return peerchat.Client(user=user, bind="127.0.0.1:0", **options)


async def wait_for(client, kind, condition=lambda event: True):
    while True:
        event = await asyncio.wait_for(client.next_event(), PATIENCE)
        if isinstance(event, kind) and condition(event):
            return event


def wait_blocking(client, kind, condition=lambda event: True):
    while (event := client.poll(PATIENCE)) is not None:
        if isinstance(event, kind) and condition(event):
            return event
    raise AssertionError(f"no {kind.__name__} in time")


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_a_contact_sees_who_is_typing(self):
        async with open_client("alice") as alice, open_client("bob") as bob:
            bob.bootstrap(alice.local_address)
            for client in (alice, bob):
                await wait_for(client, events.Registered)
            with self.assertRaises(errors.NotMetError):
                alice.set_typing("bob", True)
            await alice.send("bob", "hello")
            await bob.send((await wait_for(bob, events.Message)).sender, "hello")
            await wait_for(alice, events.Message)
            alice.set_typing("bob", True)
            typing = await wait_for(bob, events.Typing)
            self.assertEqual((typing.sender, typing.user_id, typing.is_typing), ("alice", alice.user_id, True))
            await alice.send("bob", "this")
            self.assertFalse((await wait_for(bob, events.Typing)).is_typing)
            self.assertEqual((await wait_for(bob, events.Message)).text, "this")
            self.assertEqual(bob.statistics().hints_dropped, 0)

    async def test_two_people_talk(self):
        async with open_client("alice") as alice, open_client("bob") as bob:
            command = bob.bootstrap(alice.local_address)
            joined = await wait_for(bob, events.Bootstrapped)
            self.assertEqual((joined.command_id, joined.address), (command, alice.local_address))
            self.assertEqual(joined.node_id, alice.node_id)
            registered = await wait_for(bob, events.Registered)
            self.assertEqual((registered.name, registered.fingerprint), ("bob", bob.user_fingerprint))
            await wait_for(alice, events.Registered)

            message_id = await alice.send("bob", "grüße 🙂")
            message = await wait_for(bob, events.Message)
            self.assertEqual((message.sender, message.text, message.number), ("alice", "grüße 🙂", 1))
            self.assertEqual(message.user_id, alice.user_id)
            is_final = lambda event: event.id == message_id and event.state.is_final
            told = await wait_for(alice, events.MessageState, is_final)
            self.assertEqual((told.state, told.recipient, told.code), (peerchat.State.DELIVERED, "bob", None))
            self.assertIs(alice.message_state(message_id), peerchat.State.DELIVERED)
            self.assertEqual(alice.message_holders(message_id), 0)

            await bob.send("alice", "hello")
            self.assertEqual((await wait_for(alice, events.Message)).text, "hello")

            found = await alice.lookup("bob")
            self.assertEqual((found.name, found.user_id), ("bob", bob.user_id))
            with self.assertRaises(errors.UnknownRecipientError):
                await alice.lookup("nobody")
            self.assertGreaterEqual(alice.statistics().contact_count, 1)

            exact = f"bob#{bob.user_fingerprint}"
            self.assertEqual((await alice.lookup(exact)).user_id, bob.user_id)
            self.assertEqual(alice.history(exact), alice.history("bob"))
            number = alice.safety_number("bob")
            self.assertEqual((number, len(number.replace(" ", ""))), (bob.safety_number("alice"), 60))
            self.assertEqual(alice.identity(exact), alice.identity("bob"))
            self.assertFalse(alice.identity("bob").is_verified)
            alice.set_verified(exact)
            self.assertTrue(alice.identity("bob").is_verified)
            alice.set_verified("bob", False)
            self.assertFalse(alice.identity("bob").is_verified)
            self.assertEqual(alice.identity("bob").user_id, bob.user_id)
            with self.assertRaises(errors.NotMetError):
                alice.safety_number("carol")
            with self.assertRaises(errors.IdentityNotSeenError):
                alice.accept_identity("bob", alice.user_id)
            with self.assertRaises(errors.InvalidArgumentError):
                alice.accept_identity("bob", "nonsense")

            received, sent = alice.history("bob", limit=2)
            self.assertEqual([(entry.text, entry.is_own) for entry in (received, sent)],
                             [("hello", False), ("grüße 🙂", True)])
            self.assertEqual((received.state, sent.state), (None, peerchat.State.DELIVERED))
            self.assertEqual(alice.history("bob", before=received.position), [sent])

            self.assertEqual(alice.search("GRUSSE"), [sent])
            self.assertEqual(alice.search("hel*", peer=exact), [received])
            self.assertEqual(alice.search("hello", before=received.position), [])
            self.assertEqual(alice.search("hello", peer="carol"), [])
            for words in ("", '"*', "word " * 33):
                with self.assertRaises(errors.InvalidArgumentError):
                    alice.search(words)

    async def test_a_request_is_accepted_read_and_blocked(self):
        async with open_client("alice") as alice, open_client("bob") as bob:
            bob.bootstrap(alice.local_address)
            await wait_for(bob, events.Registered)
            await wait_for(alice, events.Registered)
            first = await alice.send("bob", "hello")
            message = await wait_for(bob, events.Message)
            self.assertTrue(message.is_request)
            self.assertTrue(bob.history(message.sender)[0].is_request)
            (person,) = bob.contacts()
            self.assertEqual((person.name, person.user_id), (message.sender, alice.user_id))
            self.assertIs(person.relation, peerchat.Relation.REQUEST)
            bob.mark_read(message.id)
            bob.accept_contact(message.sender)
            is_read = lambda event: event.id == first and event.state is peerchat.State.READ
            await wait_for(alice, events.MessageState, is_read)
            self.assertIs(bob.contacts()[0].relation, peerchat.Relation.CONTACT)
            self.assertFalse(bob.history(message.sender)[0].is_request)
            with self.assertRaises(errors.AlreadyEndedError):
                alice.cancel(first)

            bob.block(message.sender)
            second = await alice.send("bob", "still there?")
            refused = await wait_for(alice, events.MessageState, lambda event: event.id == second and event.state.is_final)
            self.assertEqual(
                (refused.state, refused.code),
                (peerchat.State.FAILED, peerchat.ErrorCode.BLOCKED_BY_RECIPIENT),
            )
            self.assertGreaterEqual(bob.statistics().blocked, 1)
            with self.assertRaises(errors.BlockedError):
                await bob.send(message.sender, "no")
            bob.unblock(message.sender)
            self.assertEqual(bob.contacts(), [])
            bob.add_contact(message.sender)
            bob.remove_contact(message.sender)
            self.assertEqual(bob.contacts(), [])

    async def test_a_message_is_canceled_or_lives_as_long_as_it_is_told(self):
        async with open_client("alice") as alice:
            with self.assertRaises(errors.InvalidArgumentError):
                await alice.send("bob", "hello", lifetime=timedelta(days=31))
            with self.assertRaises(errors.InvalidArgumentError):
                alice.send_blocking("bob", "hello", lifetime=timedelta(seconds=-1))
            canceled = await alice.send("bob", "hello", lifetime=timedelta(days=30))
            alice.cancel(canceled)
            self.assertIs(alice.message_state(canceled), peerchat.State.CANCELED)
            short = alice.send_blocking("bob", "hello", lifetime=timedelta(seconds=1))
            ended = await wait_for(alice, events.MessageState, lambda event: event.id == short and event.state.is_final)
            self.assertEqual((ended.state, ended.code), (peerchat.State.EXPIRED, peerchat.ErrorCode.EXPIRED))

    async def test_a_passphrase_is_asked_for_and_can_be_changed(self):
        with tempfile.TemporaryDirectory() as data_dir:
            with open_client("alice", data_dir=data_dir, passphrase="open sesame") as client:
                user_id = client.user_id
            for wrong in ("sesame", None):
                with self.assertRaises(errors.WrongPassphraseError):
                    open_client("alice", data_dir=data_dir, passphrase=wrong)
            peerchat.change_passphrase(data_dir, "alice", "open sesame", None)
            with open_client("alice", data_dir=data_dir) as client:
                self.assertEqual(client.user_id, user_id)

    async def test_a_profile_moves_in_one_file(self):
        with tempfile.TemporaryDirectory() as place:
            old, new, archive = (os.path.join(place, name) for name in ("old", "new", "archive"))
            with open_client("alice", data_dir=old) as client:
                user_id, message_id = client.user_id, client.send_blocking("bob", "hello")
                client.export(archive, "open sesame")
                with self.assertRaises(errors.StorageError):
                    client.export(archive, "open sesame")
            with self.assertRaises(errors.ArchivePassphraseError):
                peerchat.import_profile(archive, "sesame", new)
            with self.assertRaises(errors.ProfileExistsError):
                peerchat.import_profile(archive, "open sesame", old)
            with open(archive, "rb") as file:
                whole = file.read()
            with open(archive, "wb") as file:
                file.write(whole[:-1])
            with self.assertRaises(errors.ArchiveDamagedError):
                peerchat.import_profile(archive, "open sesame", new)
            self.assertFalse(peerchat.profile_exists(new, "alice"))
            with open(archive, "wb") as file:
                file.write(whole)
            self.assertEqual(peerchat.import_profile(archive, "open sesame", new, "another"), "alice")
            with open_client("alice", data_dir=new, passphrase="another") as client:
                self.assertEqual(client.user_id, user_id)
                self.assertEqual(client.message_state(message_id), peerchat.State.QUEUED)
                self.assertEqual([entry.text for entry in client.history("bob")], ["hello"])

    async def test_the_iterator_ends_when_the_client_is_closed(self):
        async with open_client("alice") as client:
            taker = asyncio.create_task(self.drain(client))
            await asyncio.sleep(0)
            client.close()
            await asyncio.wait_for(taker, PATIENCE)
            with self.assertRaises(errors.ClosedError):
                await client.send("bob", "hello")
            with self.assertRaises(errors.ClosedError):
                await client.next_event()

    async def drain(self, client):
        async for _ in client.events():
            pass

    async def test_a_cancelled_wait_loses_no_event(self):
        async with open_client("alice") as client:
            waiter = asyncio.create_task(client.next_event())
            await asyncio.sleep(0)
            command = client.bootstrap("127.0.0.1:1")
            waiter.cancel()
            failed = await wait_for(client, events.BootstrapFailed)
            self.assertEqual((failed.command_id, failed.code), (command, peerchat.ErrorCode.UNREACHABLE))
            self.assertTrue(waiter.cancelled())

    async def test_a_wait_that_is_cancelled_when_its_event_is_there_leaves_it_to_the_next(self):
        async with open_client("alice") as client:
            # Called before the waiter hears of the event.
            client._pending_event().add_done_callback(lambda _: waiter.cancel())
            waiter = asyncio.create_task(client.next_event())
            command = client.bootstrap("127.0.0.1:1")
            with self.assertRaises(asyncio.CancelledError):
                await waiter
            failed = await wait_for(client, events.BootstrapFailed)
            self.assertEqual(failed.command_id, command)

    async def test_each_event_goes_to_one_taker(self):
        async with open_client("alice") as client:
            takers = [asyncio.create_task(client.next_event()) for _ in range(4)]
            await asyncio.sleep(0)
            commands = {client.bootstrap("127.0.0.1:1") for _ in takers}
            taken = await asyncio.wait_for(asyncio.gather(*takers), PATIENCE)
            self.assertEqual({event.command_id for event in taken}, commands)

    async def test_bad_calls_raise_by_kind(self):
        async with open_client("alice") as client:
            for recipient, text, kind in [
                ("", "x", errors.InvalidNameError),
                ("bob", "", errors.EmptyTextError),
                ("bob", "x" * 16385, errors.TextTooLongError),
            ]:
                with self.subTest(kind=kind), self.assertRaises(kind):
                    await client.send(recipient, text)
            with self.assertRaises(errors.InvalidAddressError):
                client.bootstrap("no-port")
            with self.assertRaises(errors.NotFoundError):
                client.message_state("ee" * 16)
            with self.assertRaises(errors.InvalidArgumentError):
                client.message_state("no id")
            with self.assertRaises(errors.AddressInUseError):
                peerchat.Client(bind=client.local_address)
        async with open_client() as node:
            self.assertIsNone(node.user_name)
            with self.assertRaises(errors.NoUserError):
                await node.send("bob", "x")


class Blocking(unittest.TestCase):
    def test_limits_are_set_by_name_and_a_wrong_one_is_refused(self):
        with peerchat.Client(bind="127.0.0.1:0", memory_limit=64 * 1024 * 1024, limits={"links": 40}) as node:
            self.assertEqual(node.statistics().requests_too_fast, 0)
        for wrong in ({"limits": {"no such limit": 1}}, {"limits": {"links": 0}}, {"memory_limit": 1024}):
            with self.assertRaises(errors.InvalidArgumentError):
                peerchat.Client(bind="127.0.0.1:0", **wrong)

    def test_who_does_not_want_to_serve_does_not(self):
        for serve, is_serving in ((None, True), (peerchat.Serve.AUTO, True), (peerchat.Serve.NEVER, False)):
            with open_client(serve=serve) as client:
                self.assertEqual(client.statistics().is_serving, is_serving)

    def test_two_people_talk(self):
        with open_client("alice") as alice, open_client("bob") as bob:
            bob.bootstrap(alice.local_address)
            wait_blocking(bob, events.Registered)
            message_id = bob.send_blocking("alice", "hello")
            message = wait_blocking(alice, events.Message)
            self.assertEqual((message.sender.partition("#")[0], message.text), ("bob", "hello"))
            told = wait_blocking(bob, events.MessageState, lambda event: event.state.is_final)
            self.assertEqual((told.id, told.state), (message_id, peerchat.State.DELIVERED))
            self.assertEqual(bob.lookup_wait("alice").user_id, alice.user_id)

    def test_poll_keeps_its_time(self):
        with open_client() as client:
            self.assertIsNone(client.poll())
            self.assertIsNone(client.poll(0.3))

    def test_the_iterator_ends_when_another_thread_closes_the_client(self):
        with open_client() as client:
            closer = threading.Timer(0.01, client.close)
            closer.start()
            self.assertEqual(list(client.events()), [])
            closer.join()

    def test_a_profile_is_open_once_and_comes_back(self):
        with tempfile.TemporaryDirectory() as directory:
            data_dir = Path(directory) / "profiles"
            self.assertFalse(peerchat.profile_exists(data_dir, "alice"))
            with open_client("Alice", data_dir=data_dir) as alice:
                identity = (alice.user_name, alice.user_id, alice.node_key)
                self.assertEqual(alice.user_name, "alice")
                with self.assertRaises(errors.ProfileInUseError):
                    open_client("alice", data_dir=data_dir)
            self.assertTrue(peerchat.profile_exists(data_dir, "alice"))
            with open_client("alice", data_dir=data_dir) as alice:
                self.assertEqual((alice.user_name, alice.user_id, alice.node_key), identity)


class Processes(unittest.TestCase):
    def start(self, script):
        return subprocess.Popen(
            [sys.executable, "-u", "-W", "error", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def test_ctrl_c_gets_through_a_blocking_wait(self):
        process = self.start(
            "import peerchat, signal\n"
            # Whoever runs the tests in the background may have it ignored.
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "with peerchat.Client(bind='127.0.0.1:0') as client:\n"
            "    try:\n"
            "        print('waits')\n"
            "        for event in client.events(): pass\n"
            "    except KeyboardInterrupt:\n"
            "        print('interrupted')\n"
        )
        self.assertEqual(process.stdout.readline(), "waits\n")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.communicate(timeout=PATIENCE), ("interrupted\n", ""))
        self.assertEqual(process.returncode, 0)

    def test_a_client_that_is_left_open_does_not_disturb_the_exit(self):
        process = self.start(
            "import asyncio, peerchat\n"
            "client = peerchat.Client(bind='127.0.0.1:0', user='alice')\n"
            "async def main():\n"
            "    try:\n"
            "        await asyncio.wait_for(client.next_event(), 0.01)\n"
            "    except TimeoutError:\n"
            "        print('left')\n"
            "asyncio.run(main())\n"
        )
        self.assertEqual(process.communicate(timeout=PATIENCE), ("left\n", ""))
        self.assertEqual(process.returncode, 0)

    def test_a_missing_library_is_named(self):
        environment = {**os.environ, "PEERCHAT_LIBRARY": "/nowhere/libpeerchat.so"}
        process = subprocess.run(
            [sys.executable, "-c", "import peerchat"], env=environment, capture_output=True, text=True, check=False
        )
        self.assertIn("ImportError: the peerchat library is not at /nowhere/libpeerchat.so", process.stderr)


if __name__ == "__main__":
    unittest.main()
