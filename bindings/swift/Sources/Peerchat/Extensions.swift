import Foundation

extension PeerchatError {
    /// The stable number of the kind, which is the same in C: `code.rawValue`.
    public var code: ErrorCode {
        errorCode()
    }

    /// The reason in words, with what to do about it.
    public var reason: String {
        description
    }
}

extension MessageState {
    /// Whether the message was delivered or given up: nothing is retried any more. Delivered may become read.
    public var isFinal: Bool {
        [.delivered, .read, .expired, .failed, .canceled].contains(self)
    }
}

extension HistoryEntry {
    /// When the message was written, by the writer's clock.
    public var sent: Date {
        Date(unixMs: sentUnixMs)
    }

    /// When the message was saved here.
    public var received: Date {
        Date(unixMs: receivedUnixMs)
    }
}

extension Date {
    /// Makes a date of milliseconds since 1970-01-01 00:00 UTC, as events have them.
    public init(unixMs: UInt64) {
        self.init(timeIntervalSince1970: Double(unixMs) / 1000)
    }
}
