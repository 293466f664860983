// Performs tests/scenario.md: Scenario DIRECTORY COUNT.

package dev.peerchat.scenario

import dev.peerchat.Client
import dev.peerchat.ClientOptions
import dev.peerchat.ErrorCode
import dev.peerchat.Event
import dev.peerchat.MessageState
import dev.peerchat.PeerchatException
import dev.peerchat.Relation
import dev.peerchat.Serve
import dev.peerchat.code
import dev.peerchat.importProfile
import dev.peerchat.isFinal
import dev.peerchat.profileExists
import dev.peerchat.reason
import java.io.File
import java.io.RandomAccessFile
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout

/** Longer than anything that works takes. */
private val PATIENCE = 60.seconds
private const val BATCH = 1_500uL
// In step 9.
private const val NETWORKS = 3
private const val LOOPBACK = "127.0.0.1:0"

private fun node(bind: String = LOOPBACK) = Client(ClientOptions(bind = bind))

private fun inMemory(name: String, lifetimeMs: ULong? = null) =
    Client(ClientOptions(user = name, bind = LOOPBACK, messageLifetimeMs = lifetimeMs))

/** Shuts a client down, however long the disk takes. */
private suspend fun Client.finish() = check((0 until 40).any { shutdown() }) { "not shut down within a minute" }

private fun <T> same(expected: T, actual: T) = check(expected == actual) { "$actual is not $expected" }

/** Checks that a call fails with this code, and with words. */
private inline fun fails(code: ErrorCode, call: () -> Any?) {
    try {
        call()
    } catch (error: PeerchatException) {
        same(code, error.code)
        check(error.reason.isNotEmpty())
        return
    }
    error("no $code")
}

private suspend inline fun <reified E : Event> Client.expect(crossinline condition: (E) -> Boolean = { true }): E =
    withTimeout(PATIENCE) { events.filterIsInstance<E>().first { condition(it) } }

private suspend fun Client.expectEnd(id: String, state: MessageState, code: ErrorCode?) {
    val ended = expect<Event.MessageState> { it.id == id && it.state.isFinal }
    same(listOf(state, code), listOf(ended.state, ended.code))
}

private suspend fun Client.expectDelivered(id: String) = expectEnd(id, MessageState.DELIVERED, null)

private suspend fun Client.expectText(text: String, number: ULong): Event.Message {
    val message = expect<Event.Message>()
    same(text to number, message.text to message.number)
    return message
}

private suspend fun Client.expectRegistered() {
    val registered = expect<Event.Registered>()
    same(userName to userId, registered.name to registered.userId)
}

private suspend fun Client.join(address: String, node: Client) {
    val command = bootstrap(address)
    val joined = expect<Event.Bootstrapped>()
    same(command to node.nodeId, joined.commandId to joined.nodeId)
}

private suspend fun Client.expectBootstrapFailure(address: String, code: ErrorCode) {
    val command = bootstrap(address)
    val failed = expect<Event.BootstrapFailed>()
    same(command to code, failed.commandId to failed.code)
    check(failed.detail.isNotEmpty())
}

private class Scenario(private val directory: File, private val count: ULong) {
    private lateinit var node: Client
    private lateinit var alice: Client
    private lateinit var bob: Client

    private fun person(name: String, bind: String = LOOPBACK, passphrase: String? = null) =
        Client(ClientOptions(dataDir = directory.path, user = name, bind = bind, passphrase = passphrase))

    suspend fun run() {
        val steps = listOf(
            ::open, ::bootstrap, ::register, ::find, ::talk, ::trust, ::restart, ::move, ::errors, ::manyMessages, ::mail,
            ::block, ::end,
        )
        steps.forEachIndexed { index, step ->
            step()
            println("step ${index + 1} ok")
        }
    }

    private suspend fun open() {
        node = node()
        alice = person("alice")
        bob = person("bob")
        same(null, node.userName)
        same(52, alice.userId?.length)
        same(alice.userId?.take(8), alice.userFingerprint)
        check(profileExists(directory.path, "alice") && !profileExists(directory.path, "carol"))
    }

    private suspend fun bootstrap() {
        alice.join("${node.nodeKey}@${node.localAddress}", node)
        bob.join(node.localAddress, node)
    }

    private suspend fun register() {
        alice.expectRegistered()
        bob.expectRegistered()
    }

    private suspend fun find() {
        val found = bob.lookup("Alice")
        same("alice" to alice.userId, found.name to found.userId)
    }

