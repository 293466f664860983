import Foundation
import XCTest

@testable import Peerchat

/// Longer than anything that works takes, in seconds.
let patience: UInt64 = 60

func open(_ user: String? = nil, bind: String = "127.0.0.1:0") throws -> Client {
    try Client(ClientOptions(user: user, bind: bind))
}

/// Runs a test that may wait, with an end to its waiting.
func waiting(_ test: @escaping @Sendable () async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Bool.self) { group in
        group.addTask {
            try await test()
            return true
        }
        group.addTask {
            try? await Task.sleep(nanoseconds: patience * 1_000_000_000)
            return false
        }
        let isDone = try await group.next() ?? false
        group.cancelAll()
        XCTAssertTrue(isDone, "not done after \(patience) s")
    }
}

extension Client {
    /// Takes events until `choose` finds something in one.
    func first<T>(_ choose: (Event) -> T?) async throws -> T {
        for await event in events {
            if let chosen = choose(event) {
                return chosen
            }
        }
        throw PeerchatError.TimedOut(code: .timedOut, detail: "the events ended", fingerprints: [])
    }

    func bootstrapped() async throws -> (commandId: UInt64, nodeId: String, address: String) {
        try await first { if case .bootstrapped(let id, let node, let address) = $0 { (id, node, address) } else { nil } }
    }

    func registered() async throws -> String {
        try await first { if case .registered(let name, _, _) = $0 { name } else { nil } }
    }

    func bootstrapFailed() async throws -> (commandId: UInt64, code: ErrorCode) {
        try await first { if case .bootstrapFailed(let id, _, let code, _) = $0 { (id, code) } else { nil } }
    }

    func message() async throws -> (sender: String, text: String) {
        try await first { if case .message(_, let from, _, _, let text, _, _, _, _) = $0 { (from, text) } else { nil } }
    }

    func typing() async throws -> (sender: String, isTyping: Bool) {
        try await first { if case .typing(let from, _, _, let isTyping) = $0 { (from, isTyping) } else { nil } }
    }

    func finalState(of id: String) async throws -> MessageState {
        try await first {
            if case .messageState(id, _, let state, _, _, _) = $0, state.isFinal { state } else { nil }
        }
    }
}

/// Expects a call to throw an error of this kind.
func assertFails(
    _ code: ErrorCode, line: UInt = #line, _ call: () async throws -> some Any
) async {
    do {
        _ = try await call()
        XCTFail("did not throw", line: line)
    } catch {
        XCTAssertEqual((error as? PeerchatError)?.code, code, "\(error)", line: line)
    }
}
