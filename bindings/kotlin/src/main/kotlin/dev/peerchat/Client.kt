package dev.peerchat

import java.util.concurrent.atomic.AtomicBoolean
import kotlin.time.Duration
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.withContext

/**
 * A running node, with a user on top of it unless it was opened without one.
 *
 * The constructor blocks briefly, on the disk only; [open] does the same without blocking the thread. Close the client
 * with `use`, [close] or [shutdown]. Everything may be called from any thread and any coroutine. A call that fails
 * throws a kind of [PeerchatException]; after closing that is [PeerchatException.Closed].
 *
 * What the network decides (nobody at a bootstrap address, nobody of that name) is an [Event].
 *
 * @throws PeerchatException an option is out of its range; the profile is open elsewhere, damaged, too new or cannot be
 *   written; the port is taken.
 */
public class Client(options: ClientOptions) : AutoCloseable {
    private val native = NativeClient(options)
    private val pump = EventPump { native.nextEvent() }
    private val isClosed = AtomicBoolean(false)

    /** The user's name in the form in which names are compared, null for a node without a user. */
    public val userName: String? = native.userName()

    /** The user's id, null for a node without a user. */
    public val userId: String? = native.userId()

    /** The first 8 characters of the user's id, null for a node without a user. */
    public val userFingerprint: String? = native.userFingerprint()

    /** The node's id. */
    public val nodeId: String = native.nodeId()

    /** The node's key, the part before @ in `key@host:port`. */
    public val nodeKey: String = native.nodeKey()

    /** The UDP address that the node is bound to, with the port that the system chose. */
    public val localAddress: String = native.localAddress()

    /**
     * The events from now on, until the client is closed.
     *
     * There is one queue, in order: each event goes to one collector, and asking for the next event confirms the last.
     * A collector that is cancelled, or that throws, loses none but the one it was given; another may go on. To hand
     * every event to many, share the flow (`shareIn`).
     */
    public val events: Flow<Event> = flow {
        while (true) {
            emit(pump.nextOrNull() ?: break)
        }
    }

    /**
     * Waits for the next event. Cancelling the call loses none: the next call gets it.
     *
     * Use [poll] to wait for a limited time: `withTimeout` can give up when the event is already on its way to you.
     *
     * @throws PeerchatException.Closed the client is closed.
     */
    public suspend fun nextEvent(): Event = pump.nextOrNull() ?: throw closed()

    /**
     * Waits up to [timeout] for the next event; null if there was none.
     *
     * @throws PeerchatException.Closed the client is closed.
     */
    public suspend fun poll(timeout: Duration): Event? = when (val taken = pump.poll(timeout)) {
        is EventPump.Taken -> taken.event
        EventPump.Ended -> throw closed()
        else -> null
    }

    /**
     * Joins the network through the node at `host:port`, `[ipv6]:port` or `key@host:port`.
     *
     * Returns an id at once; [Event.Bootstrapped] or [Event.BootstrapFailed] follows with the same id.
     *
     * @throws PeerchatException the address does not parse, or the client is closed.
     */
    public fun bootstrap(address: String): ULong = whileOpen { native.bootstrap(address) }

    /**
     * Saves a text for sending and returns its id once it is on disk; [Event.MessageState] tells the rest.
     *
     * Cancelling the call does not take the message back; [cancel] does.
     *
     * @param recipient `alice`, or `alice#7kq2m4xd` to name the person as well; a contact from then on.
     * @param lifetime how long the message is retried while it is not delivered, 1 second to 30 days; null: as long as the
     *   options say.
     * @throws PeerchatException nothing was queued: the name or the text breaks the rules, the lifetime is out of its range,
     *   the recipient is blocked, the outbox is full, the disk refused, there is no user, or the client is closed.
     */
    public suspend fun send(recipient: String, text: String, lifetime: Duration? = null): String = whileOpen {
        if (lifetime == null) {
            native.send(recipient, text)
        } else {
            // What is negative is as much out of the range as 0 is.
            native.sendFor(recipient, text, lifetime.inWholeMilliseconds.coerceAtLeast(0).toULong())
        }
    }

    /**
     * Stops retrying a message of our own that is not delivered. What is under way already, or kept by others for the
     * recipient, cannot be called back and may still arrive.
     *
     * @throws PeerchatException.AlreadyEnded it was delivered or given up before.
     * @throws PeerchatException no message of ours has this id, the disk refused, there is no user, or the client is closed.
     */
    public suspend fun cancel(id: String): Unit = onDisk { native.cancel(id) }

