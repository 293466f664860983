import Foundation
import XCTest

@testable import Peerchat

final class ClientTests: XCTestCase {
    func testTwoPeopleTalk() async throws {
        try await waiting {
            let (alice, bob) = (try open("alice"), try open("bob"))
            let command = try bob.bootstrap(alice.localAddress)
            let joined = try await bob.bootstrapped()
            XCTAssertEqual(joined.commandId, command)
            XCTAssertEqual([joined.nodeId, joined.address], [alice.nodeId, alice.localAddress])
            let names = [try await bob.registered(), try await alice.registered()]
            XCTAssertEqual(names, ["bob", "alice"])

            let id = try await alice.send(to: "bob", "grüße 🙂")
            let message = try await bob.message()
            XCTAssertEqual([message.sender, message.text], ["alice", "grüße 🙂"])
            let state = try await alice.finalState(of: id)
            XCTAssertEqual(state, .delivered)
            XCTAssertEqual(try alice.messageState(id), .delivered)

            try await bob.send(to: "alice", "hello")
            let answer = try await alice.message()
            XCTAssertEqual(answer.text, "hello")
            let found = try await alice.lookup("bob")
            XCTAssertEqual(found.userId, bob.userId)
            await assertFails(.unknownRecipient) { try await alice.lookup("nobody") }
            XCTAssertGreaterThanOrEqual(try alice.statistics().contactCount, 1)

            let history = try alice.history(with: "bob", limit: 2)
            XCTAssertEqual(history.map(\.text), ["hello", "grüße 🙂"])
            XCTAssertEqual(history.map(\.state), [nil, .delivered])
            XCTAssertEqual(try alice.history(with: "bob", before: history[0].position), [history[1]])
            XCTAssertEqual(try alice.search("GRUSSE"), [history[1]])
            XCTAssertEqual(try alice.search("hel*", with: "bob"), [history[0]])
            XCTAssertEqual(try alice.search("hello", before: history[0].position), [])
            XCTAssertEqual(try alice.search("hello", with: "carol"), [])
            await assertFails(.invalidArgument) { try alice.search("\"*") }
            XCTAssertGreaterThan(history[0].received, Date(timeIntervalSince1970: 1_700_000_000))
            let closed = [await alice.shutdown(), await bob.shutdown()]
            XCTAssertEqual(closed, [true, true])
        }
    }

    func testAContactSeesWhoIsTyping() async throws {
        try await waiting {
            let (alice, bob) = (try open("alice"), try open("bob"))
            try bob.bootstrap(alice.localAddress)
            _ = [try await bob.registered(), try await alice.registered()]
            await assertFails(.notMet) { try alice.setTyping(to: "bob", true) }
            try await alice.send(to: "bob", "hello")
            let first = try await bob.message()
            try await bob.send(to: first.sender, "hello")
            _ = try await alice.message()
            try alice.setTyping(to: "bob", true)
            let started = try await bob.typing()
            XCTAssertEqual(started.sender, "alice")
            XCTAssertTrue(started.isTyping)
            try await alice.send(to: "bob", "this")
            let stopped = try await bob.typing()
            XCTAssertFalse(stopped.isTyping)
            let text = try await bob.message().text
            XCTAssertEqual(text, "this")
            let closed = [await alice.shutdown(), await bob.shutdown()]
            XCTAssertEqual(closed, [true, true])
        }
    }

    func testAProfileMovesInOneFile() async throws {
        try await waiting {
            let place = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
            defer { try? FileManager.default.removeItem(at: place) }
            let (old, new) = (place.appendingPathComponent("old").path, place.appendingPathComponent("new").path)
            let archive = place.appendingPathComponent("archive").path
            let client = try Client(ClientOptions(dataDir: old, user: "alice", bind: "127.0.0.1:0"))
            _ = try await client.send(to: "bob", "hello")
            try client.export(to: archive, passphrase: "open sesame")
            await client.shutdown()
            await assertFails(.archivePassphrase) {
                try importProfile(archive: archive, passphrase: "sesame", dataDir: new, newPassphrase: nil)
            }
            await assertFails(.profileExists) {
                try importProfile(archive: archive, passphrase: "open sesame", dataDir: old, newPassphrase: nil)
            }
            let user = try importProfile(
                archive: archive, passphrase: "open sesame", dataDir: new, newPassphrase: nil)
            XCTAssertEqual(user, "alice")
            let moved = try Client(ClientOptions(dataDir: new, user: "alice", bind: "127.0.0.1:0"))
            XCTAssertEqual(moved.userId, client.userId)
            XCTAssertEqual(try moved.history(with: "bob").map(\.text), ["hello"])
            await moved.shutdown()
        }
    }

