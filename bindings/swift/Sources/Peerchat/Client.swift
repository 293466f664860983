import Foundation

/// A running node, with a user on top of it unless it was opened without one.
///
/// Opening blocks briefly, on the disk only. Everything may be called from any thread and any task. A call that fails
/// throws a ``PeerchatError``; after closing that is `PeerchatError.Closed`. What the network decides (nobody at a
/// bootstrap address, nobody of that name) is an ``Event``. Letting go of the last reference closes the client.
public final class Client: Sendable {
    private let native: NativeClient
    private let pump: EventPump

    /// The user's name in the form in which names are compared, nil for a node without a user.
    public let userName: String?
    /// The user's id, nil for a node without a user.
    public let userId: String?
    /// The first 8 characters of the user's id, nil for a node without a user.
    public let userFingerprint: String?
    /// The node's id.
    public let nodeId: String
    /// The node's key, the part before @ in `key@host:port`.
    public let nodeKey: String
    /// The UDP address that the node is bound to, with the port that the system chose.
    public let localAddress: String

    /// Opens the profile, binds the socket and starts the node.
    ///
    /// Throws if an option is out of its range; if the profile is open elsewhere, damaged, too new or cannot be written;
    /// if the port is taken.
    public init(_ options: ClientOptions = ClientOptions()) throws(PeerchatError) {
        let native = try translated { try NativeClient(options: options) }
        self.native = native
        pump = EventPump { try await native.nextEvent() }
        userName = native.userName()
        userId = native.userId()
        userFingerprint = native.userFingerprint()
        nodeId = native.nodeId()
        nodeKey = native.nodeKey()
        localAddress = native.localAddress()
    }

    deinit {
        native.close()
    }

    /// The events from now on, until the client is closed or the task that iterates is cancelled.
    ///
    /// There is one queue, in order: each event goes to one taker, and asking for the next event confirms the last. A
    /// task that is cancelled loses none: another may go on.
    public var events: Events {
        Events(client: self)
    }

    /// Waits for the next event; nil if the task was cancelled. Then the event goes to whoever asks next.
    ///
    /// Throws `PeerchatError.Closed` once the client is closed.
    public func nextEvent() async throws(PeerchatError) -> Event? {
        try await pump.next()
    }

    /// Joins the network through the node at `host:port`, `[ipv6]:port` or `key@host:port`.
    ///
    /// Returns an id at once; a `bootstrapped` or `bootstrapFailed` event follows with the same id. Throws if the
    /// address does not parse, or the client is closed.
    @discardableResult
    public func bootstrap(_ address: String) throws(PeerchatError) -> UInt64 {
        try translated { try native.bootstrap(address: address) }
    }

    /// Saves a text for sending and returns its id once it is on disk; `messageState` events tell the rest.
    ///
    /// `recipient` is `alice`, or `alice#7kq2m4xd` to name the person as well, and a contact from then on. `lifetimeMs` is how
    /// long the message is retried while it is not delivered, 1 second to 30 days in milliseconds; nil: as long as the
    /// options say. Nothing was queued if it throws: the name or the text breaks the rules, the lifetime is out of its range,
    /// the recipient is blocked, the outbox is full, the disk refused, there is no user, or the client is closed. Cancelling
    /// the task does not take the message back; ``cancel(_:)`` does.
    @discardableResult
    public func send(
        to recipient: String, _ text: String, lifetimeMs: UInt64? = nil
    ) async throws(PeerchatError) -> String {
        try await translated {
            if let lifetimeMs {
                try await native.sendFor(recipient: recipient, text: text, lifetimeMs: lifetimeMs)
            } else {
                try await native.send(recipient: recipient, text: text)
            }
        }
    }

    /// Stops retrying a message of our own that is not delivered, and waits for the disk on the calling thread, as the next
    /// seven do. What is under way already, or kept by others for the recipient, cannot be called back and may still arrive.
    ///
    /// Throws `AlreadyEnded` if it was delivered or given up before; else if no message of ours has this id, the disk refused,
    /// there is no user, or the client is closed.
    public func cancel(_ id: String) throws(PeerchatError) {
        try translated { try native.cancel(id: id) }
    }

