/*
 * What every call that a condition concerns returns in it: a name that is none, a node without a user, a closed client, a
 * profile that is missing, damaged or cannot grow. The other tests bring about what concerns one call.
 */
#include <signal.h>
#include <sys/resource.h>

#include "check.h"

static const char USER_ID[] = "aeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaq";

static peerchat_message_id_t own, received;
/* How Alice addresses somebody who has made a request, and somebody whom she has blocked. */
static char requester[128], blocked[128];
static char profile[4096], backup[4096], archive[4096];

/* Checks every call that takes a name. */
static void check_named(peerchat_status_t expected, peerchat_t *client, const char *name)
{
    peerchat_message_id_t id;
    peerchat_history_t *page;
    peerchat_person_t *person;
    char *number;
    CHECK_STATUS(expected, peerchat_send(client, name, "x", 1, &id));
    CHECK_STATUS(expected, peerchat_send_async(client, name, "x", 1, &id));
    CHECK_STATUS(expected, peerchat_send_for(client, name, "x", 1, 1000, &id));
    CHECK_STATUS(expected, peerchat_history(client, name, 0, 1, &page));
    if (name != NULL)
        CHECK_STATUS(expected, peerchat_search(client, "x", name, 0, 1, &page));
    CHECK_STATUS(expected, peerchat_lookup_wait(client, name, &person, NULL));
    CHECK_STATUS(expected, peerchat_identity(client, name, &person));
    CHECK_STATUS(expected, peerchat_safety_number(client, name, &number));
    CHECK_STATUS(expected, peerchat_set_verified(client, name, true));
    CHECK_STATUS(expected, peerchat_accept_identity(client, name, USER_ID));
    CHECK_STATUS(expected, peerchat_add_contact(client, name));
    CHECK_STATUS(expected, peerchat_accept_contact(client, name));
    CHECK_STATUS(expected, peerchat_block(client, name));
    CHECK_STATUS(expected, peerchat_unblock(client, name));
    CHECK_STATUS(expected, peerchat_remove_contact(client, name));
    CHECK_STATUS(expected, peerchat_set_typing(client, name, true));
}

/*
 * Checks every call that reads the profile. Tells whether all were told what was expected: the node writes for itself, too, and
 * what it finds out before a call closes the client.
 */
