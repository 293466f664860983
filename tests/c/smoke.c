/* Two people in one process find one another by name over the loopback and write both ways. */
#include "check.h"

static void check_message(peerchat_t *client, const char *from, const char *text, uint64_t number)
{
    peerchat_event_t *event = wait_for(client, PEERCHAT_EVENT_MESSAGE);
    CHECK(strncmp(event->name, from, strlen(from)) == 0);
    CHECK(event->text_len == strlen(text));
    CHECK(strcmp(event->text, text) == 0);
    CHECK(event->number == number);
    CHECK(strlen(event->fingerprint) == 8);
    CHECK(strncmp(event->user_id, event->fingerprint, 8) == 0);
    CHECK(event->sent_unix_ms > 0 && event->received_unix_ms > 0);
    peerchat_event_free(event);
}

static void check_delivered(peerchat_t *client, peerchat_message_id_t id)
{
    peerchat_message_state_t state;
    uint32_t holder_count = 7;
    peerchat_event_t *event = wait_for_end_of(client, &id);
    CHECK(event->state == PEERCHAT_MESSAGE_DELIVERED);
    CHECK(event->code == PEERCHAT_OK);
    CHECK(event->held_by == 0);
    peerchat_event_free(event);
    CHECK_OK(peerchat_message_holders(client, &id, &holder_count));
    CHECK(holder_count == 0);
    CHECK_OK(peerchat_message_state(client, &id, &state));
    CHECK(state == PEERCHAT_MESSAGE_DELIVERED);
}

static void wait_until_registered(peerchat_t *client, const char *name)
{
    peerchat_event_t *event = wait_for(client, PEERCHAT_EVENT_REGISTERED);
    CHECK(strcmp(event->name, name) == 0);
    peerchat_event_free(event);
}

int main(void)
{
    peerchat_t *alice = loopback_client("alice");
    peerchat_t *bob = loopback_client("bob");
    peerchat_message_id_t id;

    join(bob, alice);
    wait_until_registered(bob, "bob");
    wait_until_registered(alice, "alice");

    id = say(alice, "bob", "hello, bob");
    check_message(bob, "alice", "hello, bob", 1);
    check_delivered(alice, id);

    id = say(bob, "alice", "gr\xc3\xbc\xc3\x9f dich");
    check_message(alice, "bob", "gr\xc3\xbc\xc3\x9f dich", 1);
    check_delivered(bob, id);

    id = say(alice, "bob", "bye");
    check_message(bob, "alice", "bye", 2);
    check_delivered(alice, id);

    peerchat_destroy(bob);
    peerchat_destroy(alice);
    return 0;
}
