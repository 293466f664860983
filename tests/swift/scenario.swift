// Performs tests/scenario.md: scenario DIRECTORY COUNT

import Foundation
import Peerchat

/// Longer than anything that works takes, in seconds.
let patience: UInt64 = 60
let batchLength: UInt64 = 1_500
/// In step 9.
let networkCount = 3
let loopback = "127.0.0.1:0"

struct Failure: Error {
    let text: String
}

func check(_ condition: Bool, _ what: @autoclosure () -> String = "", line: Int = #line) throws {
    if !condition { throw Failure(text: "line \(line): \(what())") }
}

func same<T: Equatable>(_ expected: T, _ actual: T, line: Int = #line) throws {
    try check(expected == actual, "\(actual) is not \(expected)", line: line)
}

/// Checks that a call fails with this code, and with words.
func fails(_ code: ErrorCode, line: Int = #line, _ call: () async throws -> some Any) async throws {
    do {
        _ = try await call()
    } catch let error as PeerchatError {
        try check(error.code == code && !error.reason.isEmpty, "\(error) is not \(code)", line: line)
        return
    }
    throw Failure(text: "line \(line): no \(code)")
}

func node(_ bind: String = loopback) throws -> Client {
    try Client(ClientOptions(bind: bind))
}

func inMemory(_ name: String, lifetimeMs: UInt64? = nil) throws -> Client {
    try Client(ClientOptions(user: name, bind: loopback, messageLifetimeMs: lifetimeMs))
}

extension Client {
    /// Shuts the client down, however long the disk takes.
    func shutDown() async throws {
        for _ in 0..<40 where await shutdown() { return }
        try check(false, "not shut down within a minute")
    }

    /// Takes events until `choose` finds something in one.
    func expect<T: Sendable>(line: Int = #line, _ choose: @escaping @Sendable (Event) -> T?) async throws -> T {
        try await withThrowingTaskGroup(of: T?.self) { group in
            group.addTask {
                for await event in self.events {
                    if let chosen = choose(event) { return chosen }
                }
                return nil
            }
            group.addTask {
                try? await Task.sleep(nanoseconds: patience * 1_000_000_000)
                return nil
            }
            defer { group.cancelAll() }
            guard let chosen = try await group.next() ?? nil else { throw Failure(text: "line \(line): not in time") }
            return chosen
        }
    }

    func expectEnd(_ id: String, _ state: MessageState, _ code: ErrorCode?, line: Int = #line) async throws {
        let ended = try await expect(line: line) { event -> (MessageState, ErrorCode?)? in
            if case .messageState(id, _, let state, _, let code, _) = event, state.isFinal { (state, code) } else { nil }
        }
        try check(ended == (state, code), "\(ended)", line: line)
    }

    func expectDelivered(_ id: String, line: Int = #line) async throws {
        try await expectEnd(id, .delivered, nil, line: line)
    }

    @discardableResult
    func expectText(_ text: String, _ number: UInt64, line: Int = #line) async throws -> (sender: String, userId: String) {
        let message = try await expect(line: line) { event -> (String, String, String, UInt64)? in
            if case .message(_, let sender, let user, _, let text, let number, _, _, _) = event {
                (sender, user, text, number)
            } else {
                nil
            }
        }
        try check((message.2, message.3) == (text, number), "\(message)", line: line)
        return (message.0, message.1)
    }

    func expectRegistered(line: Int = #line) async throws {
        let registered = try await expect(line: line) { event -> (String, String)? in
            if case .registered(let name, let user, _) = event { (name, user) } else { nil }
        }
        try check(userName == registered.0 && userId == registered.1, "\(registered)", line: line)
    }

    func join(_ address: String, _ node: Client, line: Int = #line) async throws {
        let command = try bootstrap(address)
        let joined = try await expect(line: line) { event -> (UInt64, String)? in
            if case .bootstrapped(let id, let node, _) = event { (id, node) } else { nil }
        }
        try check(joined == (command, node.nodeId), "\(joined)", line: line)
    }

