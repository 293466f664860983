/*
 * peerchat.h - chat without servers.
 *
 * People find one another by name in a network of equal nodes and write to one another. A client is one such node,
 * with a user on top of it. This file is generated from peerchat-ffi/src/capi and never edited by hand; what holds
 * for every function is said here once.
 *
 * Calls and events
 *     Nothing here waits for the network but peerchat_poll and peerchat_dispatch, as long as you say, and calls whose
 *     name ends in `_wait`. A call that needs the network returns an id at once, and an event with that id tells the
 *     outcome later: an unreachable bootstrap address or an unknown recipient is an event, not a status. Every function
 *     says what else it waits for: nothing, the node ("well under a millisecond unless it is busy"), or the disk.
 *     peerchat_destroy blocks up to 2 seconds.
 *
 *         peerchat_options_t *options;
 *         peerchat_t *client;
 *         peerchat_event_t *event;
 *         peerchat_options_new(&options);
 *         peerchat_options_set_data_dir(options, "/home/alice/.peerchat");
 *         peerchat_options_set_user(options, "alice");
 *         if (peerchat_create(options, &client) != PEERCHAT_OK)
 *             fprintf(stderr, "%s\n", peerchat_last_error());
 *         peerchat_options_free(options);
 *         ...
 *         while (peerchat_poll(client, PEERCHAT_WAIT_FOREVER, &event) == PEERCHAT_OK) {
 *             if (event->kind == PEERCHAT_EVENT_MESSAGE)
 *                 printf("%s: %s\n", event->name, event->text);
 *             peerchat_event_free(event);
 *         }
 *         peerchat_destroy(client);
 *
 *     There is one queue of events for each client, in order, and each event goes to one taker. Choose how they come:
 *     - peerchat_poll gives the next one to whoever asks.
 *     - peerchat_dispatch runs a function of yours with it, on the thread that calls peerchat_dispatch.
 *     - peerchat_options_set_callback_thread has a thread of the library run that function as events come.
 *     A program with a loop of its own waits for the descriptor of peerchat_fd and polls or dispatches with a timeout
 *     of 0. A slow taker loses no message: what does not fit in memory waits on disk, and what was not confirmed by
 *     asking for the next event is told again when the profile is opened next.
 *
 * Ownership
 *     These are yours to free, each by its own function: a client (peerchat_destroy), options (peerchat_options_free),
 *     an event (peerchat_event_free) unless it was given to a callback, a page of history (peerchat_history_free), a
 *     person (peerchat_person_free), a list of people (peerchat_people_free, which takes the people in it along) and a
 *     string that a `char **out_...` parameter received (peerchat_string_free). All of these functions accept NULL,
 *     nothing else does unless it says so. Never use free(3) on them. All but the client may outlive it. Whatever you
 *     pass in is copied or read during the call; the library keeps no pointer of yours but a callback and its context.
 *     An output parameter is written on success only (PEERCHAT_OK), unless its function says otherwise.
 *
 * Threads
 *     Every function may be called from every thread, at the same time and on the same client, with two exceptions:
 *     options belong to one thread at a time, and peerchat_destroy comes last and alone. peerchat_close may be
 *     called from any thread while others wait: it wakes them, and later calls return PEERCHAT_ERR_CLOSED. The
 *     library has threads of its own, which run your code only if you ask for it: peerchat_options_set_callback_thread
 *     and peerchat_log_set. Do not fork(2) while a client lives, unless exec follows. Nothing here may be called from a
 *     signal handler.
 *
 * Callbacks
 *     The callback of a client never runs twice at once, and may call everything but peerchat_destroy and
 *     peerchat_dispatch; the function that logs may call nothing. Both must return: an exception that leaves a callback
 *     written in C++ ends the program.
 *
 * Strings
 *     UTF-8, both ways, and ended by a NUL; only message texts have a length beside them, and may contain NULs. Input
 *     that is not UTF-8 is refused. No string that you receive is NULL. Ids and keys are text: print them, compare them
 *     with strcmp(3). A message id is 16 bytes: compare them with memcmp(3). A list in one string has one line for each.
 *
 * Time
 *     A timeout is in milliseconds, measured with a clock that does not jump. A name that ends in `_unix_ms` is wall
 *     clock time in milliseconds since 1970-01-01 00:00 UTC.
 *
 * Errors
 *     A function that can fail returns a peerchat_status_t: PEERCHAT_OK, PEERCHAT_NO_EVENT, or an error, which is
 *     negative. peerchat_last_error has the words to the last error of this thread, with what to do about it;
 *     peerchat_status_name has its name; docs/errors.md has them all. PEERCHAT_ERR_INTERNAL is a bug in peerchat:
 *     please report the words. A failed call changed nothing.
 *
 * Versions
 *     Names and numbers are never reused and keep their meaning. A later version may add functions, statuses, kinds
 *     of events, and members at the end of structures: treat an unknown error as an error, and ignore unknown events.
 *     Structures that the library makes begin with `struct_size`, which tells how far they reach: look at it before you
 *     read a member that your oldest supported version lacks, and never make or copy one by value. The one structure
 *     that you make, peerchat_statistics_t, is passed with its size. PEERCHAT_VERSION is the version of this header,
 *     peerchat_version() that of the library. The shared library's name changes (libpeerchat.so.0.1) when a program has
 *     to be compiled again: with the major number, and with the minor one while that is 0.
 */


#ifndef PEERCHAT_H
#define PEERCHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The version of this header; peerchat_version() is that of the library.
 */
#define PEERCHAT_VERSION "0.1.0"
#define PEERCHAT_VERSION_MAJOR 0
#define PEERCHAT_VERSION_MINOR 1
#define PEERCHAT_VERSION_PATCH 0

/**
 * Longest text of a message, in bytes of UTF-8.
 */
#define PEERCHAT_MAX_TEXT_LEN 16384

/**
 * Length of a message id, in bytes.
 */
#define PEERCHAT_MESSAGE_ID_LEN 16

/**
 * Most messages that one call of peerchat_history or peerchat_search gives.
 */
#define PEERCHAT_MAX_HISTORY_PAGE 1000

/**
 * A timeout that never ends.
 */
#define PEERCHAT_WAIT_FOREVER UINT32_MAX

/**
 * What a call returns: 0 and above are not errors. The numbers never change and are never reused; a later
 * version may add some, so treat an unknown negative one as an error.
 */