static bool check_reading(peerchat_status_t expected, peerchat_t *client)
{
    peerchat_message_state_t state;
    peerchat_history_t *page;
    peerchat_person_t *person;
    peerchat_people_t *people;
    uint32_t count;
    char *number;
#define READ(call)                                              \
    do {                                                        \
        peerchat_status_t status = call;                        \
        if (status == PEERCHAT_ERR_CLOSED && status != expected) \
            return false;                                       \
        check_status(__FILE__, __LINE__, #call, expected, status); \
    } while (0)
    READ(peerchat_message_state(client, &own, &state));
    READ(peerchat_message_holders(client, &own, &count));
    READ(peerchat_cancel(client, &own));
    READ(peerchat_mark_read(client, &received));
    READ(peerchat_history(client, requester, 0, 1, &page));
    READ(peerchat_search(client, "hello", NULL, 0, 1, &page));
    READ(peerchat_identity(client, requester, &person));
    READ(peerchat_safety_number(client, requester, &number));
    READ(peerchat_contacts(client, &people));
    READ(peerchat_export(client, archive, "open sesame"));
#undef READ
    return true;
}

enum { READ_FIRST = 8, WRITES = 10 };

/* Runs one of the calls that wait for the disk to have written something. */
static peerchat_status_t write_one(int which, peerchat_t *client, const char **name)
{
    peerchat_message_id_t id;
#define CASE(number, function, call) \
    case number: \
        *name = #function; \
        return function call;
    switch (which) {
        CASE(0, peerchat_send, (client, "carol", "x", 1, &id))
        CASE(1, peerchat_send_for, (client, "carol", "x", 1, 60000, &id))
        CASE(2, peerchat_set_verified, (client, requester, true))
        CASE(3, peerchat_add_contact, (client, "dave"))
        CASE(4, peerchat_accept_contact, (client, requester))
        CASE(5, peerchat_block, (client, requester))
        CASE(6, peerchat_unblock, (client, blocked))
        CASE(7, peerchat_remove_contact, (client, requester))
        CASE(8, peerchat_cancel, (client, &own))
        CASE(9, peerchat_mark_read, (client, &received))
    }
#undef CASE
    exit(1);
}

static peerchat_t *open_alice(const char *dir)
{
    peerchat_options_t *options = loopback_options("alice");
    peerchat_t *alice;
    CHECK_OK(peerchat_options_set_data_dir(options, dir));
    CHECK_OK(peerchat_create(options, &alice));
    peerchat_options_free(options);
    return alice;
}

/* Takes a message of somebody who joins for it, and keeps how to address them. */
static peerchat_t *hear_from(const char *user, peerchat_t *alice, char sender[128])
{
    peerchat_t *other = loopback_client(user);
    peerchat_event_t *event;
    join(other, alice);
    peerchat_event_free(wait_for(other, PEERCHAT_EVENT_REGISTERED));
    say(other, "alice", "hello");
    event = wait_for(alice, PEERCHAT_EVENT_MESSAGE);
    CHECK(strlen(event->name) < 128);
    strcpy(sender, event->name);
    received = event->message_id;
    peerchat_event_free(event);
    return other;
}

/* Makes the profile that the tests of the disk begin with. */
static void meet(const char *dir)
{
    peerchat_t *alice = open_alice(dir), *others[2];
    peerchat_person_t *person;
    others[0] = hear_from("bob", alice, blocked);
    others[1] = hear_from("eve", alice, requester);
    CHECK_OK(peerchat_block(alice, blocked));
    CHECK_STATUS(PEERCHAT_ERR_UNKNOWN_RECIPIENT, peerchat_lookup_wait(alice, "nobody", &person, NULL));
    peerchat_destroy(others[0]);
    peerchat_destroy(others[1]);
    peerchat_destroy(alice);
    /* Alone: nobody answers that there is no such person. */
    alice = open_alice(dir);
    own = say(alice, "nobody", "are you there?");
    peerchat_destroy(alice);
}

static void copy(const char *from, const char *to)
{
    FILE *source = fopen(from, "rb"), *target = fopen(to, "wb");
    char bytes[4096];
    size_t len;
    CHECK(source != NULL && target != NULL);
    while ((len = fread(bytes, 1, sizeof bytes, source)) > 0)
        CHECK(fwrite(bytes, 1, len, target) == len);
    CHECK(fclose(source) == 0 && fclose(target) == 0);
}

/* Writes over all of a file, which keeps its length. A log is gone if the node has found the damage and closed by now. */
static void spoil(const char *suffix)
{
    char path[4200];
    FILE *file;
    long len, i;
    CHECK(snprintf(path, sizeof path, "%s%s", profile, suffix) < (int)sizeof path);
    file = fopen(path, "r+b");
    if (file == NULL && suffix[0] != '\0')
        return;
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    len = ftell(file);
    CHECK(fseek(file, 0, SEEK_SET) == 0);
    for (i = 0; i < len; i++)
        CHECK(fputc('?', file) == '?');
    CHECK(fclose(file) == 0);
}

static void spoil_all(void)
{
    spoil("");
    spoil("-wal");
    /* Without its index the log is read again, so that no connection goes on with what it knows. */
    spoil("-shm");
}

/* Two calls have a connection to the file of their own, which they make when they are called. */
static void check_lost(const char *dir)
{
    peerchat_t *alice = open_alice(dir);
    peerchat_history_t *page;
    char elsewhere[4200];
    sprintf(elsewhere, "%s.elsewhere", profile);
    CHECK(rename(profile, elsewhere) == 0);
    CHECK_STATUS(PEERCHAT_ERR_STORAGE, peerchat_search(alice, "hello", NULL, 0, 1, &page));
    CHECK_STATUS(PEERCHAT_ERR_STORAGE, peerchat_export(alice, archive, "open sesame"));
    CHECK(rename(elsewhere, profile) == 0);
    peerchat_destroy(alice);
}

/* No file of this program may grow from here on, or may again. */
static void let_files_grow(bool may_grow)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = may_grow ? limit.rlim_max : 0;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

/* Makes the profile what it was. */
static void restore(void)
{
    static const char *const LOGS[] = {"-wal", "-shm"};
    char path[4200];
    int i;
    for (i = 0; i < 2; i++) {
        sprintf(path, "%s%s", profile, LOGS[i]);
        remove(path);
    }
    copy(backup, profile);
}

/* Opens the profile as it was, and waits until what opening it brings about is on disk. */
static peerchat_t *open_again(const char *dir)
{
    peerchat_t *alice;
    restore();
    alice = open_alice(dir);
    CHECK_OK(peerchat_set_verified(alice, blocked, true));
    return alice;
}

static void check_damaged(const char *dir)
{
    bool is_told = false;
    int attempts;
    for (attempts = 0; !is_told; attempts++) {
        peerchat_t *alice = open_again(dir);
        CHECK(attempts < 20);
        spoil_all();
        is_told = check_reading(PEERCHAT_ERR_PROFILE_DAMAGED, alice);
        peerchat_destroy(alice);
    }
}

/* Whoever waits for the disk is told what it says, and the client stops. */
static void check_end(peerchat_t *alice, peerchat_status_t expected)
{
    peerchat_event_t *event = wait_for(alice, PEERCHAT_EVENT_CLOSED);
    CHECK(event->code == expected && event->detail[0] != '\0');
    peerchat_event_free(event);
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_poll(alice, 0, &event));
    peerchat_destroy(alice);
}

