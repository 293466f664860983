package dev.peerchat

import java.util.concurrent.atomic.AtomicReference
import kotlin.time.Duration
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeoutOrNull

/**
 * The wait for the next event, which outlives a caller that is cancelled: its event goes to the next one.
 *
 * Nothing is asked for unless somebody waits, because asking for the next event confirms the last.
 */
internal class EventPump(private val next: suspend () -> Event) {
    sealed interface Outcome

    data class Taken(val event: Event) : Outcome

    /** No event came in time. */
    data object Nothing : Outcome

    /** The client is closed: no event will come. */
    data object Ended : Outcome

    private class Failed(val error: Throwable) : Outcome

    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private val pending = AtomicReference<Deferred<Outcome>?>(null)

    /** Waits for the next event; null once the client is closed. */
    suspend fun nextOrNull(): Event? {
        while (true) {
            val waiting = waiting()
            waiting.join()
            when (val taken = take(waiting)) {
                is Taken -> return taken.event
                Ended -> return null
                else -> continue
            }
        }
    }

    /** Waits up to [timeout] for the next event. */
    suspend fun poll(timeout: Duration): Outcome {
        var waiting = waiting()
        // Nothing is taken in here, where the time may run out between the taking and the return.
        withTimeoutOrNull(timeout) {
            waiting.join()
            while (pending.get() !== waiting) {
                waiting = waiting()
                waiting.join()
            }
        }
        return if (waiting.isCompleted) take(waiting) else Nothing
    }

    /** Returns the wait that is under way, or begins one; an event that is there already ends it at once. */
    private fun waiting(): Deferred<Outcome> {
        while (true) {
            pending.get()?.let { return it }
            val begun = CompletableDeferred<Outcome>()
            if (pending.compareAndSet(null, begun)) {
                scope.launch(start = CoroutineStart.UNDISPATCHED) { begun.complete(ask()) }
                return begun
            }
        }
    }

    private suspend fun ask(): Outcome = try {
        Taken(next())
    } catch (_: PeerchatException.Closed) {
        Ended
    } catch (_: IllegalStateException) {
        // What the generated code throws once the object is gone.
        Ended
    } catch (error: Exception) {
        Failed(error)
    }

    /** Takes the outcome of a wait that is over, unless somebody else has: [Nothing] then. */
    @OptIn(ExperimentalCoroutinesApi::class)
    private fun take(waiting: Deferred<Outcome>): Outcome {
        val outcome = waiting.getCompleted()
        return when {
            // The end stays, for everybody who asks.
            outcome is Ended -> outcome
            !pending.compareAndSet(waiting, null) -> Nothing
            outcome is Failed -> throw outcome.error
            else -> outcome
        }
    }
}