    func expectBootstrapFailure(_ address: String, _ code: ErrorCode, line: Int = #line) async throws {
        let command = try bootstrap(address)
        let failed = try await expect(line: line) { event -> (UInt64, ErrorCode)? in
            if case .bootstrapFailed(let id, _, let code, let detail) = event, !detail.isEmpty { (id, code) } else { nil }
        }
        try check(failed == (command, code), "\(failed)", line: line)
    }
}

final class Scenario {
    let directory: String
    let count: UInt64
    var node: Client
    var alice: Client
    var bob: Client

    init(_ directory: String, _ count: UInt64) throws {
        self.directory = directory
        self.count = count
        node = try scenario.node()
        alice = try Self.person("alice", in: directory)
        bob = try Self.person("bob", in: directory)
    }

    static func person(
        _ name: String, in directory: String, bind: String = loopback, passphrase: String? = nil
    ) throws -> Client {
        try Client(ClientOptions(dataDir: directory, user: name, bind: bind, passphrase: passphrase))
    }

    func person(_ name: String, bind: String = loopback, passphrase: String? = nil) throws -> Client {
        try Self.person(name, in: directory, bind: bind, passphrase: passphrase)
    }

    func run() async throws {
        let steps = [
            open, bootstrap, register, find, talk, trust, restart, move, errors, manyMessages, mail, block, end,
        ]
        for (index, step) in steps.enumerated() {
            try await step()
            FileHandle.standardOutput.write(Data("step \(index + 1) ok\n".utf8))
        }
    }

    func open() async throws {
        try same(nil, node.userName)
        try same(52, alice.userId?.count)
        try same(alice.userId.map { String($0.prefix(8)) }, alice.userFingerprint)
        try check(profileExists(dataDir: directory, user: "alice") && !profileExists(dataDir: directory, user: "carol"))
    }

    func bootstrap() async throws {
        try await alice.join("\(node.nodeKey)@\(node.localAddress)", node)
        try await bob.join(node.localAddress, node)
    }

    func register() async throws {
        try await alice.expectRegistered()
        try await bob.expectRegistered()
    }

    func find() async throws {
        let found = try await bob.lookup("Alice")
        try same("alice", found.name)
        try same(alice.userId, found.userId)
    }

    func talk() async throws {
        let id = try await alice.send(to: "bob", "grüße 🙂")
        let message = try await bob.expectText("grüße 🙂", 1)
        try check(message.sender == "alice" && message.userId == alice.userId, "\(message)")
        try await alice.expectDelivered(id)
        try same(.delivered, alice.messageState(id))
        try await bob.send(to: "alice", "hello")
        try await alice.expectText("hello", 1)
        try checkHistory()
    }

    func checkHistory() throws {
        try same(["hello", "grüße 🙂"], alice.history(with: "bob").map(\.text))
    }

    func trust() async throws {
        let number = try alice.safetyNumber(with: "bob")
        try same(bob.safetyNumber(with: "alice"), number)
        try same(60, number.filter { $0 != " " }.count)
        try alice.setVerified("bob")
        try check(alice.identity(of: "bob").isVerified)
    }

    func restart() async throws {
        let address = alice.localAddress
        let identity = [alice.userId, alice.nodeKey]
        try await alice.shutDown()
        alice = try person("alice", bind: address)
        try same(identity, [alice.userId, alice.nodeKey])
        try checkHistory()
        _ = try await alice.expect { event -> UInt64? in if case .online(let count) = event { count } else { nil } }
        try await alice.send(to: "bob", "back again")
        try await bob.expectText("back again", 2)
    }

    func move() async throws {
        let address = alice.localAddress
        try await alice.shutDown()
        let stranger = try scenario.node(address)
        alice = try person("alice")
        let id = try await bob.send(to: "alice", "where are you?")
        try await alice.expectText("where are you?", 2)
        try await bob.expectDelivered(id)
        try alice.setTyping(to: "bob", true)
        let typist = try await bob.expect { event -> String? in
            if case .typing(let from, _, _, true) = event { from } else { nil }
        }
        try same("alice", typist)
        await stranger.shutdown()
    }