/* Breaks the disk of a client and has it write. Tells whether the call was told what the disk says. */
static bool fails_to_write(int which, const char *dir, peerchat_status_t expected)
{
    peerchat_t *alice = open_again(dir);
    const char *name;
    peerchat_status_t status;
    bool is_damaged = expected == PEERCHAT_ERR_PROFILE_DAMAGED;
    if (is_damaged)
        spoil_all();
    else
        let_files_grow(false);
    status = write_one(which, alice, &name);
    let_files_grow(true);
    if (status != PEERCHAT_ERR_CLOSED)
        check_status(__FILE__, __LINE__, name, expected, status);
    /* The last two read what is meant before anything is written. */
    if (is_damaged && which >= READ_FIRST)
        peerchat_destroy(alice);
    else
        check_end(alice, expected);
    return status != PEERCHAT_ERR_CLOSED;
}

static void check_writing(const char *dir)
{
    static const peerchat_status_t EXPECTED[] = {PEERCHAT_ERR_STORAGE, PEERCHAT_ERR_PROFILE_DAMAGED};
    int which, i, attempts;
    for (which = 0; which < WRITES; which++)
        for (i = 0; i < 2; i++)
            /* The node writes for itself, too: what it finds out before the call closes the client, as the event says. */
            for (attempts = 1; !fails_to_write(which, dir, EXPECTED[i]); attempts++)
                CHECK(attempts < 20);
}

static void check_closed(peerchat_t *client)
{
    peerchat_event_t *event;
    peerchat_statistics_t counts;
    uint64_t command;
    CHECK_OK(peerchat_close(client));
    check_named(PEERCHAT_ERR_CLOSED, client, "bob");
    CHECK(check_reading(PEERCHAT_ERR_CLOSED, client));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_bootstrap(client, "127.0.0.1:1", &command));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_statistics(client, &counts, sizeof counts));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_poll(client, 0, &event));
}