    private suspend fun talk() {
        val id = alice.send("bob", "grüße 🙂")
        val message = bob.expectText("grüße 🙂", 1uL)
        same("alice" to alice.userId, message.sender to message.userId)
        alice.expectDelivered(id)
        same(MessageState.DELIVERED, alice.messageState(id))
        bob.send("alice", "hello")
        alice.expectText("hello", 1uL)
        checkHistory()
    }

    private suspend fun checkHistory() = same(listOf("hello", "grüße 🙂"), alice.history("bob").map { it.text })

    private suspend fun trust() {
        val number = alice.safetyNumber("bob")
        same(bob.safetyNumber("alice"), number)
        same(60, number.replace(" ", "").length)
        alice.setVerified("bob")
        check(alice.identity("bob").isVerified)
    }

    private suspend fun restart() {
        val address = alice.localAddress
        val identity = alice.userId to alice.nodeKey
        alice.finish()
        alice = person("alice", bind = address)
        same(identity, alice.userId to alice.nodeKey)
        checkHistory()
        alice.expect<Event.Online>()
        alice.send("bob", "back again")
        bob.expectText("back again", 2uL)
    }

    private suspend fun move() {
        val address = alice.localAddress
        alice.finish()
        node(address).use {
            alice = person("alice")
            val id = bob.send("alice", "where are you?")
            alice.expectText("where are you?", 2uL)
            bob.expectDelivered(id)
            alice.setTyping("bob", true)
            val typing = bob.expect<Event.Typing>()
            same("alice" to true, typing.sender to typing.isTyping)
        }
    }

    private suspend fun errors() {
        badCalls()
        badProfiles()
        badArchives()
        failuresOfTheNetwork()
        failuresOfTheLonely()
        aContestedName()
    }

    private suspend fun badCalls() {
        fails(ErrorCode.INVALID_ARGUMENT) { Client(ClientOptions(bind = LOOPBACK, k = 0u)) }
        fails(ErrorCode.INVALID_NAME) { alice.send("two words", "x") }
        fails(ErrorCode.INVALID_ADDRESS) { alice.bootstrap("no-port") }
        fails(ErrorCode.EMPTY_TEXT) { alice.send("bob", "") }
        fails(ErrorCode.TEXT_TOO_LONG) { alice.send("bob", "x".repeat(16_385)) }
        fails(ErrorCode.NOT_FOUND) { alice.messageState("ee".repeat(16)) }
        fails(ErrorCode.NO_USER) { node.send("bob", "x") }
        fails(ErrorCode.NOT_MET) { alice.safetyNumber("carol") }
        fails(ErrorCode.ALREADY_ENDED) { alice.cancel(alice.history("bob").last().id) }
        fails(ErrorCode.IDENTITY_NOT_SEEN) { alice.acceptIdentity("bob", alice.userId!!) }
        fails(ErrorCode.ADDRESS_IN_USE) { node(node.localAddress) }
        fails(ErrorCode.NETWORK) { node("192.0.2.1:0") }
    }

    private suspend fun badProfiles() {
        fails(ErrorCode.PROFILE_IN_USE) { person("alice") }
        fails(ErrorCode.STORAGE) { Client(ClientOptions(dataDir = "/dev/null/profiles", user = "alice")) }
        spoil("newer", 60, byteArrayOf(0x7f, -1, -1, -1), ErrorCode.PROFILE_TOO_NEW)
        spoil("damaged", 0, "This is not a database.".toByteArray(), ErrorCode.PROFILE_DAMAGED)
        person("secret", passphrase = "open sesame").shutdown()
        fails(ErrorCode.WRONG_PASSPHRASE) { person("secret") }
    }

    private suspend fun badArchives() {
        val (archive, new) = listOf("alice.peerchat", "new").map { File(directory, it) }
        val import = { passphrase: String, to: String -> importProfile(archive.path, passphrase, to, null) }
        alice.export(archive.path, "open sesame")
        fails(ErrorCode.ARCHIVE_PASSPHRASE) { import("sesame", new.path) }
        fails(ErrorCode.PROFILE_EXISTS) { import("open sesame", directory.path) }
        val whole = archive.readBytes()
        for ((place, code) in listOf(200 to ErrorCode.ARCHIVE_DAMAGED, 8 to ErrorCode.ARCHIVE_TOO_NEW)) {
            archive.writeBytes(whole.copyOf().also { it[place] = it[place].toInt().inv().toByte() })
            fails(code) { import("open sesame", new.path) }
        }
        check(!new.exists())
    }

