package dev.peerchat

import dev.peerchat.example.Chat
import java.io.StringReader
import java.nio.file.Files
import java.util.concurrent.ConcurrentLinkedQueue
import kotlin.time.Duration
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Longer than anything that works takes. */
private val PATIENCE = 60.seconds

private fun options(user: String? = null, bind: String = "127.0.0.1:0") = ClientOptions(user = user, bind = bind)

/** Runs a test that may wait, with an end to its waiting. */
private fun waiting(test: suspend CoroutineScope.() -> Unit) = runBlocking { withTimeout(PATIENCE) { test() } }

private suspend inline fun <reified E : Event> Client.await(): E = events.filterIsInstance<E>().first()

private suspend fun Client.awaitFinal(id: String): Event.MessageState =
    events.filterIsInstance<Event.MessageState>().first { it.id == id && it.state.isFinal }

private inline fun <reified E : Throwable> assertFails(call: () -> Any?): E {
    try {
        call()
    } catch (error: Throwable) {
        return error as? E ?: throw error
    }
    throw AssertionError("no ${E::class.simpleName}")
}

class ClientTest {
    @Test
    fun `two people talk`() = waiting {
        Client(options("alice")).use { alice ->
            Client(options("bob")).use { bob ->
                val command = bob.bootstrap(alice.localAddress)
                val joined = bob.await<Event.Bootstrapped>()
                assertEquals(Event.Bootstrapped(command, alice.nodeId, alice.localAddress), joined)
                val registered = bob.await<Event.Registered>()
                assertEquals(listOf("bob", bob.userFingerprint), listOf(registered.name, registered.fingerprint))
                alice.await<Event.Registered>()

                val id = alice.send("bob", "grüße 🙂")
                val message = bob.await<Event.Message>()
                assertEquals(listOf("alice", "grüße 🙂", 1uL), listOf(message.sender, message.text, message.number))
                assertEquals(alice.userId, message.userId)
                assertTrue(message.received.toEpochMilli() >= 1_700_000_000_000)
                assertEquals(MessageState.DELIVERED, alice.awaitFinal(id).state)
                assertEquals(MessageState.DELIVERED, alice.messageState(id))

                bob.send("alice", "hello")
                assertEquals("hello", alice.await<Event.Message>().text)
                assertEquals(bob.userId, alice.lookup("bob").userId)
                assertFails<PeerchatException.UnknownRecipient> { alice.lookup("nobody") }
                assertTrue(alice.statistics().contactCount >= 1uL)

                val (received, sent) = alice.history("bob", limit = 2u)
                assertEquals(listOf("hello", "grüße 🙂"), listOf(received.text, sent.text))
                assertEquals(listOf(null, MessageState.DELIVERED), listOf(received.state, sent.state))
                assertEquals(listOf(sent), alice.history("bob", before = received.position))

                assertEquals(listOf(sent), alice.search("GRUSSE"))
                assertEquals(listOf(received), alice.search("hel*", peer = "bob"))
                assertEquals(listOf<HistoryEntry>(), alice.search("hello", before = received.position))
                assertEquals(listOf<HistoryEntry>(), alice.search("hello", peer = "carol"))
                assertFails<PeerchatException.InvalidArgument> { alice.search("\"*") }
            }
        }
    }

    @Test
    fun `a contact sees who is typing`() = waiting {
        Client(options("alice")).use { alice ->
            Client(options("bob")).use { bob ->
                bob.bootstrap(alice.localAddress)
                bob.await<Event.Registered>()
                alice.await<Event.Registered>()
                assertFails<PeerchatException.NotMet> { alice.setTyping("bob", true) }
                alice.send("bob", "hello")
                bob.send(bob.await<Event.Message>().sender, "hello")
                alice.await<Event.Message>()
                alice.setTyping("bob", true)
                val typing = bob.await<Event.Typing>()
                assertEquals(listOf("alice", alice.userId, true), listOf(typing.sender, typing.userId, typing.isTyping))
                alice.send("bob", "this")
                assertEquals(false, bob.await<Event.Typing>().isTyping)
                assertEquals("this", bob.await<Event.Message>().text)
            }
        }
    }

    @Test
    fun `a stranger makes a request and is told what was read`() = waiting {
        Client(options("alice")).use { alice ->
            Client(options("bob")).use { bob ->
                bob.bootstrap(alice.localAddress)
                bob.await<Event.Registered>()
                val id = bob.send("alice", "hello")
                val message = alice.await<Event.Message>()
                assertTrue(message.isRequest)
                assertEquals(listOf(bob.userId to Relation.REQUEST), alice.contacts().map { it.userId to it.relation })
                alice.acceptContact("bob")
                alice.markRead(message.id)
                bob.events.filterIsInstance<Event.MessageState>().first { it.id == id && it.state == MessageState.READ }
                alice.removeContact("bob")
                assertEquals(emptyList<Person>(), alice.contacts())
                assertFails<PeerchatException.NotMet> { alice.acceptContact("bob") }
                assertFails<PeerchatException.NotMet> { alice.block("carol") }
            }
        }
    }