    /**
     * Says whether this user is typing to somebody, who is shown it if they are a contact and there: [Event.Typing].
     *
     * To be called with every key, and with false when the text is deleted or left alone for a while: no more than one notice in
     * 3 seconds goes out, and sending a text says that typing has ended. Who never calls this tells nobody.
     *
     * It goes over an encrypted link to the person's device that is up already, and is neither saved nor repeated nor kept by
     * others: if they are away, or no link is up, or they are no contact, nothing happens, and nothing tells so. Waits for the
     * node to take it, neither for the disk nor for the network.
     *
     * @throws PeerchatException.NotMet nothing was exchanged with anybody of this name and they were not added.
     * @throws PeerchatException they are blocked, the name breaks the rules, there is no user, or the client is closed.
     */
    public fun setTyping(recipient: String, isTyping: Boolean): Unit = whileOpen { native.setTyping(recipient, isTyping) }

    /**
     * Marks a received message, and everything that the same person wrote before it, as read. If they are a contact they are
     * told, unless the options say that nobody is.
     *
     * @throws PeerchatException no message that we received has this id, the disk refused, there is no user, or the client is
     *   closed.
     */
    public suspend fun markRead(id: String): Unit = onDisk { native.markRead(id) }

    /**
     * Returns everybody who is a contact, has made a request or is blocked, in the order in which they were met.
     *
     * @throws PeerchatException the disk refused, there is no user, or the client is closed.
     */
    public suspend fun contacts(): List<Person> = onDisk { native.contacts() }

    /**
     * Makes somebody a contact, whether they were met or not.
     *
     * @throws PeerchatException they are blocked, there are too many contacts, the name breaks the rules, the disk refused,
     *   there is no user, or the client is closed.
     */
    public suspend fun addContact(name: String): Unit = onDisk { native.addContact(name) }

    /**
     * Makes somebody who has made a request a contact. What of theirs was marked as read before is told to them now.
     *
     * @throws PeerchatException.NotMet nobody of this name has made a request.
     * @throws PeerchatException as [addContact] does.
     */
    public suspend fun acceptContact(name: String): Unit = onDisk { native.acceptContact(name) }

    /**
     * Blocks somebody who was met: a person's key, not a name. Nothing of theirs is taken any more: what they deliver fails at
     * their side with [ErrorCode.BLOCKED_BY_RECIPIENT]; what they leave with others is dropped unread. What is still owed to
     * them is canceled.
     *
     * @throws PeerchatException nobody of this name was met, the name breaks the rules, the disk refused, there is no user, or
     *   the client is closed.
     */
    public suspend fun block(name: String): Unit = onDisk { native.block(name) }

    /**
     * Takes what somebody writes again; their next message makes a request.
     *
     * @throws PeerchatException as [block] does.
     */
    public suspend fun unblock(name: String): Unit = onDisk { native.unblock(name) }

    /**
     * Takes somebody out of the contacts, or turns their request down. What was said stays; their next message makes a request
     * again: [block] them if there should be none.
     *
     * @throws PeerchatException they are blocked, and as [block] does.
     */
    public suspend fun removeContact(name: String): Unit = onDisk { native.removeContact(name) }

    /**
     * Tells how far a message of our own has come.
     *
     * @throws PeerchatException no message of ours has this id, the disk refused, or the client is closed.
     */
    public suspend fun messageState(id: String): MessageState = onDisk { native.messageState(id) }

    /**
     * Reads up to [limit] messages of the conversation with [peer], the latest first.
     *
     * @param before the `position` of an entry, to go on from there; null: from the end.
     * @throws PeerchatException the name breaks the rules, the disk refused, there is no user, or the client is closed.
     */
    public suspend fun history(peer: String, before: ULong? = null, limit: UInt = 50u): List<HistoryEntry> =
        onDisk { native.history(peer, before, limit) }

    /**
     * Finds up to [limit] messages that hold every word of [words], the latest first.
     *
     * Case and accents do not count, and `*` right after a word stands for whatever ends it. The first search of a
     * profile indexes it, about half a minute for each million messages.
     *
     * @param peer only what was said with this person; null: with everybody.
     * @param before the `position` of an entry, to go on from there; null: from the end.
     * @throws PeerchatException there is no word in [words], or too many; the name breaks the rules, the disk refused,
     *   there is no user, or the client is closed.
     */
    public suspend fun search(
        words: String,
        peer: String? = null,
        before: ULong? = null,
        limit: UInt = 50u,
    ): List<HistoryEntry> = onDisk { native.search(words, peer, before, limit) }