/* A passphrase is changed by the same rules as a profile is opened by. */
static void check_passphrase(const char *dir)
{
    static const unsigned char VERSION[] = {0x7f, 0xff, 0xff, 0xff};
    peerchat_t *alice;
    peerchat_options_t *options = loopback_options("alice");
    FILE *file;
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_change_passphrase(NULL, "alice", NULL, "new"));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_change_passphrase(dir, "alice", "\xff", "new"));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_change_passphrase(dir, "two words", NULL, "new"));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_change_passphrase(dir, "alice", NULL, ""));
    CHECK_STATUS(PEERCHAT_ERR_STORAGE, peerchat_change_passphrase(dir, "carol", NULL, "new"));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_options_set_passphrase(options, "\xff"));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_options_set_passphrase(options, ""));

    restore();
    alice = open_alice(dir);
    CHECK_STATUS(PEERCHAT_ERR_PROFILE_IN_USE, peerchat_change_passphrase(dir, "alice", NULL, "new"));
    peerchat_destroy(alice);
    CHECK_OK(peerchat_change_passphrase(dir, "alice", NULL, "new"));
    CHECK_STATUS(PEERCHAT_ERR_WRONG_PASSPHRASE, peerchat_change_passphrase(dir, "alice", "old", NULL));
    CHECK_OK(peerchat_options_set_data_dir(options, dir));
    CHECK_STATUS(PEERCHAT_ERR_WRONG_PASSPHRASE, peerchat_create(options, &alice));
    peerchat_options_free(options);

    /* The user version is at offset 60 of the file. */
    restore();
    file = fopen(profile, "r+b");
    CHECK(file != NULL && fseek(file, 60, SEEK_SET) == 0);
    CHECK(fwrite(VERSION, 1, sizeof VERSION, file) == sizeof VERSION && fclose(file) == 0);
    CHECK_STATUS(PEERCHAT_ERR_PROFILE_TOO_NEW, peerchat_change_passphrase(dir, "alice", NULL, "new"));
    spoil("");
    CHECK_STATUS(PEERCHAT_ERR_PROFILE_DAMAGED, peerchat_change_passphrase(dir, "alice", NULL, "new"));
}

/* Somebody who was never met, and somebody who is blocked. */
static void check_relations(peerchat_t *client)
{
    peerchat_message_id_t id;
    peerchat_person_t *person;
    char *number;
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_identity(client, "zoe", &person));
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_safety_number(client, "zoe", &number));
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_set_verified(client, "zoe", true));
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_accept_identity(client, "zoe", USER_ID));
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_unblock(client, "zoe"));
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_set_typing(client, "zoe", true));
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_remove_contact(client, "zoe"));
    CHECK_STATUS(PEERCHAT_ERR_BLOCKED, peerchat_send_async(client, blocked, "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_BLOCKED, peerchat_send_for(client, blocked, "x", 1, 1000, &id));
    CHECK_STATUS(PEERCHAT_ERR_BLOCKED, peerchat_accept_contact(client, blocked));
    CHECK_STATUS(PEERCHAT_ERR_BLOCKED, peerchat_remove_contact(client, blocked));
}

static peerchat_status_t status_within_log = PEERCHAT_OK;

static void log_within_log(void *context, peerchat_log_level_t level, const char *line)
{
    (void)context, (void)level, (void)line;
    status_within_log = peerchat_log_set(PEERCHAT_LOG_OFF, NULL, NULL);
}

/* A client that is opened logs that it runs; once it is destroyed, nothing logs any more. */
static void check_log(void)
{
    CHECK_OK(peerchat_log_set(PEERCHAT_LOG_TRACE, log_within_log, NULL));
    peerchat_destroy(loopback_client(NULL));
    CHECK_OK(peerchat_log_set(PEERCHAT_LOG_OFF, NULL, NULL));
    check_status(__FILE__, __LINE__, "peerchat_log_set", PEERCHAT_ERR_WRONG_MODE, status_within_log);
}

static void check_options(void)
{
    peerchat_options_t *options = loopback_options("lone");
    peerchat_person_t *person;
    peerchat_t *lone;
    char *user;
    CHECK_OK(peerchat_options_set_port(options, 0));
    CHECK_OK(peerchat_options_set_bind(options, "127.0.0.1:0"));
    CHECK_OK(peerchat_options_set_mail_quota_len(options, 0));
    CHECK_OK(peerchat_options_set_memory_limit_len(options, (uint64_t)256 << 20));
    CHECK_OK(peerchat_options_set_limit(options, "links", 512));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_limit(options, NULL, 1));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_options_set_limit(options, "\xff", 1));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_options_set_limit(options, "no such limit", 1));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_options_set_limit(options, "links", 0));
    CHECK_OK(peerchat_options_set_read_receipts(options, false));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_options_set_serve(options, -1));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_options_set_serve(options, PEERCHAT_SERVE_NEVER + 1));
    CHECK_OK(peerchat_options_set_serve(options, PEERCHAT_SERVE_ALWAYS));
    CHECK_OK(peerchat_options_set_serve(options, PEERCHAT_SERVE_AUTO));
    CHECK_OK(peerchat_create(options, &lone));
    CHECK_STATUS(PEERCHAT_ERR_TIMED_OUT, peerchat_lookup_wait(lone, "bob", &person, NULL));
    peerchat_destroy(lone);
    peerchat_options_free(options);
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_import(archive, "", backup, NULL, &user));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_import(archive, "\xff", backup, NULL, &user));
}

