// Two people in one process meet on the loopback: the program of docs/getting-started-kotlin.md.

package dev.peerchat.example

import dev.peerchat.Client
import dev.peerchat.ClientOptions
import dev.peerchat.Event
import dev.peerchat.PeerchatException
import dev.peerchat.code
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking

private suspend fun open(name: String) = Client.open(ClientOptions(user = name, bind = "127.0.0.1:0"))

object Hello {
    @JvmStatic
    fun main(args: Array<String>): Unit = runBlocking {
        open("alice").use { alice -> open("bob").use { bob -> meet(alice, bob) } }
    }

    private suspend fun meet(alice: Client, bob: Client) {
        bob.bootstrap(alice.localAddress)
        for (client in listOf(alice, bob)) {
            client.events.filterIsInstance<Event.Registered>().first()
        }

        alice.send("bob", "hello, bob")
        val message = bob.events.filterIsInstance<Event.Message>().first()
        println("${message.sender}: ${message.text}")

        val told = alice.events.filterIsInstance<Event.MessageState>().first()
        println("to ${told.recipient}: ${told.state.name.lowercase()}")

        try {
            alice.send("bob", "")
        } catch (error: PeerchatException.EmptyText) {
            println("not sent: ${error.code}")
        }
    }
}