    /**
     * Writes the profile as it is now into a new file that [passphrase] encrypts.
     *
     * The profile that `importProfile` makes of it continues as this very device: close this client right after, and do
     * not open its profile again.
     *
     * Cancelling the call does not stop the export: it goes on to its end on a thread of [Dispatchers.IO], and the call
     * throws the cancellation after that. The file is there then, unless the export failed.
     *
     * @throws PeerchatException there is a file of this name, the profile is in memory or damaged, the disk refused, there
     *   is no user, or the client is closed. Then there is no new file.
     */
    public suspend fun export(path: String, passphrase: String): Unit = onDisk { native.export(path, passphrase) }

    /**
     * Looks a name up in the directory. Waits for the network, some seconds at most.
     *
     * @throws PeerchatException nobody goes by the name, the network does not agree on who does, no other node answers,
     *   or the client is closed.
     */
    public suspend fun lookup(name: String): FoundUser = whileOpen { native.lookup(name) }

    /**
     * Tells how many nodes keep a message of our own for its recipient, who is away: 0 unless it is `STORED`.
     *
     * @throws PeerchatException as [messageState] does.
     */
    public suspend fun messageHolders(id: String): UInt = onDisk { native.messageHolders(id) }

    /**
     * Tells who the person is whom messages to this name go to, whoever holds the name by now.
     *
     * @throws PeerchatException nobody of this name was met, the name breaks the rules, the disk refused, there is no user,
     *   or the client is closed.
     */
    public suspend fun identity(name: String): Identity = onDisk { native.identity(name) }

    /**
     * Returns the safety number with the person of this name: 60 digits in groups of five, the same on both sides.
     *
     * If two people read it to each other and it agrees, nobody sits between them: mark it with [setVerified].
     *
     * @throws PeerchatException as [identity] does.
     */
    public suspend fun safetyNumber(name: String): String = onDisk { native.safetyNumber(name) }

    /**
     * Marks the person of this name as verified, or no longer; the mark is kept.
     *
     * @throws PeerchatException as [identity] does.
     */
    public suspend fun setVerified(name: String, isVerified: Boolean = true): Unit =
        onDisk { native.setVerified(name, isVerified) }

    /**
     * Lets a name mean the person who holds it now, after [Event.IdentityChanged] has named them by [userId].
     *
     * @throws PeerchatException as [identity] does; the name was not seen to belong to this person.
     */
    public suspend fun acceptIdentity(name: String, userId: String): Unit = onDisk { native.acceptIdentity(name, userId) }

    /**
     * Returns counts and gauges.
     *
     * @throws PeerchatException.Closed the client is closed.
     */
    public fun statistics(): Statistics = whileOpen { native.statistics() }

    /**
     * Closes the client: waiting calls throw [PeerchatException.Closed], [events] ends, and so do later calls. Waits, up
     * to 1.5 seconds, until its port and profile are free again.
     */
    override fun close() {
        shutDown()
    }

    /**
     * Does what [close] does without blocking the thread. Returns whether port and profile are free; if not, calling it again
     * waits for longer.
     */
    public suspend fun shutdown(): Boolean = withContext(NonCancellable + Dispatchers.IO) { shutDown() }

    private fun shutDown(): Boolean {
        isClosed.set(true)
        val isDone = try {
            native.shutdown()
        } catch (_: IllegalStateException) {
            // Another call has freed the object, once all was done.
            return true
        }
        // Frees the object as soon as the last call on it has returned; who is not done may ask again.
        if (isDone) native.destroy()
        return isDone
    }

    private suspend fun <T> onDisk(call: () -> T): T = withContext(Dispatchers.IO) { whileOpen(call) }

    private inline fun <T> whileOpen(call: () -> T): T {
        try {
            return call()
        } catch (error: IllegalStateException) {
            // What the generated code throws once the object is gone; a cancellation is one of these, too.
            throw if (isClosed.get() && error !is CancellationException) closed() else error
        }
    }

    public companion object {
        /** Opens a client without blocking the thread. If the call is cancelled, the client is closed again. */
        public suspend fun open(options: ClientOptions): Client {
            var opened: Client? = null
            try {
                return withContext(Dispatchers.IO) { Client(options).also { opened = it } }
            } catch (error: CancellationException) {
                withContext(NonCancellable) { opened?.shutdown() }
                throw error
            }
        }

        internal fun closed(): PeerchatException =
            PeerchatException.Closed(ErrorCode.CLOSED, "the client is closed", emptyList())
    }
}
