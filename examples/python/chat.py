"""A chat of two people: chat.py <data-dir> <name> <peer> [bootstrap host:port]

Each line of the standard input is sent to the peer; what arrives is printed as `peer: text`. When the input ends, the
program ends as soon as everything it sent is delivered or given up. Ctrl-C ends it at once, and nothing is lost: what
was sent is on disk, and is delivered when the program runs again.
"""

import asyncio
import sys
import threading

import peerchat
from peerchat import events


def notice(text):
    print(f"* {text}", file=sys.stderr)


def read_lines(loop, lines):
    """Puts the input into a queue. Its thread does not keep the program from ending."""
    put = lambda line: asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()
    with open(0, encoding="utf-8", closefd=False) as source:
        for line in source:
            put(line.removesuffix("\n"))
    put(None)


class Chat:
    def __init__(self, client, peer):
        self.client, self.peer = client, peer
        self.unfinished = set()  # Sent since the start, neither delivered nor given up.
        self.changed = asyncio.Condition()

    async def send(self, text):
        async with self.changed:  # The id is noted before anyone can look for it, however soon it is delivered.
            try:
                self.unfinished.add(await self.client.send(self.peer, text))
            except peerchat.PeerchatError as error:
                notice(f"not sent: {error}")

    async def show_events(self):
        async for event in self.client.events():
            match event:
                case events.Message(sender=sender, text=text):
                    print(f"{sender}: {text}", flush=True)
                case events.Registered(name=name):
                    notice(f"{name} is registered")
                case events.MessageState(id=message, state=state, detail=detail) if state.is_final:
                    if state not in (peerchat.State.DELIVERED, peerchat.State.READ):
                        notice(f"not delivered: {detail}")
                    async with self.changed:
                        self.unfinished.discard(message)
                        self.changed.notify_all()
                case events.BootstrapFailed(detail=detail) | events.RegistrationFailed(detail=detail):
                    notice(detail)
                case events.Closed(detail=detail):
                    sys.exit(f"chat: {detail}")

    async def run(self):
        lines = asyncio.Queue(maxsize=100)
        threading.Thread(target=read_lines, args=(asyncio.get_running_loop(), lines), daemon=True).start()
        shower = asyncio.create_task(self.show_events())
        while (line := await lines.get()) is not None:
            if line:
                await self.send(line)
        async with self.changed:
            await self.changed.wait_for(lambda: not self.unfinished)
        self.client.close()
        await shower


async def chat(data_dir, name, peer, bootstrap=None):
    async with peerchat.Client(data_dir, user=name) as client:
        if bootstrap is not None:
            client.bootstrap(bootstrap)
        await Chat(client, peer).run()


def main():
    if len(sys.argv) not in (4, 5):
        print("usage: chat.py <data-dir> <name> <peer> [bootstrap host:port]", file=sys.stderr)
        return 2
    try:
        asyncio.run(chat(*sys.argv[1:]))
    except peerchat.PeerchatError as error:
        print(f"chat: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