    /** Writes these bytes at this place of a new profile's file, which is then refused. */
    private suspend fun spoil(name: String, place: Long, bytes: ByteArray, code: ErrorCode) {
        person(name).finish()
        RandomAccessFile(File(directory, "user-$name.db"), "rw").use { profile ->
            profile.seek(place)
            profile.write(bytes)
        }
        fails(code) { person(name) }
    }

    private suspend fun failuresOfTheNetwork() {
        fails(ErrorCode.UNKNOWN_RECIPIENT) { alice.lookup("nobody") }
        alice.expectEnd(alice.send("nobody", "hello?"), MessageState.FAILED, ErrorCode.UNKNOWN_RECIPIENT)
        alice.expectBootstrapFailure("127.0.0.1:1", ErrorCode.UNREACHABLE)
        node().use { stranger ->
            alice.expectBootstrapFailure("${stranger.nodeKey}@${node.localAddress}", ErrorCode.WRONG_KEY)
        }
        inMemory("alice").use { other ->
            other.bootstrap(node.localAddress)
            val refused = other.expect<Event.RegistrationFailed>()
            same(ErrorCode.NAME_TAKEN to alice.userId, refused.code to refused.holderId)
        }
    }

    private suspend fun failuresOfTheLonely() {
        inMemory("lone", lifetimeMs = 1uL).use { lone ->
            lone.expectEnd(lone.send("bob", "now or never"), MessageState.EXPIRED, ErrorCode.EXPIRED)
        }
        val lone = inMemory("lone")
        fails(ErrorCode.TIMED_OUT) { lone.lookup("bob") }
        fails(ErrorCode.OUTBOX_FULL) { repeat(1_000_000) { lone.send("bob", "x") } }
        lone.close()
        fails(ErrorCode.CLOSED) { lone.send("bob", "x") }
    }

    /**
     * Networks that know nothing of one another, each with its alice, and somebody who joins them all. The reader does not
     * serve: else they would soon be one network, which settles whose the name is.
     */
    private suspend fun aContestedName() {
        val reader = Client(ClientOptions(user = "reader", bind = LOOPBACK, serve = Serve.NEVER))
        val networks = List(NETWORKS) { node() to inMemory("alice") }
        for ((node, alice) in networks) {
            alice.join(node.localAddress, node)
            alice.expectRegistered()
        }
        for ((node, _) in networks) reader.join(node.localAddress, node)
        fails(ErrorCode.NAME_CONTESTED) { reader.lookup("alice") }
        for ((node, alice) in networks) {
            node.close()
            alice.close()
        }
        reader.close()
    }

    private suspend fun manyMessages() {
        var last = ""
        for (first in 1uL..count step BATCH.toLong()) {
            val batch = first until minOf(first + BATCH, count + 1u)
            for (i in batch) last = alice.send("bob", "message $i")
            // Two messages were sent before.
            for (i in batch) bob.expectText("message $i", i + 2u)
        }
        alice.expectDelivered(last)
    }

    private suspend fun mail() {
        bob.finish()
        val id = alice.send("bob", "for later")
        val kept = alice.expect<Event.MessageState> { it.state == MessageState.STORED }
        check(kept.id == id && kept.heldBy >= 1u) { kept }
        alice.finish()
        bob = person("bob")
        bob.expectText("for later", count + 3u)
        alice = person("alice")
        alice.expectDelivered(id)
    }

    private suspend fun block() {
        bob.block("alice")
        fails(ErrorCode.BLOCKED) { bob.send("alice", "no") }
        alice.expectEnd(alice.send("bob", "are you there?"), MessageState.FAILED, ErrorCode.BLOCKED_BY_RECIPIENT)
        bob.unblock("alice")
        alice.send("bob", "once more")
        val message = bob.expect<Event.Message>()
        check(message.text == "once more" && message.isRequest) { message }
        bob.acceptContact("alice")
        same(listOf(alice.userId to Relation.CONTACT), bob.contacts().map { it.userId to it.relation })
    }

    private suspend fun end() {
        alice.finish()
        fails(ErrorCode.CLOSED) { alice.send("bob", "x") }
        bob.finish()
        node.finish()
        person("alice").use { same("once more", it.history("bob", limit = 1u).single().text) }
    }
}

fun main(args: Array<String>): Unit = runBlocking { Scenario(File(args[0]), args[1].toULong()).run() }