    func errors() async throws {
        try await badCalls()
        try await badProfiles()
        try await badArchives()
        try await failuresOfTheNetwork()
        try await failuresOfTheLonely()
        try await aContestedName()
    }

    func badCalls() async throws {
        try await fails(.invalidArgument) { try Client(ClientOptions(bind: loopback, k: 0)) }
        try await fails(.invalidName) { try await alice.send(to: "two words", "x") }
        try await fails(.invalidAddress) { try alice.bootstrap("no-port") }
        try await fails(.emptyText) { try await alice.send(to: "bob", "") }
        try await fails(.textTooLong) { try await alice.send(to: "bob", String(repeating: "x", count: 16_385)) }
        try await fails(.notFound) { try alice.messageState(String(repeating: "ee", count: 16)) }
        try await fails(.noUser) { try await node.send(to: "bob", "x") }
        try await fails(.notMet) { try alice.safetyNumber(with: "carol") }
        let delivered = try alice.history(with: "bob").last?.id ?? ""
        try await fails(.alreadyEnded) { try alice.cancel(delivered) }
        try await fails(.identityNotSeen) { try alice.acceptIdentity("bob", userId: alice.userId ?? "") }
        try await fails(.addressInUse) { try scenario.node(node.localAddress) }
        try await fails(.network) { try scenario.node("192.0.2.1:0") }
    }

    func badProfiles() async throws {
        try await fails(.profileInUse) { try person("alice") }
        try await fails(.storage) { try Self.person("alice", in: "/dev/null/profiles") }
        try await spoil("newer", 60, Data([0x7f, 0xff, 0xff, 0xff]), .profileTooNew)
        try await spoil("damaged", 0, Data("This is not a database.".utf8), .profileDamaged)
        await (try person("secret", passphrase: "open sesame")).shutdown()
        try await fails(.wrongPassphrase) { try person("secret") }
    }

    func badArchives() async throws {
        let archive = "\(directory)/alice.peerchat", new = "\(directory)/new"
        func bring(_ passphrase: String, _ to: String) throws -> String {
            try importProfile(archive: archive, passphrase: passphrase, dataDir: to, newPassphrase: nil)
        }
        try alice.export(to: archive, passphrase: "open sesame")
        try await fails(.archivePassphrase) { try bring("sesame", new) }
        try await fails(.profileExists) { try bring("open sesame", directory) }
        let file = URL(fileURLWithPath: archive)
        let whole = try Data(contentsOf: file)
        for (place, code) in [(200, ErrorCode.archiveDamaged), (8, .archiveTooNew)] {
            var bytes = whole
            bytes[place] ^= 0xff
            try bytes.write(to: file)
            try await fails(code) { try bring("open sesame", new) }
        }
        try check(!FileManager.default.fileExists(atPath: new))
    }

    /// Writes these bytes at this place of a new profile's file, which is then refused.
    func spoil(_ name: String, _ place: UInt64, _ bytes: Data, _ code: ErrorCode) async throws {
        try await person(name).shutDown()
        let profile = try FileHandle(forUpdating: URL(fileURLWithPath: "\(directory)/user-\(name).db"))
        try profile.seek(toOffset: place)
        try profile.write(contentsOf: bytes)
        try profile.close()
        try await fails(code) { try person(name) }
    }

    func failuresOfTheNetwork() async throws {
        try await fails(.unknownRecipient) { try await alice.lookup("nobody") }
        try await alice.expectEnd(alice.send(to: "nobody", "hello?"), .failed, .unknownRecipient)
        try await alice.expectBootstrapFailure("127.0.0.1:1", .unreachable)
        let stranger = try scenario.node()
        try await alice.expectBootstrapFailure("\(stranger.nodeKey)@\(node.localAddress)", .wrongKey)
        let other = try inMemory("alice")
        try other.bootstrap(node.localAddress)
        let refused = try await other.expect { event -> (ErrorCode, String)? in
            if case .registrationFailed(_, let holder, _, let code, _) = event { (code, holder) } else { nil }
        }
        try check(refused.0 == .nameTaken && refused.1 == alice.userId, "\(refused)")
        await other.shutdown()
        await stranger.shutdown()
    }

