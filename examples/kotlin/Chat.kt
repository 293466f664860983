// A chat of two people: chat <data-dir> <name> <peer> [bootstrap host:port]
//
// Each line of the standard input is sent to the peer; what arrives is printed as `peer: text`. When the input ends,
// the program ends as soon as everything it sent is delivered or given up. What was not delivered is on disk, and is
// delivered when the program runs again.

package dev.peerchat.example

import dev.peerchat.Client
import dev.peerchat.ClientOptions
import dev.peerchat.Event
import dev.peerchat.MessageState
import dev.peerchat.PeerchatException
import dev.peerchat.isFinal
import dev.peerchat.reason
import java.io.BufferedReader
import kotlin.system.exitProcess
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.runInterruptible
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock

private fun notice(text: String) = System.err.println("* $text")

class Chat(private val client: Client, private val peer: String, private val show: (String) -> Unit) {
    /** Sent since the start, neither delivered nor given up. */
    private val unfinished = MutableStateFlow(emptySet<String>())

    /** An id is noted before anyone looks for it, however soon its message is delivered. */
    private val noting = Mutex()

    private suspend fun send(text: String) = noting.withLock {
        try {
            unfinished.value += client.send(peer, text)
        } catch (error: PeerchatException) {
            notice("not sent: ${error.reason}")
        }
    }

    private suspend fun showEvents() = client.events.collect { event ->
        when (event) {
            is Event.Message -> show("${event.sender}: ${event.text}")
            is Event.Registered -> notice("${event.name} is registered")
            is Event.BootstrapFailed -> notice(event.detail)
            is Event.RegistrationFailed -> notice(event.detail)
            is Event.Closed -> throw PeerchatException.Closed(event.code, event.detail, emptyList())
            is Event.MessageState -> if (event.state.isFinal) {
                if (event.state != MessageState.DELIVERED) notice("not delivered: ${event.detail}")
                noting.withLock { unfinished.value -= event.id }
            }
            else -> Unit
        }
    }

    /** Sends the lines of [input] until it ends, and waits for what was sent. */
    suspend fun run(input: BufferedReader): Unit = coroutineScope {
        val shower = launch { showEvents() }
        while (true) {
            val line = runInterruptible(Dispatchers.IO) { input.readLine() } ?: break
            if (line.isNotEmpty()) send(line)
        }
        unfinished.first { it.isEmpty() }
        shower.cancel()
    }
}

fun main(args: Array<String>) {
    if (args.size !in 3..4) {
        System.err.println("usage: chat <data-dir> <name> <peer> [bootstrap host:port]")
        exitProcess(2)
    }
    try {
        Client(ClientOptions(dataDir = args[0], user = args[1])).use { client ->
            args.getOrNull(3)?.let { client.bootstrap(it) }
            runBlocking { Chat(client, args[2], ::println).run(System.`in`.bufferedReader()) }
        }
    } catch (error: PeerchatException) {
        System.err.println("chat: ${error.reason}")
        exitProcess(1)
    }
}