    @Test
    fun `a message is taken back or given up`() = waiting {
        Client(options("alice")).use { alice ->
            assertFails<PeerchatException.InvalidArgument> { alice.send("carol", "hi", (-1).seconds) }
            val id = alice.send("carol", "hi")
            alice.cancel(id)
            assertEquals(MessageState.CANCELED, alice.awaitFinal(id).state)
            assertFails<PeerchatException.AlreadyEnded> { alice.cancel(id) }
            assertEquals(MessageState.EXPIRED, alice.awaitFinal(alice.send("carol", "hi", 1.seconds)).state)
            alice.addContact("dave")
            assertEquals(listOf("carol", "dave"), alice.contacts().map { it.name })
        }
    }

    @Test
    fun `the example talks`() = waiting {
        Client(options("alice")).use { alice ->
            Client(options("bob")).use { bob ->
                bob.bootstrap(alice.localAddress)
                bob.await<Event.Registered>()
                val shown = ConcurrentLinkedQueue<String>()
                Chat(bob, "alice", shown::add).run(StringReader("one\n\ntwo\n").buffered())
                assertEquals("one", alice.await<Event.Message>().text)
                assertEquals("two", alice.await<Event.Message>().text)
                assertTrue(shown.isEmpty())
            }
        }
    }

    @Test
    fun `a profile moves in one file`() = waiting {
        val place = Files.createTempDirectory("peerchat").toFile()
        try {
            val (old, new, archive) = listOf("old", "new", "archive").map { place.resolve(it).path }
            val userId = Client(ClientOptions(dataDir = old, user = "alice", bind = "127.0.0.1:0")).use { client ->
                client.send("bob", "hello")
                client.export(archive, "open sesame")
                assertFails<PeerchatException.Storage> { client.export(archive, "open sesame") }
                client.userId
            }
            assertFails<PeerchatException.ArchivePassphrase> { importProfile(archive, "sesame", new, null) }
            assertFails<PeerchatException.ProfileExists> { importProfile(archive, "open sesame", old, null) }
            assertEquals("alice", importProfile(archive, "open sesame", new, null))
            Client(ClientOptions(dataDir = new, user = "alice", bind = "127.0.0.1:0")).use { client ->
                assertEquals(userId, client.userId)
                assertEquals(listOf("hello"), client.history("bob").map { it.text })
            }
        } finally {
            place.deleteRecursively()
        }
    }

    @Test
    fun `closing ends the events and fails what waits`() = waiting {
        val client = Client.open(options("alice"))
        val collector = async(start = CoroutineStart.UNDISPATCHED) { client.events.toList() }
        val waiter = async(start = CoroutineStart.UNDISPATCHED) {
            assertFails<PeerchatException.Closed> { client.nextEvent() }
        }
        assertTrue((0 until 40).any { client.shutdown() })
        collector.await()
        assertEquals(ErrorCode.CLOSED, waiter.await().code)
        assertEquals(-30, ErrorCode.CLOSED.value)
        assertFails<PeerchatException.Closed> { client.send("bob", "x") }
        assertFails<PeerchatException.Closed> { client.poll(PATIENCE) }
        assertFails<PeerchatException.Closed> { client.history("bob") }
        assertFails<PeerchatException.Closed> { client.statistics() }
        assertEquals("alice", client.userName)
        client.close()
    }

    @Test
    fun `a cancelled wait loses no event`() = waiting {
        Client(options("alice")).use { client ->
            val waiter = launch(start = CoroutineStart.UNDISPATCHED) { client.nextEvent() }
            val command = client.bootstrap("127.0.0.1:1")
            waiter.cancelAndJoin()
            val failed = client.await<Event.BootstrapFailed>()
            assertEquals(listOf(command, ErrorCode.UNREACHABLE), listOf(failed.commandId, failed.code))
        }
    }

    @Test
    fun `a cancelled call leaves nothing behind`() = waiting {
        Client(options("alice")).use { alice ->
            Client(options("bob")).use { bob ->
                bob.bootstrap(alice.localAddress)
                bob.await<Event.Registered>()
                val before = uniffiContinuationHandleMap.size
                repeat(20) {
                    val call = async(start = CoroutineStart.UNDISPATCHED) { runCatching { bob.lookup("nobody") } }
                    call.cancelAndJoin()
                }
                assertEquals(before, uniffiContinuationHandleMap.size)
                assertEquals(alice.userId, bob.lookup("alice").userId)
            }
        }
    }

