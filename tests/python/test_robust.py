"""What an application does to a client that it should survive: handlers that raise, tasks that give up, many clients."""

import asyncio
import unittest

import cycles
import peerchat
from peerchat import errors, events
from peerchat._native import native

PATIENCE = 60.0


class Bug(Exception):
    """Raised by a handler of the application."""


def open_client(user):
    return peerchat.Client(user=user, bind="127.0.0.1:0")


class Handlers(unittest.IsolatedAsyncioTestCase):
    async def test_a_task_that_raises_does_not_stop_the_client(self):
        async with open_client("alice") as client:
            client.bootstrap("127.0.0.1:1")
            with self.assertRaises(Bug):
                async for _ in client.events():
                    raise Bug
            command = client.bootstrap("127.0.0.1:1")
            async for event in client.events():
                if isinstance(event, events.BootstrapFailed) and event.command_id == command:
                    break

    async def test_cancelled_calls_leave_nothing_behind(self):
        async with open_client("alice") as alice, open_client("bob") as bob:
            bob.bootstrap(alice.local_address)
            while not isinstance(await asyncio.wait_for(bob.next_event(), PATIENCE), events.Registered):
                pass
            tasks, calls = asyncio.all_tasks(), len(native._UniffiContinuationHandleMap._map)
            for _ in range(20):
                lookup = asyncio.create_task(bob.lookup("nobody"))
                await asyncio.sleep(0)
                lookup.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await lookup
            self.assertEqual(asyncio.all_tasks(), tasks)
            self.assertEqual(len(native._UniffiContinuationHandleMap._map), calls)
            self.assertEqual((await bob.lookup("alice")).user_id, alice.user_id)

    async def test_a_loop_that_ends_while_an_event_is_waited_for_ends_cleanly(self):
        client = open_client("alice")
        waiter = asyncio.create_task(client.next_event())
        await asyncio.sleep(0)
        waiter.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await waiter
        self.assertTrue(await asyncio.to_thread(client.shutdown))
        with self.assertRaises(errors.ClosedError):
            await client.next_event()


class Blocking(unittest.TestCase):
    def test_a_loop_that_raises_does_not_stop_the_client(self):
        with open_client("alice") as client:
            client.bootstrap("127.0.0.1:1")
            with self.assertRaises(Bug):
                for _ in client.events():
                    raise Bug
            command = client.bootstrap("127.0.0.1:1")
            self.assertTrue(any(getattr(event, "command_id", None) == command for event in client.events()))


class Memory(unittest.TestCase):
    def test_clients_that_come_and_go_leave_no_memory_behind(self):
        # The first ones also fill the pools of the allocator.
        growth = cycles.growth_kib(before=200, count=300)
        self.assertLess(growth, cycles.LIMIT_KIB_PER_CLIENT * 300 + 4096, f"{growth} KiB")


if __name__ == "__main__":
    unittest.main()