    func testClosingEndsTheEventsAndFailsWhatWaits() async throws {
        try await waiting {
            let client = try open("alice")
            let collector = Task { for await _ in client.events {} }
            let waiter = Task { try await client.finalState(of: "none") }
            await client.shutdown()
            await collector.value
            await assertFails(.timedOut) { try await waiter.value }
            await assertFails(.closed) { try await client.nextEvent() }
            await assertFails(.closed) { try await client.send(to: "bob", "x") }
            await assertFails(.closed) { try client.statistics() }
            XCTAssertEqual(ErrorCode.closed.rawValue, -30)
            XCTAssertEqual(client.userName, "alice")
        }
    }

    func testACancelledWaitLosesNoEvent() async throws {
        try await waiting {
            let client = try open("alice")
            let waiter = Task { try await client.bootstrapFailed() }
            waiter.cancel()
            await assertFails(.timedOut) { try await waiter.value }
            let command = try client.bootstrap("127.0.0.1:1")
            let failed = try await client.bootstrapFailed()
            XCTAssertEqual(failed.commandId, command)
            XCTAssertEqual(failed.code, .unreachable)
        }
    }

    func testAnEventThatACancelledTaskAskedForGoesToTheNext() async throws {
        try await waiting {
            let (events, source) = AsyncStream.makeStream(of: Event.self)
            let (asked, askedFor) = AsyncStream.makeStream(of: Void.self)
            let pump = EventPump {
                askedFor.yield()
                for await event in events { return event }
                throw PeerchatError.Closed(code: .closed, detail: "the end", fingerprints: [])
            }
            let waiter = Task { try await pump.next() }
            for await _ in asked { break }
            waiter.cancel()
            let none = try await waiter.value
            XCTAssertNil(none)
            source.yield(.offline)
            let event = try await pump.next()
            XCTAssertEqual(event, .offline)
        }
    }

    func testTheExampleTalks() async throws {
        try await waiting {
            let alice = try open("alice")
            let profiles = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
            defer { try? FileManager.default.removeItem(at: profiles) }
            let (chat, input) = (Process(), Pipe())
            // Built beside the tests.
            chat.executableURL = Bundle.main.bundleURL.appendingPathComponent("chat")
            chat.arguments = [profiles.path, "bob", "alice", alice.localAddress]
            chat.standardInput = input
            chat.standardOutput = FileHandle.nullDevice
            chat.standardError = FileHandle.nullDevice
            try chat.run()
            input.fileHandleForWriting.write(Data("one\n\ntwo\n".utf8))
            input.fileHandleForWriting.closeFile()
            let texts = [try await alice.message().text, try await alice.message().text]
            XCTAssertEqual(texts, ["one", "two"])
            chat.waitUntilExit()
            XCTAssertEqual(chat.terminationStatus, 0)
        }
    }

    func testEachEventGoesToOneTaker() async throws {
        try await waiting {
            let client = try open("alice")
            let takers = (0..<4).map { _ in Task { try await client.bootstrapFailed().commandId } }
            let commands = try takers.map { _ in try client.bootstrap("127.0.0.1:1") }
            var taken: Set<UInt64> = []
            for taker in takers {
                taken.insert(try await taker.value)
            }
            XCTAssertEqual(taken, Set(commands))
        }
    }

    func testATaskThatThrowsDoesNotStopTheClient() async throws {
        try await waiting {
            struct Bug: Error {}
            let client = try open("alice")
            try client.bootstrap("127.0.0.1:1")
            let failing = Task { for await _ in client.events { throw Bug() } }
            let result = await failing.result
            XCTAssertThrowsError(try result.get())
            let command = try client.bootstrap("127.0.0.1:1")
            while try await client.bootstrapFailed().commandId != command {}
        }
    }

    func testTwoPeopleKnowEachOther() async throws {
        try await waiting {
            let (alice, bob) = (try open("alice"), try open("bob"))
            try bob.bootstrap(alice.localAddress)
            _ = try await bob.registered()
            let id = try await bob.send(to: "alice", "hello")
            _ = try await alice.message()
            _ = try await bob.finalState(of: id)
            XCTAssertEqual(try bob.messageHolders(id), 0)
            XCTAssertEqual(try alice.safetyNumber(with: "bob"), try bob.safetyNumber(with: "alice"))
            try alice.setVerified("bob")
            XCTAssertTrue(try alice.identity(of: "bob").isVerified)
            try alice.setVerified("bob", false)
            XCTAssertFalse(try alice.identity(of: "bob").isVerified)
            XCTAssertEqual(try alice.identity(of: "bob").userId, bob.userId)
            await assertFails(.notMet) { try alice.identity(of: "carol") }
            await assertFails(.identityNotSeen) { try alice.acceptIdentity("bob", userId: alice.userId ?? "") }
        }
    }