    /// Says whether this user is typing to somebody, who is shown it if they are a contact and there: `typing`.
    ///
    /// To be called with every key, and with false when the text is deleted or left alone for a while: no more than one notice
    /// in 3 seconds goes out, and sending a text says that typing has ended. Who never calls this tells nobody.
    ///
    /// It goes over an encrypted link to the person's device that is up already, and is neither saved nor repeated nor kept by
    /// others: if they are away, or no link is up, or they are no contact, nothing happens, and nothing tells so. Waits for the
    /// node to take it, neither for the disk nor for the network. Throws `NotMet` if nothing was exchanged with anybody of this
    /// name and they were not added; else if they are blocked, the name breaks the rules, there is no user, or the client is
    /// closed.
    public func setTyping(to recipient: String, _ isTyping: Bool) throws(PeerchatError) {
        try translated { try native.setTyping(recipient: recipient, isTyping: isTyping) }
    }

    /// Marks a received message, and everything that the same person wrote before it, as read. If they are a contact they are
    /// told, unless the options say that nobody is.
    ///
    /// Throws if no message that we received has this id, the disk refused, there is no user, or the client is closed.
    public func markRead(_ id: String) throws(PeerchatError) {
        try translated { try native.markRead(id: id) }
    }

    /// Returns everybody who is a contact, has made a request or is blocked, in the order in which they were met. Throws if
    /// the disk refused, there is no user, or the client is closed.
    public func contacts() throws(PeerchatError) -> [Person] {
        try translated { try native.contacts() }
    }

    /// Makes somebody a contact, whether they were met or not. Throws if they are blocked, there are too many contacts, the
    /// name breaks the rules, the disk refused, there is no user, or the client is closed.
    public func addContact(_ name: String) throws(PeerchatError) {
        try translated { try native.addContact(name: name) }
    }

    /// Makes somebody who has made a request a contact. What of theirs was marked as read before is told to them now. Throws
    /// `NotMet` if nobody of this name has made a request, and what ``addContact(_:)`` throws.
    public func acceptContact(_ name: String) throws(PeerchatError) {
        try translated { try native.acceptContact(name: name) }
    }

    /// Blocks somebody who was met: a person's key, not a name. Nothing of theirs is taken any more: what they deliver fails
    /// at their side with `blockedByRecipient`; what they leave with others is dropped unread. What is still owed to them is
    /// canceled.
    ///
    /// Throws if nobody of this name was met, the name breaks the rules, the disk refused, there is no user, or the client is
    /// closed.
    public func block(_ name: String) throws(PeerchatError) {
        try translated { try native.block(name: name) }
    }

    /// Takes what somebody writes again; their next message makes a request. Throws what ``block(_:)`` throws.
    public func unblock(_ name: String) throws(PeerchatError) {
        try translated { try native.unblock(name: name) }
    }

    /// Takes somebody out of the contacts, or turns their request down. What was said stays; their next message makes a
    /// request again: ``block(_:)`` them if there should be none. Throws if they are blocked, and what ``block(_:)`` throws.
    public func removeContact(_ name: String) throws(PeerchatError) {
        try translated { try native.removeContact(name: name) }
    }

    /// Tells how far a message of our own has come. Throws if no message of ours has this id, if the disk refused, or if
    /// the client is closed. Reads the disk on the calling thread.
    public func messageState(_ id: String) throws(PeerchatError) -> MessageState {
        try translated { try native.messageState(id: id) }
    }

    /// Reads up to `limit` messages of the conversation with `peer`, the latest first, on the calling thread.
    ///
    /// `before` is the `position` of an entry, to go on from there; nil: from the end. Throws if the name breaks the
    /// rules, the disk refused, there is no user, or the client is closed.
    public func history(
        with peer: String, before: UInt64? = nil, limit: UInt32 = 50
    ) throws(PeerchatError) -> [HistoryEntry] {
        try translated { try native.history(peer: peer, before: before, limit: limit) }
    }

    /// Finds up to `limit` messages that hold every word of `words`, the latest first, on the calling thread.
    ///
    /// Case and accents do not count, and `*` right after a word stands for whatever ends it. `peer` is whom it was
    /// said with; nil: everybody. `before` is the `position` of an entry, to go on from there; nil: from the end. The
    /// first search of a profile indexes it, about half a minute for each million messages. Throws if there is no word in
    /// `words`, or too many, the name breaks the rules, the disk refused, there is no user, or the client is closed.
    public func search(
        _ words: String, with peer: String? = nil, before: UInt64? = nil, limit: UInt32 = 50
    ) throws(PeerchatError) -> [HistoryEntry] {
        try translated { try native.search(words: words, peer: peer, before: before, limit: limit) }
    }