enum peerchat_status_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Done.
   */
  PEERCHAT_OK = 0,
  /**
   * Done: no event came in time. Not an error.
   */
  PEERCHAT_NO_EVENT = 1,
  /**
   * A pointer that must not be NULL is NULL.
   */
  PEERCHAT_ERR_NULL_POINTER = -1,
  /**
   * A string or text is not UTF-8.
   */
  PEERCHAT_ERR_INVALID_UTF8 = -2,
  /**
   * The call does not fit how the events of this client, or the log, are told: see peerchat_dispatch.
   */
  PEERCHAT_ERR_WRONG_MODE = -3,
  /**
   * An option is out of its range, or required and missing.
   */
  PEERCHAT_ERR_INVALID_ARGUMENT = -10,
  /**
   * A user name breaks the rules: 1 to 32 characters, at most 64 bytes, RFC 8265 UsernameCaseMapped.
   */
  PEERCHAT_ERR_INVALID_NAME = -11,
  /**
   * An address is not of the form that is asked for.
   */
  PEERCHAT_ERR_INVALID_ADDRESS = -12,
  /**
   * A message without text.
   */
  PEERCHAT_ERR_EMPTY_TEXT = -13,
  /**
   * A message text longer than PEERCHAT_MAX_TEXT_LEN.
   */
  PEERCHAT_ERR_TEXT_TOO_LONG = -14,
  /**
   * As many messages wait for delivery as may; an event that ends one makes room.
   */
  PEERCHAT_ERR_OUTBOX_FULL = -15,
  /**
   * No message has this id.
   */
  PEERCHAT_ERR_NOT_FOUND = -16,
  /**
   * The client has no user: it was created as a node only.
   */
  PEERCHAT_ERR_NO_USER = -17,
  /**
   * Nobody of this name was met: nothing was exchanged with them yet.
   */
  PEERCHAT_ERR_NOT_MET = -18,
  /**
   * The name was not seen to belong to this person.
   */
  PEERCHAT_ERR_IDENTITY_NOT_SEEN = -19,
  /**
   * This user has blocked the person.
   */
  PEERCHAT_ERR_BLOCKED = -20,
  /**
   * There are as many contacts as there may be.
   */
  PEERCHAT_ERR_TOO_MANY_CONTACTS = -21,
  /**
   * The message was delivered or given up before.
   */
  PEERCHAT_ERR_ALREADY_ENDED = -22,
  /**
   * The recipient has blocked this user. Only in events.
   */
  PEERCHAT_ERR_BLOCKED_BY_RECIPIENT = -23,
  /**
   * The client was closed.
   */
  PEERCHAT_ERR_CLOSED = -30,
  /**
   * A wait ran out of time.
   */
  PEERCHAT_ERR_TIMED_OUT = -31,
  /**
   * Another process, or another client of this one, has the profile open.
   */
  PEERCHAT_ERR_PROFILE_IN_USE = -40,
  /**
   * The profile on disk is damaged.
   */
  PEERCHAT_ERR_PROFILE_DAMAGED = -41,
  /**
   * The profile was written by a later version of peerchat.
   */
  PEERCHAT_ERR_PROFILE_TOO_NEW = -42,
  /**
   * The disk refused: full, read-only, gone.
   */
  PEERCHAT_ERR_STORAGE = -43,
  /**
   * The profile has another passphrase, or has one and none was given, or the reverse. Nothing was changed.
   */
  PEERCHAT_ERR_WRONG_PASSPHRASE = -44,
  /**
   * An exported profile is damaged.
   */
  PEERCHAT_ERR_ARCHIVE_DAMAGED = -45,
  /**
   * An exported profile is encrypted with another passphrase.
   */
  PEERCHAT_ERR_ARCHIVE_PASSPHRASE = -46,
  /**
   * An exported profile was written by a later version of peerchat.
   */
  PEERCHAT_ERR_ARCHIVE_TOO_NEW = -47,
  /**
   * There is a profile where one is to be imported. It was left as it is.
   */
  PEERCHAT_ERR_PROFILE_EXISTS = -48,
  /**
   * Another program uses the UDP port.
   */
  PEERCHAT_ERR_ADDRESS_IN_USE = -50,
  /**
   * The UDP socket could not be opened.
   */
  PEERCHAT_ERR_NETWORK = -51,
  /**
   * No node answered at the bootstrap address. Only in events.
   */
  PEERCHAT_ERR_UNREACHABLE = -52,
  /**
   * The node at the bootstrap address has another key than the one that was asked for. Only in events.
   */
  PEERCHAT_ERR_WRONG_KEY = -53,
  /**
   * Nobody in the network goes by the name. In events, and from peerchat_lookup_wait.
   */
  PEERCHAT_ERR_UNKNOWN_RECIPIENT = -60,
  /**
   * Somebody else holds the name. Only in events.
   */
  PEERCHAT_ERR_NAME_TAKEN = -61,
  /**
   * The network does not agree on who holds the name. In events, and from peerchat_lookup_wait.
   */
  PEERCHAT_ERR_NAME_CONTESTED = -62,
  /**
   * The message was not delivered before it expired. Only in events.
   */
  PEERCHAT_ERR_EXPIRED = -63,
  /**
   * A bug in peerchat.
   */
  PEERCHAT_ERR_INTERNAL = -90,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum peerchat_status_t peerchat_status_t;
#else
typedef int32_t peerchat_status_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How far a sent message has come. States only move forward, and each is true when it is told. A later version
 * may add some: treat an unknown one as "on its way".
 */
enum peerchat_message_state_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Not a state: in an event that is not about a sent message.
   */
  PEERCHAT_MESSAGE_NONE = 0,
  /**
   * On this disk; not yet with the recipient. It is retried until it expires.
   */
  PEERCHAT_MESSAGE_QUEUED = 1,
  /**
   * On this disk, and sealed on the disks of nodes that keep it for the recipient, who is away; they said so. It is
   * still retried until it expires.
   */
  PEERCHAT_MESSAGE_STORED = 2,
  /**
   * On the disk of a device of the recipient, which said so.
   */
  PEERCHAT_MESSAGE_DELIVERED = 3,
  /**
   * As PEERCHAT_MESSAGE_DELIVERED, and the recipient's application has marked it as read, and said so. Never told by a
   * recipient who sends no read receipts, or to whom this user is no contact.
   */
  PEERCHAT_MESSAGE_READ = 4,
  /**
   * Given up: it was not delivered within its lifetime.
   */
  PEERCHAT_MESSAGE_EXPIRED = 5,
  /**
   * Given up for a reason that retrying does not change.
   */
  PEERCHAT_MESSAGE_FAILED = 6,
  /**
   * Given up by peerchat_cancel, or because this user blocked the recipient. A copy that was under way, or kept by others
   * for the recipient, cannot be called back and may still arrive.
   */
  PEERCHAT_MESSAGE_CANCELED = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum peerchat_message_state_t peerchat_message_state_t;
#else
typedef int32_t peerchat_message_state_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a person is to the user of a profile. A later version may add some: treat an unknown one as a stranger.
 */
enum peerchat_relation_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nobody in particular: never met, removed from the contacts, or unblocked. Their next message makes a request.
   */
  PEERCHAT_RELATION_STRANGER = 0,
  /**
   * They have introduced themselves, or written, and nothing was decided. What they write arrives; they get no read
   * receipts.
   */
  PEERCHAT_RELATION_REQUEST = 1,
  /**
   * Accepted, added or written to.
   */
  PEERCHAT_RELATION_CONTACT = 2,
  /**
   * Nothing of theirs is taken.
   */
  PEERCHAT_RELATION_BLOCKED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum peerchat_relation_t peerchat_relation_t;
#else
typedef int32_t peerchat_relation_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What an event tells. A later version may add kinds: ignore what you do not know.
 */
enum peerchat_event_kind_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Something that this version of the C interface has no words for; ignore it.
   */
  PEERCHAT_EVENT_OTHER = 0,
  /**
   * A bootstrap call reached its node, and the own place in the network was looked up. Has `command_id`,
   * `node_id`, `address`.
   */
  PEERCHAT_EVENT_BOOTSTRAPPED = 1,
  /**
   * A bootstrap call reached nobody. Has `command_id`, `address` as it was given, `code`, `detail`.
   */
  PEERCHAT_EVENT_BOOTSTRAP_FAILED = 2,
  /**
   * Other nodes answer: by a bootstrap call, by a saved contact, or because somebody joined through this node.
   * Has `contact_count`.
   */
  PEERCHAT_EVENT_ONLINE = 3,
  /**
   * No known node answers any more; they are tried again with growing pauses.
   */
  PEERCHAT_EVENT_OFFLINE = 4,
  /**
   * The user's name is held by a majority of the nodes responsible for it. Has `name`, `user_id`, `fingerprint`.
   */
  PEERCHAT_EVENT_REGISTERED = 5,
  /**
   * The user's name could not be registered; messages still work by fingerprint. Has `name`, `code`, `detail`,
   * and `user_id` and `fingerprint` of whoever holds it.
   */
  PEERCHAT_EVENT_REGISTRATION_FAILED = 6,
  /**
   * A message arrived and is on disk. Has `message_id`, `name`, `user_id` and `fingerprint` of who wrote it,
   * `text`, `text_len`, `number`, `sent_unix_ms`, `received_unix_ms`, `is_request`.
   */
  PEERCHAT_EVENT_MESSAGE = 7,
  /**
   * A sent message came further, or was given up. Has `message_id`, `name` of whom it is for, `state`; if it was
   * given up by the library, `code` and `detail`.
   */
  PEERCHAT_EVENT_MESSAGE_STATE = 8,
  /**
   * The client stopped by itself: nothing follows. Destroy it and create it again to go on. Has `code`, `detail`.
   */
  PEERCHAT_EVENT_CLOSED = 9,
  /**
   * A name by which somebody is known here belongs to another key now. Messages to the name still go to the person
   * who was met; nothing goes to the other until peerchat_accept_identity says so. Told again whenever the profile is
   * opened, until then or until the name is the person's again. Has `name`, `user_id` and `fingerprint` of who holds
   * the name now, `old_user_id` and `old_fingerprint` of who was met.
   */
  PEERCHAT_EVENT_IDENTITY_CHANGED = 10,
  /**
   * The network does not agree on who holds a name that something was sent to; what was sent fails with
   * PEERCHAT_ERR_NAME_CONTESTED. Has `name`, `claimants`.
   */
  PEERCHAT_EVENT_NAME_CONTESTED = 11,
  /**
   * A contact is typing, or has stopped. Told once for each change; it ends by itself, when a text of theirs arrives, just
   * before its PEERCHAT_EVENT_MESSAGE, or when nothing was heard of it for 10 seconds. Only the latest word on each person
   * waits to be taken, and none is told again after a restart. Has `name`, `user_id`, `fingerprint`, `is_typing`.
   */
  PEERCHAT_EVENT_TYPING = 12,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum peerchat_event_kind_t peerchat_event_kind_t;
#else
typedef int32_t peerchat_event_kind_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How much a line of the log matters.
 */