    func testAStrangerMakesARequestAndIsToldWhatWasRead() async throws {
        try await waiting {
            let (alice, bob) = (try open("alice"), try open("bob"))
            try bob.bootstrap(alice.localAddress)
            _ = try await bob.registered()
            let id = try await bob.send(to: "alice", "hello")
            let (messageId, isRequest): (String, Bool) = try await alice.first {
                if case .message(let id, _, _, _, _, _, _, _, let isRequest) = $0 { (id, isRequest) } else { nil }
            }
            XCTAssertTrue(isRequest)
            XCTAssertEqual(try alice.contacts().map(\.userId), [bob.userId])
            XCTAssertEqual(try alice.contacts().map(\.relation), [.request])
            try alice.acceptContact("bob")
            try alice.markRead(messageId)
            try await bob.first { if case .messageState(id, _, .read, _, _, _) = $0 { () } else { nil } }
            try alice.removeContact("bob")
            XCTAssertEqual(try alice.contacts(), [])
            await assertFails(.notMet) { try alice.acceptContact("bob") }
            await assertFails(.notMet) { try alice.block("carol") }
        }
    }

    func testAMessageIsTakenBackOrGivenUp() async throws {
        try await waiting {
            let alice = try open("alice")
            await assertFails(.invalidArgument) { try await alice.send(to: "carol", "hi", lifetimeMs: 999) }
            let id = try await alice.send(to: "carol", "hi")
            try alice.cancel(id)
            let canceled = try await alice.finalState(of: id)
            XCTAssertEqual(canceled, .canceled)
            await assertFails(.alreadyEnded) { try alice.cancel(id) }
            let hasty = try await alice.send(to: "carol", "hi", lifetimeMs: 1000)
            let expired = try await alice.finalState(of: hasty)
            XCTAssertEqual(expired, .expired)
            try alice.addContact("dave")
            XCTAssertEqual(try alice.contacts().map(\.name), ["carol", "dave"])
        }
    }

    func testBadCallsThrowByKind() async throws {
        try await waiting {
            let client = try open("alice")
            await assertFails(.invalidName) { try await client.send(to: "", "x") }
            await assertFails(.emptyText) { try await client.send(to: "bob", "") }
            await assertFails(.textTooLong) { try await client.send(to: "bob", String(repeating: "x", count: 16_385)) }
            await assertFails(.notFound) { try client.messageState(String(repeating: "ee", count: 16)) }
            await assertFails(.invalidArgument) { try client.messageState("no id") }
            await assertFails(.addressInUse) { try open(bind: client.localAddress) }
            do {
                try client.bootstrap("no-port")
                XCTFail("did not throw")
            } catch PeerchatError.InvalidAddress(let code, let detail, let fingerprints) {
                XCTAssertEqual(code.rawValue, -12)
                XCTAssertEqual(detail, PeerchatError.InvalidAddress(code: code, detail: detail, fingerprints: fingerprints).reason)
            }
            let node = try open()
            XCTAssertNil(node.userName)
            await assertFails(.noUser) { try await node.send(to: "bob", "x") }
        }
    }

    func testClientsThatComeAndGoLeaveNoMemoryBehind() async throws {
        func cycle() async throws {
            let client = try open("alice")
            await assertFails(.invalidAddress) { try client.bootstrap("no-port") }
            await client.shutdown()
        }
        // More of them in tests/soak-languages.
        let count = ProcessInfo.processInfo.environment["PEERCHAT_CYCLES"].flatMap { Int($0) } ?? 300
        for _ in 0..<100 { try await cycle() }
        let before = try residentKiB()
        for _ in 0..<count { try await cycle() }
        let growth = try residentKiB() - before
        print("\(count) clients left \(growth) KiB behind")
        XCTAssertLessThan(growth, max(16 * 1024, 8 * count))
    }

    /// What the process holds in memory; 0 where the system does not tell.
    private func residentKiB() throws -> Int {
        guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8) else { return 0 }
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return Int((line ?? "").filter(\.isNumber)) ?? 0
    }
}