    /// Writes the profile as it is now into a new file that `passphrase` encrypts, on the calling thread.
    ///
    /// The profile that `importProfile` makes of it continues as this very device: close this client right after, and do
    /// not open its profile again. Throws if there is a file of this name, the profile is in memory or damaged, the disk
    /// refused, there is no user, or the client is closed. Then there is no new file.
    public func export(to path: String, passphrase: String) throws(PeerchatError) {
        try translated { try native.export(path: path, passphrase: passphrase) }
    }

    /// Looks a name up in the directory. Waits for the network, some seconds at most, and so does a task that is
    /// cancelled meanwhile.
    ///
    /// Throws if nobody goes by the name, the network does not agree on who does, no other node answers, or the client
    /// is closed.
    public func lookup(_ name: String) async throws(PeerchatError) -> FoundUser {
        try await translated { try await native.lookup(name: name) }
    }

    /// Tells how many nodes keep a message of our own for its recipient, who is away: 0 unless it is `stored`. Throws
    /// what ``messageState(_:)`` throws.
    public func messageHolders(_ id: String) throws(PeerchatError) -> UInt32 {
        try translated { try native.messageHolders(id: id) }
    }

    /// Tells who the person is whom messages to this name go to, whoever holds the name by now.
    ///
    /// Throws if nobody of this name was met, the name breaks the rules, the disk refused, there is no user, or the
    /// client is closed. Reads the disk on the calling thread, as the next three do.
    public func identity(of name: String) throws(PeerchatError) -> Identity {
        try translated { try native.identity(name: name) }
    }

    /// Returns the safety number with the person of this name: 60 digits in groups of five, the same on both sides.
    ///
    /// If two people read it to each other and it agrees, nobody sits between them: mark it with
    /// ``setVerified(_:_:)``. Throws what ``identity(of:)`` throws.
    public func safetyNumber(with name: String) throws(PeerchatError) -> String {
        try translated { try native.safetyNumber(name: name) }
    }

    /// Marks the person of this name as verified, or no longer; the mark is kept. Throws what ``identity(of:)`` throws.
    public func setVerified(_ name: String, _ isVerified: Bool = true) throws(PeerchatError) {
        try translated { try native.setVerified(name: name, isVerified: isVerified) }
    }

    /// Lets a name mean the person who holds it now, after an `identityChanged` event has named them by `userId`.
    ///
    /// Throws what ``identity(of:)`` throws, and if the name was not seen to belong to this person.
    public func acceptIdentity(_ name: String, userId: String) throws(PeerchatError) {
        try translated { try native.acceptIdentity(name: name, userId: userId) }
    }

    /// Returns counts and gauges. Throws if the client is closed.
    public func statistics() throws(PeerchatError) -> Statistics {
        try translated { try native.statistics() }
    }

    /// Closes the client and returns at once: ``events`` ends, waiting calls throw `PeerchatError.Closed`, and so do
    /// later ones.
    public func close() {
        native.close()
    }

    /// Closes the client and waits, up to 1.5 seconds, until its port and profile are free again. Returns whether they
    /// are; if not, calling it again waits for longer, and so does opening the same profile.
    @discardableResult
    public func shutdown() async -> Bool {
        let native = native
        native.close()
        return await withCheckedContinuation { done in
            // A thread that may block: those of tasks must not.
            DispatchQueue.global().async { done.resume(returning: native.shutdown()) }
        }
    }
}

/// The events of a client, for `for await`.
public struct Events: AsyncSequence, Sendable {
    public typealias Element = Event

    fileprivate let client: Client

    public func makeAsyncIterator() -> Iterator {
        Iterator(client: client)
    }

    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let client: Client

        /// Waits for the next event; nil when the client is closed or the task is cancelled.
        public func next() async -> Event? {
            try? await client.nextEvent()
        }
    }
}

/// Turns whatever the generated code throws into the one error of this package: a panic in Rust is `Internal`.
func translated<T>(_ call: () throws -> T) throws(PeerchatError) -> T {
    do {
        return try call()
    } catch {
        throw PeerchatError(any: error)
    }
}

func translated<T: Sendable>(_ call: () async throws -> T) async throws(PeerchatError) -> T {
    do {
        return try await call()
    } catch {
        throw PeerchatError(any: error)
    }
}

extension PeerchatError {
    init(any error: any Error) {
        self = error as? PeerchatError ?? .Internal(code: .internal, detail: "\(error)", fingerprints: [])
    }
}