enum peerchat_log_level_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nothing is logged. Not the level of a line.
   */
  PEERCHAT_LOG_OFF = 0,
  /**
   * A bug in peerchat.
   */
  PEERCHAT_LOG_ERROR = 1,
  /**
   * Something unusual that somebody should look into.
   */
  PEERCHAT_LOG_WARN = 2,
  /**
   * What a user would notice: online, registered, closed.
   */
  PEERCHAT_LOG_INFO = 3,
  /**
   * What the node decides, and every message.
   */
  PEERCHAT_LOG_DEBUG = 4,
  /**
   * Every datagram.
   */
  PEERCHAT_LOG_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum peerchat_log_level_t peerchat_log_level_t;
#else
typedef int32_t peerchat_log_level_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Whether a node keeps records and mail for others and is listed in their routing tables.
 */
enum peerchat_serve_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * If others can reach it: if it was reached from an address to which it has sent nothing, if its peers are at
   * loopback or private addresses, or as long as it knows fewer than three others.
   */
  PEERCHAT_SERVE_AUTO = 0,
  /**
   * Yes, unproven: for whoever knows that the node can be reached.
   */
  PEERCHAT_SERVE_ALWAYS = 1,
  /**
   * No, so that nobody asks it for anything: for programs that soon end, and where others must not cost battery or data.
   */
  PEERCHAT_SERVE_NEVER = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum peerchat_serve_t peerchat_serve_t;
#else
typedef int32_t peerchat_serve_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a client is created with. Made by peerchat_options_new, freed by peerchat_options_free.
 */
typedef struct peerchat_options_t peerchat_options_t;

/**
 * A list of people.
 */
typedef struct peerchat_people_t peerchat_people_t;

/**
 * A running node, with a user on top of it unless it was created without one. Made by peerchat_create, freed by
 * peerchat_destroy.
 */
typedef struct peerchat_t peerchat_t;

/**
 * Names a message within one profile, for good. Compare and store the bytes; they have no order.
 */
typedef struct {
  /**
   * The bytes of the id.
   */
  uint8_t bytes[PEERCHAT_MESSAGE_ID_LEN];
} peerchat_message_id_t;

/**
 * One message of a conversation. Read-only; it belongs to its peerchat_history_t. No string is ever NULL. Later
 * versions add members at the end only; see `struct_size` of peerchat_event_t.
 */
typedef struct {
  /**
   * Size of this structure in the library, in bytes.
   */
  uint32_t struct_size;
  /**
   * How far the message came, PEERCHAT_MESSAGE_NONE for one that was received.
   */
  peerchat_message_state_t state;
  /**
   * Names the message.
   */
  peerchat_message_id_t message_id;
  /**
   * Its place in the history of the profile, for paging: 1 or more, and larger for what was saved later.
   */
  uint64_t position;
  /**
   * The other person of the conversation: "alice" or "alice#7kq2m4xd".
   */
  const char *peer;
  /**
   * What was written: UTF-8, `text_len` bytes, and a NUL after them. The text itself may contain NULs.
   */
  const char *text;
  /**
   * Length of `text` in bytes, without the last NUL.
   */
  size_t text_len;
  /**
   * When it was written, by the writer's clock: milliseconds since 1970-01-01 00:00 UTC.
   */
  uint64_t sent_unix_ms;
  /**
   * When it was saved here: milliseconds since 1970-01-01 00:00 UTC.
   */
  uint64_t received_unix_ms;
  /**
   * How many nodes keep the message for its recipient, if its state is PEERCHAT_MESSAGE_STORED.
   */
  uint32_t held_by;
  /**
   * Whether the user of this client wrote it.
   */
  bool is_own;
  /**
   * Whether it came from somebody who was no contact then; see peerchat_accept_contact.
   */
  bool is_request;
} peerchat_history_entry_t;

/**
 * A page of history. Read-only; it owns its entries until peerchat_history_free. Later versions add members at the end
 * only; see `struct_size` of peerchat_event_t.
 */
typedef struct {
  /**
   * Size of this structure in the library, in bytes.
   */
  uint32_t struct_size;
  /**
   * How many entries there are.
   */
  size_t count;
  /**
   * `count` pointers, the latest message first. Never NULL, not even if there are none.
   */
  const peerchat_history_entry_t *const *entries;
} peerchat_history_t;

/**
 * Somebody behind a name. Read-only; it owns its strings until peerchat_person_free. No string is ever NULL; one that has
 * no meaning here is empty. Later versions add members at the end only; see `struct_size` of peerchat_event_t.
 */
typedef struct {
  /**
   * Size of this structure in the library, in bytes.
   */
  uint32_t struct_size;
  /**
   * Whether they are marked as verified. Only from peerchat_identity and peerchat_contacts.
   */
  bool is_verified;
  /**
   * How to address them: "alice" or "alice#7kq2m4xd".
   */
  const char *name;
  /**
   * Who they are, whatever they are called: 52 characters.
   */
  const char *user_id;
  /**
   * The first 8 characters of `user_id`.
   */
  const char *fingerprint;
  /**
   * Who else was seen to hold the name, as PEERCHAT_EVENT_IDENTITY_CHANGED told. Only from peerchat_identity.
   */
  const char *rival_user_id;
  /**
   * The node that their device last announced: 64 hexadecimal digits. Only from peerchat_lookup_wait.
   */
  const char *node_id;
  /**
   * Where that node was last announced to be, one address a line. Only from peerchat_lookup_wait.
   */
  const char *addresses;
  /**
   * What they are to this user. Only from peerchat_contacts.
   */
  peerchat_relation_t relation;
} peerchat_person_t;

/**
 * Something the application is told. Read-only; it owns its strings until peerchat_event_free, or until the
 * callback returns that was told it.
 *
 * `kind` says which members have a meaning; all others are 0 or an empty string, and no string is ever NULL. Later
 * versions add members at the end only: before reading one that your oldest supported version lacks, check that
 * `struct_size` covers it. Never copy or make one of these by value.
 */
typedef struct {
  /**
   * Size of this structure in the library, in bytes.
   */
  uint32_t struct_size;
  /**
   * What the event tells.
   */
  peerchat_event_kind_t kind;
  /**
   * Names the call that the event answers, as that call named it.
   */
  uint64_t command_id;
  /**
   * Names the message.
   */
  peerchat_message_id_t message_id;
  /**
   * How far the message came.
   */
  peerchat_message_state_t state;
  /**
   * Why something failed, PEERCHAT_OK if nothing did.
   */
  peerchat_status_t code;
  /**
   * A person, as to address them: "alice" or "alice#7kq2m4xd".
   */
  const char *name;
  /**
   * Who that person is, whatever they are called: 52 characters.
   */
  const char *user_id;
  /**
   * The first 8 characters of `user_id`.
   */
  const char *fingerprint;
  /**
   * What they wrote: UTF-8, `text_len` bytes, and a NUL after them. The text itself may contain NULs.
   */
  const char *text;
  /**
   * Length of `text` in bytes, without the last NUL.
   */
  size_t text_len;
  /**
   * Counts the messages of this sender to us, from 1, without gaps but for those the sender gave up.
   */
  uint64_t number;
  /**
   * When the message was written, by the sender's clock: milliseconds since 1970-01-01 00:00 UTC.
   */
  uint64_t sent_unix_ms;
  /**
   * When the message was saved here: milliseconds since 1970-01-01 00:00 UTC.
   */
  uint64_t received_unix_ms;
  /**
   * Names a node: 64 hexadecimal digits.
   */
  const char *node_id;
  /**
   * Where a node is: "192.0.2.1:4600".
   */
  const char *address;
  /**
   * The reason in words, with what to do about it; for people.
   */
  const char *detail;
  /**
   * How many other nodes this one knows.
   */
  uint64_t contact_count;
  /**
   * Who a person was before, whatever they are called: 52 characters.
   */
  const char *old_user_id;
  /**
   * The first 8 characters of `old_user_id`.
   */
  const char *old_fingerprint;
  /**
   * Everyone who was named as the holder of `name`, most often named first, one a line and as to address them:
   * "alice#7kq2m4xd".
   */
  const char *claimants;
  /**
   * How many nodes keep the message for its recipient, if its state is PEERCHAT_MESSAGE_STORED.
   */
  uint32_t held_by;
  /**
   * Whether the message is of somebody who is neither a contact nor blocked: peerchat_accept_contact or
   * peerchat_block decides.
   */
  bool is_request;
  /**
   * Whether the person is typing now.
   */
  bool is_typing;
} peerchat_event_t;

/**
 * A function of yours that is told an event: by peerchat_dispatch, or on the library's thread for callbacks.
 *
 * It never runs twice at once for one client. It may call everything for this client but peerchat_destroy and
 * peerchat_dispatch. It must return: no C++ exception, no longjmp(3) and no end of the thread may leave it. An
 * exception that does ends the program.
 * @param context  What was given to peerchat_set_callback.
 * @param event    Belongs to the library, with all its strings, and lives until the callback returns.
 */