    @Test
    fun `each event goes to one taker`() = waiting {
        Client(options("alice")).use { client ->
            val takers = List(4) { async(Dispatchers.Default) { client.await<Event.BootstrapFailed>().commandId } }
            val commands = takers.map { client.bootstrap("127.0.0.1:1") }
            assertEquals(commands.toSet(), takers.awaitAll().toSet())
        }
    }

    @Test
    fun `a collector that throws does not stop the client`() = waiting {
        Client(options("alice")).use { client ->
            client.bootstrap("127.0.0.1:1")
            assertFails<ArithmeticException> {
                client.events.collect { throw ArithmeticException("a bug of the application") }
            }
            val command = client.bootstrap("127.0.0.1:1")
            client.events.filterIsInstance<Event.BootstrapFailed>().first { it.commandId == command }
        }
    }

    @Test
    fun `two people know each other`() = waiting {
        Client(options("alice")).use { alice ->
            Client(options("bob")).use { bob ->
                bob.bootstrap(alice.localAddress)
                bob.await<Event.Registered>()
                val id = bob.send("alice", "hello")
                alice.await<Event.Message>()
                bob.awaitFinal(id)
                assertEquals(0u, bob.messageHolders(id))
                assertEquals(alice.safetyNumber("bob"), bob.safetyNumber("alice"))
                alice.setVerified("bob")
                assertTrue(alice.identity("bob").isVerified)
                alice.setVerified("bob", false)
                assertEquals(bob.userId to false, alice.identity("bob").run { userId to isVerified })
                assertFails<PeerchatException.NotMet> { alice.identity("carol") }
                assertFails<PeerchatException.IdentityNotSeen> { alice.acceptIdentity("bob", alice.userId!!) }
            }
        }
    }

    @Test
    fun `poll waits as long as it is told`() = waiting {
        Client(options("alice")).use { client ->
            while (client.poll(Duration.ZERO) != null) Unit
            assertNull(client.poll(Duration.ZERO))
            val command = client.bootstrap("127.0.0.1:1")
            while (true) {
                val event = client.poll(PATIENCE)
                if (event is Event.BootstrapFailed) {
                    assertEquals(command, event.commandId)
                    break
                }
            }
        }
    }

    @Test
    fun `bad calls throw by kind`() = waiting {
        Client(options("alice")).use { client ->
            assertFails<PeerchatException.InvalidName> { client.send("", "x") }
            assertFails<PeerchatException.EmptyText> { client.send("bob", "") }
            assertFails<PeerchatException.TextTooLong> { client.send("bob", "x".repeat(16_385)) }
            assertFails<PeerchatException.NotFound> { client.messageState("ee".repeat(16)) }
            assertFails<PeerchatException.InvalidArgument> { client.messageState("no id") }
            val error = assertFails<PeerchatException.InvalidAddress> { client.bootstrap("no-port") }
            assertEquals(error.detail, error.reason)
            assertEquals(ErrorCode.INVALID_ADDRESS, error.code)
            assertFails<PeerchatException.AddressInUse> { Client(options(bind = client.localAddress)) }
        }
        Client(options()).use { node ->
            assertNull(node.userName)
            assertFails<PeerchatException.NoUser> { node.send("bob", "x") }
        }
    }

    @Test
    fun `an opening that is cancelled leaves no client behind`() = waiting {
        val address = Client(options()).use { it.localAddress }
        repeat(20) {
            val began = CompletableDeferred<Unit>()
            val opener = launch(Dispatchers.Default) {
                began.complete(Unit)
                Client.open(options(bind = address)).use {}
            }
            began.await()
            opener.cancelAndJoin()
            Client(options(bind = address)).close()
        }
    }

    @Test
    fun `clients that come and go leave no memory behind`() {
        // More of them in tests/soak-languages.
        val rounds = System.getenv("PEERCHAT_CYCLES")?.toInt() ?: 2_000
        // The first ones also pay for compiled code and for the pools of the allocator.
        repeat(1_000) { cycle() }
        val before = residentKiB()
        repeat(rounds) { cycle() }
        val growth = residentKiB() - before
        println("$rounds clients left $growth KiB behind")
        assertTrue(growth < 8 * rounds, "$rounds clients left $growth KiB behind")
    }

    private fun cycle() = Client(options("alice")).use { client ->
        assertFails<PeerchatException.InvalidAddress> { client.bootstrap("no-port") }
    }

    /** What the process holds in memory, after the JVM has let go of what it can. */
    private fun residentKiB(): Long {
        repeat(2) { System.gc() }
        val status = java.io.File("/proc/self/status").takeIf { it.exists() } ?: return 0
        return status.readLines().first { it.startsWith("VmRSS:") }.filter(Char::isDigit).toLong()
    }
}
