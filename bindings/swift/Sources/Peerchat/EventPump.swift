import Foundation

/// The wait for the next event, which outlives a task that is cancelled: its event goes to whoever asks next.
///
/// Nothing is asked for unless somebody waits, because asking for the next event confirms the last.
final class EventPump: @unchecked Sendable {
    typealias Outcome = Result<Event?, PeerchatError>

    private let ask: @Sendable () async throws -> Event
    /// Guards everything below; held for some instructions, never while waiting.
    private let lock = NSLock()
    private var lastTicket: UInt64 = 0
    /// Who waits, by ticket, in order of arrival.
    private var waiters: [(ticket: UInt64, resume: CheckedContinuation<Outcome, Never>)] = []
    /// Tickets that were cancelled before they waited.
    private var cancelled: Set<UInt64> = []
    /// What was asked for by somebody who has gone.
    private var held: Outcome?
    private var isAsking = false

    init(ask: @escaping @Sendable () async throws -> Event) {
        self.ask = ask
    }

    /// Waits for the next event; nil if the task is cancelled first.
    func next() async throws(PeerchatError) -> Event? {
        let ticket = lock.withLock {
            lastTicket += 1
            return lastTicket
        }
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { wait(ticket, $0) }
        } onCancel: {
            cancel(ticket)
        }
        lock.withLock { _ = cancelled.remove(ticket) }
        return try outcome.get()
    }

    private func wait(_ ticket: UInt64, _ continuation: CheckedContinuation<Outcome, Never>) {
        let (outcome, mustAsk): (Outcome?, Bool) = lock.withLock {
            if cancelled.contains(ticket) {
                return (.success(nil), false)
            }
            if let outcome = held {
                held = nil
                return (outcome, false)
            }
            waiters.append((ticket, continuation))
            defer { isAsking = true }
            return (nil, !isAsking)
        }
        if let outcome {
            continuation.resume(returning: outcome)
        } else if mustAsk {
            Task { await serve() }
        }
    }

    /// Asks for one event after another for as long as somebody waits.
    private func serve() async {
        var goesOn = true
        while goesOn {
            let outcome: Outcome
            do {
                outcome = .success(try await ask())
            } catch {
                outcome = .failure(PeerchatError(any: error))
            }
            goesOn = deliver(outcome)
        }
    }

    /// Hands an outcome to the first who waits, and tells whether another waits.
    private func deliver(_ outcome: Outcome) -> Bool {
        let (first, goesOn): (CheckedContinuation<Outcome, Never>?, Bool) = lock.withLock {
            let first = waiters.isEmpty ? nil : waiters.removeFirst().resume
            if first == nil, case .success = outcome {
                held = outcome
            }
            isAsking = !waiters.isEmpty
            return (first, isAsking)
        }
        first?.resume(returning: outcome)
        return goesOn
    }

    private func cancel(_ ticket: UInt64) {
        let waiter: CheckedContinuation<Outcome, Never>? = lock.withLock {
            guard let place = waiters.firstIndex(where: { $0.ticket == ticket }) else {
                cancelled.insert(ticket)
                return nil
            }
            return waiters.remove(at: place).resume
        }
        waiter?.resume(returning: .success(nil))
    }
}
