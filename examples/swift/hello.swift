// Two people in one process meet on the loopback: the program of docs/getting-started-swift.md.

import Peerchat

func open(_ name: String) throws -> Client {
    try Client(ClientOptions(user: name, bind: "127.0.0.1:0"))
}

func meet() async throws {
    let alice = try open("alice")
    let bob = try open("bob")
    try bob.bootstrap(alice.localAddress)
    for client in [alice, bob] {
        for await event in client.events {
            if case .registered = event { break }
        }
    }

    try await alice.send(to: "bob", "hello, bob")
    for await event in bob.events {
        if case .message(_, let sender, _, _, let text, _, _, _, _) = event {
            print("\(sender): \(text)")
            break
        }
    }

    for await event in alice.events {
        if case .messageState(_, let recipient, let state, _, _, _) = event {
            print("to \(recipient): \(state)")
            break
        }
    }

    do {
        try await alice.send(to: "bob", "")
    } catch {
        print("not sent: \(error.code == .emptyText ? "EMPTY_TEXT" : error.reason)")
    }

    await bob.shutdown()
    await alice.shutdown()
}

try await meet()