typedef void (*peerchat_callback_t)(void *context, const peerchat_event_t *event);

/**
 * Counts since the client was created, but for what is "now". Later versions add members at the end only.
 */
typedef struct {
  /**
   * Contacts in the routing table now.
   */
  uint64_t contact_count;
  /**
   * Records kept for the network now.
   */
  uint64_t record_count;
  /**
   * 1 if the node keeps records and mail for others now: if they can reach it, as far as it knows. Else 0.
   */
  uint64_t is_serving;
  /**
   * Encrypted links that are up now.
   */
  uint64_t link_count;
  /**
   * QUIC connections that are up now.
   */
  uint64_t connection_count;
  /**
   * Messages of our own that are not finished now, and receipts for mail that nobody has taken yet: at 0 nothing is
   * lost to others if the client closes.
   */
  uint64_t outbox_count;
  /**
   * Envelopes kept now for people who are away.
   */
  uint64_t mail_count;
  /**
   * How much of peerchat_options_set_mail_quota_len they take now, in bytes.
   */
  uint64_t mail_len;
  /**
   * Envelopes taken for people who were away.
   */
  uint64_t mail_deposited;
  /**
   * Of these, how many were given to their recipients; one that was asked for twice counts twice.
   */
  uint64_t mail_fetched;
  /**
   * Requests about mail that were refused, for whatever reason.
   */
  uint64_t mail_refused;
  /**
   * Requests sent to the network, for whatever reason; one that had to be repeated counts once.
   */
  uint64_t requests_sent;
  /**
   * Searches of the network that have ended, for whatever reason.
   */
  uint64_t searches_ended;
  /**
   * The sum over these searches of how many requests in a row led to what they found.
   */
  uint64_t search_hops;
  /**
   * Datagrams sent.
   */
  uint64_t datagrams_sent;
  /**
   * Datagrams received, dropped ones included.
   */
  uint64_t datagrams_received;
  /**
   * Bytes of UDP payload sent.
   */
  uint64_t bytes_sent;
  /**
   * Bytes of UDP payload received.
   */
  uint64_t bytes_received;
  /**
   * Datagrams and requests dropped because they were malformed, foreign, replayed or not authentic.
   */
  uint64_t dropped;
  /**
   * Records refused because they were malformed: too short or long, of an unknown kind, with times that do not fit.
   */
  uint64_t refused_malformed;
  /**
   * Records refused because they were under a key that is not their owner's.
   */
  uint64_t refused_foreign_key;
  /**
   * Claims refused because they were on what is no user name.
   */
  uint64_t refused_bad_name;
  /**
   * Records refused because their signature is not the owner's.
   */
  uint64_t refused_bad_signature;
  /**
   * Records refused because they have expired.
   */
  uint64_t refused_expired;
  /**
   * Records refused because they are numbered or dated too far ahead of the clock.
   */
  uint64_t refused_too_far_ahead;
  /**
   * Records refused because a later one of the same owner is kept.
   */
  uint64_t refused_older;
  /**
   * Claims refused because somebody else holds the name.
   */
  uint64_t refused_owned;
  /**
   * Records refused because the node keeps as many as it may.
   */
  uint64_t refused_full;
  /**
   * Envelopes for this user that were dropped because they do not open, or nobody that is known wrote them.
   */
  uint64_t mail_dropped;
  /**
   * Messages, introductions and envelopes of people whom this user has blocked that were turned away.
   */
  uint64_t blocked;
  /**
   * Introductions and envelopes of strangers that were turned away because there were too many requests.
   */
  uint64_t requests_refused;
  /**
   * 1 if one party may be all that the node sees, as far as it can tell: its contacts lie in fewer than three large blocks of
   * public addresses, or its neighbours' ids are much denser than others, so that somebody must have chosen them. Else 0.
   */
  uint64_t is_surrounded;
  /**
   * Requests about mail that were refused for want of room.
   */
  uint64_t mail_refused_full;
  /**
   * Requests about mail that were refused because too many waited.
   */
  uint64_t mail_refused_busy;
  /**
   * Envelopes of strangers that were refused because less work had gone into them than the room asked for.
   */
  uint64_t mail_refused_work;
  /**
   * Envelopes that were refused because the token that came with them was none, or had expired.
   */
  uint64_t mail_refused_token;
  /**
   * How often an envelope of this user was not left with a node because of the work that it asked for.
   */
  uint64_t work_given_up;
  /**
   * Typing notices of others that were not told: of nobody who is a contact, malformed, or too many.
   */
  uint64_t hints_dropped;
  /**
   * Requests of others that were dropped because they came faster than the limits allow; they count as dropped too.
   */
  uint64_t requests_too_fast;
  /**
   * Requests of others that were answered that there is no room now, because too many of them, or too much for the disk,
   * waited.
   */
  uint64_t requests_busy;
  /**
   * Requests of others that were forgotten before they were answered, because too many waited, or too long.
   */
  uint64_t requests_forgotten;
  /**
   * Events that say how far a message came and that were dropped because the application left too many.
   */
  uint64_t events_dropped;
} peerchat_statistics_t;

/**
 * A function of yours that is told what the library logs.
 *
 * It runs on whichever thread has something to say, never twice at once. It must call nothing of peerchat, must not wait for a
 * thread that does, and must return as peerchat_callback_t says.
 * @param context  What was given to peerchat_log_set.
 * @param level    How much it matters.
 * @param line     One line without its end, UTF-8; lives until the function returns.
 */
typedef void (*peerchat_log_callback_t)(void *context, peerchat_log_level_t level, const char *line);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the version of the library, such as "0.1.0".
 *
 * PEERCHAT_VERSION is that of the header. The two fit together if their major numbers are the same; while that is 0,
 * if their minor numbers are. Never blocks. Thread-safe.
 * @return A static string.
 */
const char *peerchat_version(void);

/**
 * Returns the name of a status, such as "PEERCHAT_ERR_CLOSED", for logs.
 *
 * Never blocks. Thread-safe.
 * @param status  Any number; a peerchat_status_t, or the code of an event.
 * @return A static string, "PEERCHAT_UNKNOWN" for a number that this version does not know.
 */
const char *peerchat_status_name(int32_t status);

/**
 * Returns what the last call that failed on this thread had to say: English, lower case, with what to do about it.
 *
 * A call that succeeds leaves it alone. Text for people; it changes between versions. Never blocks.
 * @return A string that is valid until the next call that fails on this thread, or the end of the thread; do not
 *         free it. Empty if no call has failed yet. Never NULL.
 */
const char *peerchat_last_error(void);

/**
 * Frees a string that a call gave to the caller.
 *
 * Never blocks. Thread-safe.
 * @param string  Taken; NULL is allowed and does nothing. Only what a `char **out_...` parameter received: not
 *                the strings of an event, and not those that a function returns.
 */
void peerchat_string_free(char *string);

/**
 * Makes options that hold nothing but defaults. A place for the profile has to be set: a directory or memory.
 *
 * Never blocks. One thread at a time may use the same options.
 * @param out_options  Receives the options, which the caller frees with peerchat_options_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_new(peerchat_options_t **out_options);

/**
 * Frees options. Clients that were created with them are not touched.
 *
 * Never blocks.
 * @param options  Taken; NULL is allowed and does nothing.
 */
void peerchat_options_free(peerchat_options_t *options);

