/* What the C tests share: checks that name the line, and waits for an event instead of sleeping. */
#ifndef PEERCHAT_TEST_CHECK_H
#define PEERCHAT_TEST_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peerchat.h"

/* Longer than anything that works takes, shorter than the patience of whoever runs the tests. */
#define PATIENCE_MS 60000

/* Every helper is used by some test, none by all. */
#if defined(__GNUC__)
#define HELPER static __attribute__((unused))
#else
#define HELPER static
#endif

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: %s\n  last error: %s\n", __FILE__, __LINE__, #condition,   \
                    peerchat_last_error());                                                    \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

#define CHECK_STATUS(expected, call) check_status(__FILE__, __LINE__, #call, expected, call)
#define CHECK_OK(call) CHECK_STATUS(PEERCHAT_OK, call)

HELPER void check_status(const char *file, int line, const char *call, peerchat_status_t expected,
                         peerchat_status_t actual)
{
    /* For the test that compares what calls return with what the header says of them. */
    if (getenv("PEERCHAT_SHOW_STATUSES") != NULL)
        printf("status %.*s %s\n", (int)strcspn(call, "("), call, peerchat_status_name(actual));
    if (actual == expected)
        return;
    fprintf(stderr, "%s:%d: %s\n  expected %s, got %s: %s\n", file, line, call, peerchat_status_name(expected),
            peerchat_status_name(actual), peerchat_last_error());
    exit(1);
}

/* Returns options for a profile in memory on a port of the loopback that the system chooses. */
HELPER peerchat_options_t *loopback_options(const char *user)
{
    peerchat_options_t *options;
    CHECK_OK(peerchat_options_new(&options));
    CHECK_OK(peerchat_options_set_in_memory(options));
    CHECK_OK(peerchat_options_set_bind(options, "127.0.0.1:0"));
    if (user != NULL)
        CHECK_OK(peerchat_options_set_user(options, user));
    return options;
}

HELPER peerchat_t *loopback_client(const char *user)
{
    peerchat_options_t *options = loopback_options(user);
    peerchat_t *client;
    CHECK_OK(peerchat_create(options, &client));
    peerchat_options_free(options);
    return client;
}

/* Returns the next event of this kind; the caller frees it. Others are passed over. */
HELPER peerchat_event_t *wait_for(peerchat_t *client, peerchat_event_kind_t kind)
{
    for (;;) {
        peerchat_event_t *event;
        CHECK_OK(peerchat_poll(client, PATIENCE_MS, &event));
        if (event->kind == kind)
            return event;
        peerchat_event_free(event);
    }
}

/* Returns the event that ends this message; the caller frees it. */
HELPER peerchat_event_t *wait_for_end_of(peerchat_t *client, const peerchat_message_id_t *id)
{
    for (;;) {
        peerchat_event_t *event = wait_for(client, PEERCHAT_EVENT_MESSAGE_STATE);
        if (memcmp(&event->message_id, id, sizeof *id) == 0 && event->state >= PEERCHAT_MESSAGE_DELIVERED)
            return event;
        peerchat_event_free(event);
    }
}

/* Joins the network that `host` is in. */
HELPER void join(peerchat_t *client, peerchat_t *host)
{
    char *address;
    uint64_t command;
    peerchat_event_t *event;
    CHECK_OK(peerchat_local_address(host, &address));
    CHECK_OK(peerchat_bootstrap(client, address, &command));
    event = wait_for(client, PEERCHAT_EVENT_BOOTSTRAPPED);
    CHECK(event->command_id == command);
    CHECK(strcmp(event->address, address) == 0);
    peerchat_event_free(event);
    peerchat_string_free(address);
}

HELPER peerchat_message_id_t say(peerchat_t *client, const char *to, const char *text)
{
    peerchat_message_id_t id;
    CHECK_OK(peerchat_send(client, to, text, strlen(text), &id));
    return id;
}

/* A directory for a profile: the first argument of the program, made by whoever runs it. */
HELPER const char *data_dir(int argc, char **argv)
{
    CHECK(argc >= 2);
    return argv[1];
}

#endif