    func failuresOfTheLonely() async throws {
        let hasty = try inMemory("lone", lifetimeMs: 1)
        try await hasty.expectEnd(hasty.send(to: "bob", "now or never"), .expired, .expired)
        await hasty.shutdown()
        let lone = try inMemory("lone")
        try await fails(.timedOut) { try await lone.lookup("bob") }
        try await fails(.outboxFull) { for _ in 0..<1_000_000 { try await lone.send(to: "bob", "x") } }
        lone.close()
        try await fails(.closed) { try await lone.send(to: "bob", "x") }
        await lone.shutdown()
    }

    /// Networks that know nothing of one another, each with its alice, and somebody who joins them all. The reader does not
    /// serve: else they would soon be one network, which settles whose the name is.
    func aContestedName() async throws {
        let reader = try Client(ClientOptions(user: "reader", bind: loopback, serve: .never))
        let networks = try (0..<networkCount).map { _ in (node: try scenario.node(), alice: try inMemory("alice")) }
        for (node, alice) in networks {
            try await alice.join(node.localAddress, node)
            try await alice.expectRegistered()
        }
        for (node, _) in networks { try await reader.join(node.localAddress, node) }
        try await fails(.nameContested) { try await reader.lookup("alice") }
        for (node, alice) in networks {
            await node.shutdown()
            await alice.shutdown()
        }
        await reader.shutdown()
    }

    func manyMessages() async throws {
        var last = ""
        for first in stride(from: 1, through: count, by: UInt64.Stride(batchLength)) {
            let batch = first..<min(first + batchLength, count + 1)
            for i in batch { last = try await alice.send(to: "bob", "message \(i)") }
            // Two messages were sent before.
            for i in batch { try await bob.expectText("message \(i)", i + 2) }
        }
        try await alice.expectDelivered(last)
    }

    func mail() async throws {
        try await bob.shutDown()
        let id = try await alice.send(to: "bob", "for later")
        let kept = try await alice.expect { event -> (String, UInt32)? in
            if case .messageState(let id, _, .stored, let holders, _, _) = event { (id, holders) } else { nil }
        }
        try check(kept.0 == id && kept.1 >= 1, "\(kept)")
        try await alice.shutDown()
        bob = try person("bob")
        try await bob.expectText("for later", count + 3)
        alice = try person("alice")
        try await alice.expectDelivered(id)
    }

    func block() async throws {
        try bob.block("alice")
        try await fails(.blocked) { try await bob.send(to: "alice", "no") }
        try await alice.expectEnd(alice.send(to: "bob", "are you there?"), .failed, .blockedByRecipient)
        try bob.unblock("alice")
        try await alice.send(to: "bob", "once more")
        let message = try await bob.expect { event -> (String, Bool)? in
            if case .message(_, _, _, _, let text, _, _, _, let isRequest) = event { (text, isRequest) } else { nil }
        }
        try check(message == ("once more", true), "\(message)")
        try bob.acceptContact("alice")
        let contacts = try bob.contacts()
        try same([alice.userId], contacts.map(\.userId))
        try same([.contact], contacts.map(\.relation))
    }

    func end() async throws {
        alice.close()
        try await fails(.closed) { try await alice.send(to: "bob", "x") }
        for client in [alice, bob, node] { try await client.shutDown() }
        let again = try person("alice")
        try same("once more", again.history(with: "bob", limit: 1).first?.text)
        try await again.shutDown()
    }
}

do {
    try await Scenario(CommandLine.arguments[1], UInt64(CommandLine.arguments[2]) ?? 0).run()
} catch {
    FileHandle.standardError.write(Data("\(error)\n".utf8))
    exit(1)
}