/**
 * Keeps the profile in one file in a directory, which is made if it is missing. No default. Undoes
 * peerchat_options_set_in_memory.
 *
 * Never blocks: the directory is used by peerchat_create.
 * @param data_dir  Path, UTF-8; copied. An empty one is refused by peerchat_create.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8 or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_data_dir(peerchat_options_t *options, const char *data_dir);

/**
 * Keeps the profile in memory: it is gone when the client closes. For tests and throw-away nodes. Undoes
 * peerchat_options_set_data_dir.
 *
 * Never blocks.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_in_memory(peerchat_options_t *options);

/**
 * Opens the client for this person. Default: nobody, a node that serves the network.
 *
 * A name that the data directory knows is logged in; any other is registered. Never blocks.
 * @param user  User name, UTF-8; copied.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME or
 *         PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_user(peerchat_options_t *options, const char *user);

/**
 * Names the network. Nodes of different networks never talk. Default: "peerchat".
 *
 * Never blocks.
 * @param network  UTF-8, 1 to 64 bytes; copied. Another length is refused by peerchat_create.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8 or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_network(peerchat_options_t *options, const char *network);

/**
 * Binds this UDP address. Default: any port on every IPv4 and IPv6 address. Undoes peerchat_options_set_port.
 *
 * Never blocks.
 * @param address  `192.0.2.1:4600` or `[2001:db8::1]:4600`, not a host name; port 0 for any. UTF-8.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ADDRESS or
 *         PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_bind(peerchat_options_t *options, const char *address);

/**
 * Binds this UDP port on every IPv4 and IPv6 address. Default: any. Undoes peerchat_options_set_bind.
 *
 * Never blocks.
 * @param port  0 for any.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_port(peerchat_options_t *options, uint16_t port);

/**
 * Sets Kademlia's k, the size of a bucket and the number of nodes that keep a record. Default and maximum: 20.
 *
 * Never blocks.
 * @param k  1 to 20. Another value is refused by peerchat_create.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_k(peerchat_options_t *options,
                                         size_t k);

/**
 * Sets Kademlia's alpha, the number of requests that a lookup keeps in flight. Default: 3.
 *
 * Never blocks.
 * @param alpha  1 to k. Another value is refused by peerchat_create.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_alpha(peerchat_options_t *options, size_t alpha);

/**
 * Sets whether the node keeps records and mail for others and is listed in their routing tables. Default:
 * PEERCHAT_SERVE_AUTO.
 *
 * Never blocks.
 * @param serve  A number of peerchat_serve_t.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_ARGUMENT (no such number) or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_serve(peerchat_options_t *options,
                                             int32_t serve);

/**
 * Sets how long an undelivered message is retried before it expires. Default: 30 days.
 *
 * Never blocks.
 * @param lifetime_ms  Milliseconds. 0 is refused by peerchat_create.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_message_lifetime_ms(peerchat_options_t *options, uint64_t lifetime_ms);

/**
 * Sets whether contacts are told what was read, once peerchat_mark_read says so. Default: yes. Nobody else is told in any
 * case.
 *
 * Never blocks.
 * @param are_sent  Whether they are told.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_read_receipts(peerchat_options_t *options,
                                                     bool are_sent);

/**
 * Sets how much mail the node keeps for people who are away. Default: 1 GiB, 64 MiB for a profile in memory.
 *
 * Never blocks.
 * @param quota_len  Bytes; each message counts with about 500 more. 0 keeps none.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_mail_quota_len(peerchat_options_t *options, uint64_t quota_len);

/**
 * Sets how much memory others can make the node take. Default: 256 MiB. With less than that its limits become smaller; with more
 * there is room to raise one with peerchat_options_set_limit, and to keep more messages for people who are away.
 *
 * Never blocks.
 * @param memory_len  Bytes, 40 MiB or more. Less is refused by peerchat_create, and so are limits that could take more.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_memory_limit_len(peerchat_options_t *options,
                                                        uint64_t memory_len);

/**
 * Sets one of the limits on what others may make the node keep and do. docs/limits.md has their names, which do not change,
 * their defaults, and what happens when one is reached.
 *
 * Never blocks.
 * @param name   The name of the limit, UTF-8, such as "links".
 * @param value  Its value; of one that is set twice the last counts.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ARGUMENT (no limit has this
 *         name, or the value is out of its range: peerchat_last_error_message says what is allowed) or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_limit(peerchat_options_t *options,
                                             const char *name,
                                             uint64_t value);

/**
 * Opens a profile that has this passphrase, or makes a new one that has: its keys are encrypted on disk. Default: none.
 *
 * Never blocks; peerchat_create then takes about a quarter of a second and 64 MiB longer. peerchat_change_passphrase sets,
 * changes and removes the passphrase of a profile that exists.
 * @param passphrase  UTF-8, 1 to 1024 bytes; copied, and wiped when the options are freed. NULL for none.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ARGUMENT or
 *         PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_passphrase(peerchat_options_t *options,
                                                  const char *passphrase);

/**
 * Asks for a thread of the library that runs the callback, begun by the first peerchat_set_callback. Default: none; the
 * callback runs within peerchat_dispatch.
 *
 * For such a client peerchat_poll, peerchat_dispatch and peerchat_fd return PEERCHAT_ERR_WRONG_MODE. Never blocks.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_options_set_callback_thread(peerchat_options_t *options);

/**
 * Opens the profile, binds the socket and starts the node.
 *
 * Blocks briefly, on the disk only; up to 30 seconds if a client of this process that was closed still saves the same profile,
 * or has the same port. The node is alone until peerchat_bootstrap, unless the profile has been in the
 * network before and an old acquaintance answers: then a PEERCHAT_EVENT_ONLINE comes by itself. A node that does
 * neither has started a network of its own. Thread-safe; one profile may be open once.
 * @param options     Read during the call; the caller keeps them and may create more clients with them.
 * @param out_client  Receives the client, which the caller frees with peerchat_destroy.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_ARGUMENT, PEERCHAT_ERR_PROFILE_IN_USE,
 *         PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_PROFILE_TOO_NEW, PEERCHAT_ERR_WRONG_PASSPHRASE, PEERCHAT_ERR_STORAGE,
 *         PEERCHAT_ERR_ADDRESS_IN_USE, PEERCHAT_ERR_NETWORK or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_create(const peerchat_options_t *options,
                                  peerchat_t **out_client);

/**
 * Closes the client: every call that waits returns PEERCHAT_ERR_CLOSED at once, and so does every later one but the
 * getters and peerchat_destroy.
 *
 * Never blocks: the node saves its state in the background. May be called from any thread, more than once, and
 * while other calls wait; it frees nothing. Thread-safe.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_close(const peerchat_t *client);

/**
 * Closes the client if it is open, waits until its state is saved and its port and profile are free again, and
 * frees it.
 *
 * Blocks up to 2 seconds, and until a callback that runs on the library's thread has returned. Everything that was acknowledged is on disk already: what may be lost if that is too
 * short is at most half a minute of what the node learned about others. It comes last and alone: no other call on
 * this client may run or follow. Call peerchat_close first and join the threads that wait. From inside a callback of
 * this client it does nothing.
 * @param client  Taken; NULL is allowed and does nothing.
 */
void peerchat_destroy(peerchat_t *client);

/**
 * Joins the network through the node at an address and returns at once.
 *
 * PEERCHAT_EVENT_BOOTSTRAPPED or PEERCHAT_EVENT_BOOTSTRAP_FAILED follows and repeats `*out_command_id`. May be
 * called again, with any number of addresses. Never blocks. Thread-safe.
 * @param client          The client.
 * @param address         `host:port`, `[ipv6]:port`, or `key@host:port`, which accepts only the node with that
 *                        key (see peerchat_node_key); without a key whoever answers is trusted. UTF-8; copied.
 * @param out_command_id  Receives the id of this call.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ADDRESS,
 *         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_bootstrap(const peerchat_t *client,
                                     const char *address,
                                     uint64_t *out_command_id);

/**
 * Gives a descriptor that is readable while an event waits, for poll(2), select(2), epoll and the like.
 *
 * It is made on first use, stays the same, and belongs to the client until peerchat_destroy: neither read nor
 * close it; peerchat_poll or peerchat_dispatch with a timeout of 0 until PEERCHAT_NO_EVENT makes it unreadable again. Level-triggered.
 * A closed client leaves it readable. Never blocks. Thread-safe. Not on Windows.
 * @param client  The client.
 * @param out_fd  Receives the descriptor.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_WRONG_MODE (the events go to the callback, on the
 *         library's thread), PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL (also if the system has no descriptor left,
 *         or is Windows).
 */
peerchat_status_t peerchat_fd(const peerchat_t *client,
                              int *out_fd);

