"""Two people in one process meet on the loopback: the program of docs/getting-started-python.md."""

import peerchat


def wait_for(client: peerchat.Client, kind: type) -> peerchat.Event:
    for event in client.events():
        if isinstance(event, kind):
            return event
    raise SystemExit("the client was closed")


with (
    peerchat.Client(user="alice", bind="127.0.0.1:0") as alice,
    peerchat.Client(user="bob", bind="127.0.0.1:0") as bob,
):
    bob.bootstrap(alice.local_address)
    for client in (alice, bob):
        wait_for(client, peerchat.events.Registered)

    alice.send_blocking("bob", "hello, bob")
    message = wait_for(bob, peerchat.events.Message)
    print(f"{message.sender}: {message.text}")

    told = wait_for(alice, peerchat.events.MessageState)
    print(f"to {told.recipient}: {told.state.name.lower()}")

    try:
        alice.send_blocking("bob", "")
    except peerchat.errors.EmptyTextError as error:
        print(f"not sent: {error.code.name}")