static void check_outputs_and_ranges(peerchat_t *client)
{
    peerchat_message_id_t id;
    peerchat_message_state_t state;
    char text[PEERCHAT_MAX_TEXT_LEN + 1];
    memset(text, 'x', sizeof text);
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_contacts(client, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_cancel(client, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_read_receipts(NULL, true));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_serve(NULL, PEERCHAT_SERVE_NEVER));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_mail_quota_len(NULL, 0));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_memory_limit_len(NULL, (uint64_t)256 << 20));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_passphrase(NULL, "x"));
    CHECK_STATUS(PEERCHAT_ERR_EMPTY_TEXT, peerchat_send_for(client, "bob", "", 0, 1000, &id));
    CHECK_STATUS(PEERCHAT_ERR_TEXT_TOO_LONG, peerchat_send_for(client, "bob", text, sizeof text, 1000, &id));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_accept_identity(client, "bob", "short"));
    memset(&id, 0xee, sizeof id);
    CHECK_STATUS(PEERCHAT_ERR_NOT_FOUND, peerchat_cancel(client, &id));
    CHECK_STATUS(PEERCHAT_ERR_NOT_FOUND, peerchat_mark_read(client, &id));
    CHECK_STATUS(PEERCHAT_ERR_NOT_FOUND, peerchat_message_state(client, &id, &state));
}

int main(int argc, char **argv)
{
    const char *dir = data_dir(argc, argv);
    peerchat_t *node = loopback_client(NULL), *alice;
    peerchat_people_t *people;
    CHECK(snprintf(profile, sizeof profile, "%s/user-alice.db", dir) < (int)sizeof profile);
    CHECK(snprintf(backup, sizeof backup, "%s.backup", dir) < (int)sizeof backup);
    CHECK(snprintf(archive, sizeof archive, "%s.archive", dir) < (int)sizeof archive);
    /* What the limit on files does by itself is to end the program. */
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);

    meet(dir);
    copy(profile, backup);
    alice = open_alice(dir);
    check_named(PEERCHAT_ERR_NULL_POINTER, NULL, "bob");
    check_named(PEERCHAT_ERR_NULL_POINTER, alice, NULL);
    check_named(PEERCHAT_ERR_INVALID_UTF8, alice, "\xff");
    check_named(PEERCHAT_ERR_INVALID_NAME, alice, "two words");
    check_named(PEERCHAT_ERR_NO_USER, node, "bob");
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_contacts(node, &people));
    check_outputs_and_ranges(alice);
    check_relations(alice);
    check_options();
    check_log();
    check_closed(alice);
    peerchat_destroy(alice);
    peerchat_destroy(node);
    check_lost(dir);
    check_damaged(dir);
    check_writing(dir);
    check_passphrase(dir);
    return 0;
}