/**
 * Gives the UDP address that the node is bound to, with the port that the system chose: "127.0.0.1:4600".
 *
 * Works on a closed client, too. Never blocks. Thread-safe.
 * @param client       The client.
 * @param out_address  Receives a string, which the caller frees with peerchat_string_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_local_address(const peerchat_t *client, char **out_address);

/**
 * Gives the node's key, the part before @ in "key@host:port": 52 characters that are safe to publish.
 *
 * It stays the same for the life of the profile. Works on a closed client, too. Never blocks. Thread-safe.
 * @param client   The client.
 * @param out_key  Receives a string, which the caller frees with peerchat_string_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_node_key(const peerchat_t *client, char **out_key);

/**
 * Gives the node's id, its place in the network: 64 hexadecimal digits.
 *
 * Works on a closed client, too. Never blocks. Thread-safe.
 * @param client  The client.
 * @param out_id  Receives a string, which the caller frees with peerchat_string_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_node_id(const peerchat_t *client, char **out_id);

/**
 * Gives the user's name in the form in which names are compared: "Alice" has become "alice".
 *
 * Works on a closed client, too. Never blocks. Thread-safe.
 * @param client    The client.
 * @param out_name  Receives a string, which the caller frees with peerchat_string_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NO_USER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_user_name(const peerchat_t *client, char **out_name);

/**
 * Gives the user's id, who the person is whatever they are called: 52 characters.
 *
 * Works on a closed client, too. Never blocks. Thread-safe.
 * @param client  The client.
 * @param out_id  Receives a string, which the caller frees with peerchat_string_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NO_USER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_user_id(const peerchat_t *client, char **out_id);

/**
 * Gives the user's fingerprint, the first 8 characters of the id: "alice#7kq2m4xd" is name and fingerprint.
 *
 * Works on a closed client, too. Never blocks. Thread-safe.
 * @param client           The client.
 * @param out_fingerprint  Receives a string, which the caller frees with peerchat_string_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NO_USER or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_user_fingerprint(const peerchat_t *client, char **out_fingerprint);

/**
 * Tells whether a data directory holds a profile of this user, without opening it.
 *
 * Waits for the disk. Thread-safe.
 * @param data_dir    Path, UTF-8. One that does not exist holds no profile.
 * @param user        User name, UTF-8.
 * @param out_exists  Receives the answer.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME or
 *         PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_profile_exists(const char *data_dir, const char *user, bool *out_exists);

/**
 * Sets, changes or removes the passphrase of a profile that no client has open. All of it happens or nothing.
 *
 * Waits for the disk, and takes about a quarter of a second and 64 MiB for each passphrase. Thread-safe.
 * @param data_dir        Path, UTF-8.
 * @param user            User name, UTF-8; NULL for the node without a user.
 * @param old_passphrase  The one that the profile has, UTF-8; NULL if it has none.
 * @param new_passphrase  The one that it gets, UTF-8, 1 to 1024 bytes; NULL for none.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
 *         PEERCHAT_ERR_INVALID_ARGUMENT, PEERCHAT_ERR_WRONG_PASSPHRASE, PEERCHAT_ERR_PROFILE_IN_USE,
 *         PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_PROFILE_TOO_NEW, PEERCHAT_ERR_STORAGE or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_change_passphrase(const char *data_dir,
                                             const char *user,
                                             const char *old_passphrase,
                                             const char *new_passphrase);

/**
 * Writes the profile as it is now into a new file that a passphrase encrypts: keys, contacts, blocks and requests, the whole
 * history with its states, and what is still owed. Sessions and what the node keeps for others are left out.
 *
 * The profile that peerchat_import makes of it continues as this very device, so there must never be two of them: destroy
 * this client right after the export and do not open its profile again. What it sends or receives in between is not in the
 * file.
 *
 * Waits for the disk, and takes about a quarter of a second and 64 MiB for the passphrase. Thread-safe.
 * @param client      The client, with a user and a profile on disk.
 * @param path        The file to make, UTF-8. One that exists is not written over.
 * @param passphrase  What encrypts it, UTF-8, 1 to 1024 bytes. It is not the profile's, and cannot be recovered.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ARGUMENT (also for a
 *         profile in memory), PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE,
 *         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL. There is no new file unless it is PEERCHAT_OK.
 */
peerchat_status_t peerchat_export(const peerchat_t *client,
                                  const char *path,
                                  const char *passphrase);

/**
 * Makes a profile of a file that peerchat_export wrote. A profile that exists is never touched, and nothing is written
 * before the file has proven to be whole.
 *
 * Waits for the disk, and takes about a quarter of a second and 64 MiB for each passphrase. Thread-safe.
 * @param archive         The file, UTF-8.
 * @param passphrase      The one that encrypts it, UTF-8.
 * @param data_dir        Where the profile is to be, UTF-8; made if it is missing.
 * @param new_passphrase  The one that the profile gets, UTF-8, 1 to 1024 bytes; NULL for none.
 * @param out_user        Receives the user's name, a string which the caller frees with peerchat_string_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ARGUMENT,
 *         PEERCHAT_ERR_ARCHIVE_DAMAGED, PEERCHAT_ERR_ARCHIVE_PASSPHRASE, PEERCHAT_ERR_ARCHIVE_TOO_NEW,
 *         PEERCHAT_ERR_PROFILE_EXISTS, PEERCHAT_ERR_PROFILE_IN_USE, PEERCHAT_ERR_PROFILE_DAMAGED (its log is there and the
 *         profile is not), PEERCHAT_ERR_STORAGE or PEERCHAT_ERR_INTERNAL. No profile was made unless it is PEERCHAT_OK.
 */
peerchat_status_t peerchat_import(const char *archive,
                                  const char *passphrase,
                                  const char *data_dir,
                                  const char *new_passphrase,
                                  char **out_user);

/**
 * Saves a text message for sending and returns without waiting for the network.
 *
 * On PEERCHAT_OK the message is on disk and its id is in `*out_id`; PEERCHAT_EVENT_MESSAGE_STATE events with that
 * id tell what becomes of it. On any other status nothing was queued and `*out_id` is untouched. Waits for the
 * disk, usually some milliseconds, never for the network. Thread-safe.
 * @param client    The client, with a user.
 * @param to        "alice", or "alice#7kq2m4xd" to name the person as well. UTF-8.
 * @param text      UTF-8, `text_len` bytes, no NUL needed; copied.
 * @param text_len  1 to PEERCHAT_MAX_TEXT_LEN.
 * @param out_id    Receives the id.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
 *         PEERCHAT_ERR_EMPTY_TEXT, PEERCHAT_ERR_TEXT_TOO_LONG, PEERCHAT_ERR_BLOCKED, PEERCHAT_ERR_TOO_MANY_CONTACTS,
 *         PEERCHAT_ERR_OUTBOX_FULL, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE,
 *         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_send(const peerchat_t *client,
                                const char *to,
                                const char *text,
                                size_t text_len,
                                peerchat_message_id_t *out_id);

/**
 * Takes a text message for sending and gives its id without waiting for the disk.
 *
 * A PEERCHAT_EVENT_MESSAGE_STATE event with that id tells once it is on disk: PEERCHAT_MESSAGE_QUEUED, or a later state
 * if it came further meanwhile. Until then a crash loses it, and peerchat_message_state does not know it. If the disk
 * refuses it, the client stops with PEERCHAT_EVENT_CLOSED. On any other status than PEERCHAT_OK nothing was taken and
 * `*out_id` is untouched. Waits for the node to take it, which is well under a millisecond unless the node is busy.
 * Thread-safe.
 * @param client    The client, with a user.
 * @param to        "alice", or "alice#7kq2m4xd" to name the person as well. UTF-8.
 * @param text      UTF-8, `text_len` bytes, no NUL needed; copied.
 * @param text_len  1 to PEERCHAT_MAX_TEXT_LEN.
 * @param out_id    Receives the id.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
 *         PEERCHAT_ERR_EMPTY_TEXT, PEERCHAT_ERR_TEXT_TOO_LONG, PEERCHAT_ERR_BLOCKED, PEERCHAT_ERR_TOO_MANY_CONTACTS,
 *         PEERCHAT_ERR_OUTBOX_FULL, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_send_async(const peerchat_t *client,
                                      const char *to,
                                      const char *text,
                                      size_t text_len,
                                      peerchat_message_id_t *out_id);

/**
 * Tells how far a message of our own has come.
 *
 * Waits for the disk at most. Thread-safe.
 * @param client     The client.
 * @param id         The id that peerchat_send gave, in this or an earlier run of the profile; copied.
 * @param out_state  Receives the state.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NOT_FOUND, PEERCHAT_ERR_PROFILE_DAMAGED,
 *         PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_message_state(const peerchat_t *client,
                                         const peerchat_message_id_t *id,
                                         peerchat_message_state_t *out_state);

/**
 * Tells how many nodes keep a message of our own for its recipient, who is away: 0 unless its state is
 * PEERCHAT_MESSAGE_STORED.
 *
 * Waits for the disk at most. Thread-safe.
 * @param client     The client.
 * @param id         The id that peerchat_send gave, in this or an earlier run of the profile; copied.
 * @param out_count  Receives the number of nodes.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NOT_FOUND, PEERCHAT_ERR_PROFILE_DAMAGED,
 *         PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_message_holders(const peerchat_t *client,
                                           const peerchat_message_id_t *id,
                                           uint32_t *out_count);

/**
 * Gives a page of what was said with one person, the latest message first.
 *
 * The first page comes with `before` 0, the next one with the `position` of the last entry of the one before; a page
 * with fewer than `limit` entries is the last. Waits for the disk at most. Thread-safe.
 * @param client       The client, with a user.
 * @param peer         "alice", or "alice#7kq2m4xd" to name the person as well. UTF-8. Nothing was said with somebody
 *                     who is not known: that is an empty page.
 * @param before       Only messages whose `position` is smaller; 0 for the latest.
 * @param limit        Most entries of the page: 1 to PEERCHAT_MAX_HISTORY_PAGE. A larger one means that.
 * @param out_history  Receives the page, which the caller frees with peerchat_history_free. It stays as it is, whatever
 *                     happens afterwards, even if the client is destroyed.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
 *         PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or
 *         PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_history(const peerchat_t *client,
                                   const char *peer,
                                   uint64_t before,
                                   size_t limit,
                                   peerchat_history_t **out_history);

/**
 * Gives a page of the messages that hold every one of some words, the latest message first.
 *
 * Case and accents do not count, and `*` right after a word stands for whatever ends it: "trai* zurich" finds "The train
 * to Zürich". Nothing else has a meaning of its own; what is neither letter nor digit only parts words. In Chinese and
 * Japanese every character counts as a word.
 *
 * Pages follow one another as those of peerchat_history do. Waits for the disk at most; the first search of a profile,
 * and the first after many messages, indexes what is new, which takes about half a minute for each million. Thread-safe.
 * @param client       The client, with a user.
 * @param words        What to search for: 1 to 32 words in 1,024 bytes. UTF-8.
 * @param peer         Only what was said with this person: "alice", or "alice#7kq2m4xd"; NULL for everybody. UTF-8.
 *                     Nothing was said with somebody who is not known: that is an empty page.
 * @param before       Only messages whose `position` is smaller; 0 for the latest.
 * @param limit        Most entries of the page: 1 to PEERCHAT_MAX_HISTORY_PAGE. A larger one means that.
 * @param out_history  Receives the page, which the caller frees with peerchat_history_free. It stays as it is, whatever
 *                     happens afterwards, even if the client is destroyed.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_ARGUMENT,
 *         PEERCHAT_ERR_INVALID_NAME, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE,
 *         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_search(const peerchat_t *client,
                                  const char *words,
                                  const char *peer,
                                  uint64_t before,
                                  size_t limit,
                                  peerchat_history_t **out_history);

/**
 * Frees a page of history, its entries and their strings.
 *
 * Never blocks. May be called after peerchat_destroy. Thread-safe.
 * @param history  Taken; NULL is allowed and does nothing.
 */
