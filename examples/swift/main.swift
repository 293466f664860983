// A chat of two people: chat <data-dir> <name> <peer> [bootstrap host:port]
//
// Each line of the standard input is sent to the peer; what arrives is printed as `peer: text`. When the input ends,
// the program ends as soon as everything it sent is delivered or given up. What was not delivered is on disk, and is
// delivered when the program runs again.

import Foundation
import Peerchat

func write(_ line: String, to file: FileHandle = .standardError) {
    file.write(Data("\(line)\n".utf8))
}

func notice(_ text: String) {
    write("* \(text)")
}

func fail(_ text: String, _ status: Int32) -> Never {
    write(text)
    exit(status)
}

/// What was sent since the start and is neither delivered nor given up.
actor Unfinished {
    private var ids: Set<String> = []
    /// Finished before they were noted, however that came.
    private var early: Set<String> = []
    private var whenEmpty: CheckedContinuation<Void, Never>?

    func note(_ id: String) {
        if early.remove(id) == nil { ids.insert(id) }
    }

    func finish(_ id: String) {
        if ids.remove(id) == nil { early.insert(id) }
        if ids.isEmpty { whenEmpty?.resume() }
        if ids.isEmpty { whenEmpty = nil }
    }

    func empty() async {
        if !ids.isEmpty { await withCheckedContinuation { whenEmpty = $0 } }
    }
}

func showEvents(of client: Client, _ unfinished: Unfinished) async {
    for await event in client.events {
        switch event {
        case .message(_, let sender, _, _, let text, _, _, _, _): write("\(sender): \(text)", to: .standardOutput)
        case .registered(let name, _, _): notice("\(name) is registered")
        case .bootstrapFailed(_, _, _, let detail): notice(detail)
        case .registrationFailed(_, _, _, _, let detail): notice(detail)
        case .messageState(let id, _, let state, _, _, let detail) where state.isFinal:
            if state != .delivered { notice("not delivered: \(detail)") }
            await unfinished.finish(id)
        case .closed(_, let detail): fail("chat: \(detail)", 1)
        default: break
        }
    }
}

let arguments = CommandLine.arguments
guard (4...5).contains(arguments.count) else {
    fail("usage: chat <data-dir> <name> <peer> [bootstrap host:port]", 2)
}
do {
    let client = try Client(ClientOptions(dataDir: arguments[1], user: arguments[2]))
    if arguments.count == 5 { try client.bootstrap(arguments[4]) }
    let unfinished = Unfinished()
    let shower = Task { await showEvents(of: client, unfinished) }
    let lines = AsyncStream { lines in
        Thread.detachNewThread {
            while let line = readLine() { lines.yield(line) }
            lines.finish()
        }
    }
    for await line in lines where !line.isEmpty {
        do {
            await unfinished.note(try await client.send(to: arguments[3], line))
        } catch {
            notice("not sent: \(error)")
        }
    }
    await unfinished.empty()
    await client.shutdown()
    await shower.value
} catch {
    fail("chat: \(error)", 1)
}
