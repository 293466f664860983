package dev.peerchat

import java.time.Instant

/** The stable number of the kind, which is the same in C: `code.value`. */
public val PeerchatException.code: ErrorCode get() = errorCode()

/** The reason in words, with what to do about it. */
public val PeerchatException.reason: String get() = toString()

/** Whether the message was delivered or given up: nothing is retried any more. DELIVERED may become READ. */
public val MessageState.isFinal: Boolean
    get() = when (this) {
        MessageState.DELIVERED, MessageState.READ, MessageState.EXPIRED, MessageState.FAILED, MessageState.CANCELED -> true
        else -> false
    }

/** When the message was written, by the sender's clock. */
public val Event.Message.sent: Instant get() = instant(sentUnixMs)

/** When the message was saved here. */
public val Event.Message.received: Instant get() = instant(receivedUnixMs)

/** When the message was written, by the writer's clock. */
public val HistoryEntry.sent: Instant get() = instant(sentUnixMs)

/** When the message was saved here. */
public val HistoryEntry.received: Instant get() = instant(receivedUnixMs)

/** A clock that is far off must not make an exception here. */
private fun instant(unixMs: ULong): Instant = Instant.ofEpochMilli(unixMs.coerceAtMost(Long.MAX_VALUE.toULong()).toLong())