void peerchat_history_free(peerchat_history_t *history);

/**
 * Looks a name up in the network and waits for the answer.
 *
 * Blocks for some seconds at most. Thread-safe.
 * @param client         The client, with a user.
 * @param name           "alice", or "alice#7kq2m4xd" to name the person as well. UTF-8.
 * @param out_person     Receives the person, whom the caller frees with peerchat_person_free.
 * @param out_claimants  NULL, or receives a string on PEERCHAT_ERR_NAME_CONTESTED, too: everyone who was named, one a line
 *                       and as to address them ("alice#7kq2m4xd"); empty on PEERCHAT_OK. The caller frees it with
 *                       peerchat_string_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
 *         PEERCHAT_ERR_UNKNOWN_RECIPIENT, PEERCHAT_ERR_NAME_CONTESTED, PEERCHAT_ERR_TIMED_OUT if no other node answers,
 *         PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_lookup_wait(const peerchat_t *client,
                                       const char *name,
                                       peerchat_person_t **out_person,
                                       char **out_claimants);

/**
 * Tells who the person is whom messages to this name go to. Nobody else gets them, whoever holds the name by now.
 *
 * Waits for the disk at most. Thread-safe.
 * @param client      The client, with a user.
 * @param name        "alice", or "alice#7kq2m4xd". UTF-8.
 * @param out_person  Receives the person, whom the caller frees with peerchat_person_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
 *         PEERCHAT_ERR_NOT_MET, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE,
 *         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_identity(const peerchat_t *client,
                                    const char *name,
                                    peerchat_person_t **out_person);

/**
 * Frees a person and their strings.
 *
 * Never blocks. Thread-safe.
 * @param person  Taken; NULL is allowed and does nothing.
 */
void peerchat_person_free(peerchat_person_t *person);

/**
 * Gives the safety number of this user and the person of this name: 60 digits in twelve groups of five with spaces between.
 *
 * Both sides get the same. If two people read it to each other and it agrees, nobody sits between them: mark it with
 * peerchat_set_verified. Waits for the disk at most. Thread-safe.
 * @param client      The client, with a user.
 * @param name        "alice", or "alice#7kq2m4xd". UTF-8.
 * @param out_number  Receives a string, which the caller frees with peerchat_string_free.
 * @return Those of peerchat_identity.
 */
peerchat_status_t peerchat_safety_number(const peerchat_t *client,
                                         const char *name,
                                         char **out_number);

/**
 * Marks the person of this name as verified, or no longer; the mark is kept. It belongs to the person's key: who takes over
 * the name does not get it. peerchat_identity tells it.
 *
 * Waits for the disk. Thread-safe.
 * @param client       The client, with a user.
 * @param name         "alice", or "alice#7kq2m4xd". UTF-8.
 * @param is_verified  Whether the safety number was compared.
 * @return Those of peerchat_identity.
 */
peerchat_status_t peerchat_set_verified(const peerchat_t *client,
                                        const char *name,
                                        bool is_verified);

/**
 * Lets a name mean the person who holds it now, after PEERCHAT_EVENT_IDENTITY_CHANGED has named them.
 *
 * From then on messages to the name go to them. Everything said so far, and what is still to be delivered, stays with the
 * person it was written to, who goes by name and fingerprint ("alice#7kq2m4xd") from then on. Waits for the disk.
 * Thread-safe.
 * @param client   The client, with a user.
 * @param name     The name, without a fingerprint. UTF-8.
 * @param user_id  `user_id` of the event. UTF-8.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
 *         PEERCHAT_ERR_INVALID_ARGUMENT, PEERCHAT_ERR_IDENTITY_NOT_SEEN, PEERCHAT_ERR_NOT_MET, PEERCHAT_ERR_NO_USER,
 *         PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_accept_identity(const peerchat_t *client,
                                           const char *name,
                                           const char *user_id);

/**
 * Lists everybody who is a contact, has made a request or is blocked, in the order in which they were met.
 *
 * Waits for the disk at most. Thread-safe.
 * @param client      The client, with a user.
 * @param out_people  Receives the list, which the caller frees with peerchat_people_free.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED,
 *         PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_contacts(const peerchat_t *client, peerchat_people_t **out_people);

/**
 * Returns how many people a list has; 0 for NULL.
 *
 * Never blocks. Thread-safe.
 */
size_t peerchat_people_count(const peerchat_people_t *people);

/**
 * Returns one of the people of a list, NULL if there is none at that place. Of their members, `name`, `user_id`,
 * `fingerprint`, `is_verified` and `relation` have a meaning; `user_id` and `fingerprint` are empty for a contact who was
 * added and not found yet.
 *
 * Never blocks. Thread-safe.
 * @param people  The list.
 * @param index   From 0.
 * @return Somebody who is valid until the list is freed; do not free them.
 */
const peerchat_person_t *peerchat_people_at(const peerchat_people_t *people,
                                            size_t index);

/**
 * Frees a list and the people in it.
 *
 * Never blocks. Thread-safe.
 * @param people  Taken; NULL is allowed and does nothing.
 */
void peerchat_people_free(peerchat_people_t *people);

/**
 * Makes somebody a contact, whether they were met or not. Whose a plain name is is settled when they are first written to,
 * or write. Who is written to is made a contact by that.
 *
 * Waits for the disk. Thread-safe.
 * @param client  The client, with a user.
 * @param name    "alice", or "alice#7kq2m4xd". UTF-8.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
 *         PEERCHAT_ERR_BLOCKED, PEERCHAT_ERR_TOO_MANY_CONTACTS, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED,
 *         PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_add_contact(const peerchat_t *client,
                                       const char *name);

/**
 * Makes somebody who has made a request a contact. What of theirs was marked as read before is told to them now.
 *
 * Waits for the disk. Thread-safe.
 * @param client  The client, with a user.
 * @param name    "alice", or "alice#7kq2m4xd". UTF-8.
 * @return PEERCHAT_ERR_NOT_MET if nobody of this name has made a request, and those of peerchat_add_contact.
 */
peerchat_status_t peerchat_accept_contact(const peerchat_t *client,
                                          const char *name);

/**
 * Blocks somebody who was met. Nothing of theirs is taken any more: what they deliver is refused, and fails at their side
 * with PEERCHAT_ERR_BLOCKED_BY_RECIPIENT; what they leave with others is dropped unread. What is still owed to them is
 * canceled. A block is of a person's key, not of a name.
 *
 * Waits for the disk. Thread-safe.
 * @param client  The client, with a user.
 * @param name    "alice", or "alice#7kq2m4xd". UTF-8.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
 *         PEERCHAT_ERR_NOT_MET, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE,
 *         PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_block(const peerchat_t *client,
                                 const char *name);

/**
 * Takes what somebody writes again; their next message makes a request. Who is not blocked stays what they are.
 *
 * Waits for the disk. Thread-safe.
 * @param client  The client, with a user.
 * @param name    "alice", or "alice#7kq2m4xd". UTF-8.
 * @return Those of peerchat_block.
 */
