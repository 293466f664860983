/* Two people in one process meet on the loopback: the program of docs/getting-started-c.md. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peerchat.h"

/* Ends the program if a call failed, with its reason in words. */
static void check(peerchat_status_t status)
{
    if (status == PEERCHAT_OK)
        return;
    fprintf(stderr, "%s: %s\n", peerchat_status_name(status), peerchat_last_error());
    exit(1);
}

static peerchat_t *open_person(const char *name)
{
    peerchat_options_t *options;
    peerchat_t *client;
    check(peerchat_options_new(&options));
    check(peerchat_options_set_in_memory(options));
    check(peerchat_options_set_bind(options, "127.0.0.1:0"));
    check(peerchat_options_set_user(options, name));
    check(peerchat_create(options, &client));
    peerchat_options_free(options);
    return client;
}

/* Returns the next event of this kind, which the caller frees. */
static peerchat_event_t *wait_for(peerchat_t *client, peerchat_event_kind_t kind)
{
    for (;;) {
        peerchat_event_t *event;
        check(peerchat_poll(client, PEERCHAT_WAIT_FOREVER, &event));
        if (event->kind == kind)
            return event;
        peerchat_event_free(event);
    }
}

int main(void)
{
    peerchat_t *alice = open_person("alice"), *bob = open_person("bob");
    peerchat_message_id_t id;
    peerchat_event_t *event;
    uint64_t command;
    char *address;

    check(peerchat_local_address(alice, &address));
    check(peerchat_bootstrap(bob, address, &command));
    peerchat_string_free(address);
    peerchat_event_free(wait_for(alice, PEERCHAT_EVENT_REGISTERED));
    peerchat_event_free(wait_for(bob, PEERCHAT_EVENT_REGISTERED));

    check(peerchat_send(alice, "bob", "hello, bob", strlen("hello, bob"), &id));
    event = wait_for(bob, PEERCHAT_EVENT_MESSAGE);
    printf("%s: %s\n", event->name, event->text);
    peerchat_event_free(event);

    event = wait_for(alice, PEERCHAT_EVENT_MESSAGE_STATE);
    printf("to %s: %s\n", event->name, event->state == PEERCHAT_MESSAGE_DELIVERED ? "delivered" : "on its way");
    peerchat_event_free(event);

    if (peerchat_send(alice, "bob", "", 0, &id) == PEERCHAT_ERR_EMPTY_TEXT)
        printf("not sent: EMPTY_TEXT\n");

    peerchat_destroy(bob);
    peerchat_destroy(alice);
    return 0;
}