peerchat_status_t peerchat_unblock(const peerchat_t *client,
                                   const char *name);

/**
 * Takes somebody out of the contacts, or turns their request down. What was said stays, and what is owed to them is still
 * delivered. Their next message makes a request again: block them if there should be none.
 *
 * Waits for the disk. Thread-safe.
 * @param client  The client, with a user.
 * @param name    "alice", or "alice#7kq2m4xd". UTF-8.
 * @return PEERCHAT_ERR_BLOCKED if they are blocked, and those of peerchat_block.
 */
peerchat_status_t peerchat_remove_contact(const peerchat_t *client,
                                          const char *name);

/**
 * Does what peerchat_send does, for a message with a lifetime of its own.
 *
 * @param client       The client, with a user.
 * @param to           "alice", or "alice#7kq2m4xd" to name the person as well. UTF-8.
 * @param text         UTF-8, `text_len` bytes, no NUL needed; copied.
 * @param text_len     1 to PEERCHAT_MAX_TEXT_LEN.
 * @param lifetime_ms  How long it is retried while it is not delivered, in milliseconds: 1 second to 30 days.
 * @param out_id       Receives the id.
 * @return PEERCHAT_ERR_INVALID_ARGUMENT if the lifetime is out of its range, and those of peerchat_send.
 */
peerchat_status_t peerchat_send_for(const peerchat_t *client,
                                    const char *to,
                                    const char *text,
                                    size_t text_len,
                                    uint64_t lifetime_ms,
                                    peerchat_message_id_t *out_id);

/**
 * Stops retrying a message of our own that is not delivered; its state is PEERCHAT_MESSAGE_CANCELED then. What is under way
 * already, or kept by others for the recipient, cannot be called back and may still arrive.
 *
 * Waits for the disk. Thread-safe.
 * @param client  The client, with a user.
 * @param id      The id that peerchat_send gave; copied.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NOT_FOUND, PEERCHAT_ERR_ALREADY_ENDED,
 *         PEERCHAT_ERR_PROFILE_DAMAGED, PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_cancel(const peerchat_t *client,
                                  const peerchat_message_id_t *id);

/**
 * Marks a received message, and everything that the same person wrote from the same device before it, as read. If they are a
 * contact and peerchat_options_set_read_receipts did not say otherwise, they are told.
 *
 * Waits for the disk. Thread-safe.
 * @param client  The client, with a user.
 * @param id      `message_id` of its event; copied.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_NOT_FOUND, PEERCHAT_ERR_PROFILE_DAMAGED,
 *         PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_mark_read(const peerchat_t *client,
                                     const peerchat_message_id_t *id);

/**
 * Says whether this user is typing to somebody, who is shown it if they are a contact and there: PEERCHAT_EVENT_TYPING. To be
 * called with every key, and with false when the text is deleted or left alone for a while: no more than one notice in 3
 * seconds goes out, and sending a text says that typing has ended. A program that never calls this tells nobody.
 *
 * It is a notice that is worth something now or never. It goes over an encrypted link to the person's device that is up
 * already, and is neither saved nor repeated nor kept by others: if they are away, or no link is up, or they are no contact,
 * nothing happens, and PEERCHAT_OK is returned all the same. Waits for the node to take it, which is well under a millisecond
 * unless it is busy, and neither for the disk nor for the network. Thread-safe.
 * @param client     The client, with a user.
 * @param to         "alice", or "alice#7kq2m4xd". UTF-8.
 * @param is_typing  Whether the user is typing now.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_UTF8, PEERCHAT_ERR_INVALID_NAME,
 *         PEERCHAT_ERR_NOT_MET (nothing was exchanged with anybody of this name and they were not added),
 *         PEERCHAT_ERR_BLOCKED, PEERCHAT_ERR_NO_USER, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_set_typing(const peerchat_t *client,
                                      const char *to,
                                      bool is_typing);

/**
 * Waits for the next event and gives it to the caller.
 *
 * There is one queue, in order, and each event goes to one caller; asking for the next event confirms the last one
 * as seen, so that a program that crashes in between is told again. Blocks up to `timeout_ms`, or until
 * peerchat_close. Thread-safe.
 * @param client      The client.
 * @param timeout_ms  Milliseconds; 0 does not wait, PEERCHAT_WAIT_FOREVER does not give up.
 * @param out_event   Receives the event, which the caller frees with peerchat_event_free; untouched unless
 *                    PEERCHAT_OK is returned.
 * @return PEERCHAT_OK, PEERCHAT_NO_EVENT, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_WRONG_MODE (the events go to the
 *         callback, on the library's thread), PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_poll(const peerchat_t *client,
                                uint32_t timeout_ms,
                                peerchat_event_t **out_event);

/**
 * Frees an event and its strings.
 *
 * Never blocks. May be called from another thread than peerchat_poll, and after peerchat_destroy.
 * @param event  Taken; NULL is allowed and does nothing.
 */
void peerchat_event_free(peerchat_event_t *event);

/**
 * Registers the function that is told the events of this client, in the place of an earlier one.
 *
 * It is run by peerchat_dispatch, on the thread that calls that. For a client whose options asked for it
 * (peerchat_options_set_callback_thread) a thread of the library runs it instead, and begins with this call; events
 * that came earlier have waited. Nothing is lost between an earlier function and this one. Once this has returned,
 * the earlier one neither runs nor is run again, and its context may be freed: if it runs on another thread, this
 * waits until it has returned, so do not hold a lock that it wants. Never blocks otherwise. Thread-safe.
 * @param client    The client.
 * @param callback  Kept until another takes its place or the client is destroyed. There is no way back to none: close
 *                  the client, or stop dispatching.
 * @param context   Handed to the callback; the library never looks at it. May be NULL.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL (also if the system has
 *         no thread left).
 */
peerchat_status_t peerchat_set_callback(const peerchat_t *client,
                                        peerchat_callback_t callback,
                                        void *context);

/**
 * Waits for the next event and runs the callback with it, on the calling thread. One call, one event.
 *
 * `while (peerchat_dispatch(client, 0) == PEERCHAT_OK) {}` deals with all that wait. The next call confirms the event,
 * as peerchat_poll does; both may be used on one client, and each event goes to one of them. If several threads
 * dispatch, they take turns. Blocks up to `timeout_ms` and as long as the callback takes; peerchat_close ends the
 * wait. Thread-safe.
 * @param client      The client.
 * @param timeout_ms  Milliseconds; 0 does not wait, PEERCHAT_WAIT_FOREVER does not give up.
 * @return PEERCHAT_OK if the callback was run, PEERCHAT_NO_EVENT, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_WRONG_MODE (no
 *         callback is set, the library's thread runs it, or this is called from it), PEERCHAT_ERR_CLOSED or
 *         PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_dispatch(const peerchat_t *client,
                                    uint32_t timeout_ms);

/**
 * Counts, into a structure of the caller's: `peerchat_statistics(client, &statistics, sizeof statistics)`.
 *
 * A program that was compiled with an older header gets the members that it knows; one that runs with an older library
 * gets 0 for those that the library does not know. Waits for the node, which is well under a millisecond unless it is
 * busy. Thread-safe.
 * @param client          The client.
 * @param out_statistics  Receives the counts.
 * @param size            `sizeof(peerchat_statistics_t)`.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_ARGUMENT (a size below the first version's, or
 *         above 4096), PEERCHAT_ERR_CLOSED or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_statistics(const peerchat_t *client,
                                      peerchat_statistics_t *out_statistics,
                                      size_t size);

/**
 * Hands what the library logs to a function, for the whole process, in the place of an earlier one.
 *
 * Lines have no names, addresses, keys or texts of messages above PEERCHAT_LOG_DEBUG. Once this has returned, the earlier
 * function neither runs nor is run again. Without this call nothing is logged. Blocks while the earlier function runs.
 * Thread-safe.
 * @param level     The most detailed level that is wanted: a number of peerchat_log_level_t.
 * @param callback  Kept until another takes its place. NULL is allowed with PEERCHAT_LOG_OFF.
 * @param context   Handed to the callback; the library never looks at it. May be NULL.
 * @return PEERCHAT_OK, PEERCHAT_ERR_NULL_POINTER, PEERCHAT_ERR_INVALID_ARGUMENT (no such level), PEERCHAT_ERR_WRONG_MODE
 *         (called from the function itself) or PEERCHAT_ERR_INTERNAL.
 */
peerchat_status_t peerchat_log_set(int32_t level,
                                   peerchat_log_callback_t callback,
                                   void *context);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PEERCHAT_H */
