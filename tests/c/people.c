/* Who may write, what was read, what is taken back: two people in one process over the loopback. */
#include "check.h"

static peerchat_event_t *wait_for_state(peerchat_t *client, const peerchat_message_id_t *id, int state)
{
    for (;;) {
        peerchat_event_t *event = wait_for(client, PEERCHAT_EVENT_MESSAGE_STATE);
        if (memcmp(&event->message_id, id, sizeof *id) == 0 && (int)event->state == state)
            return event;
        peerchat_event_free(event);
    }
}

/* Checks that a list has one person, of this name and relation. */
static void check_only(peerchat_t *client, const char *name, peerchat_relation_t relation)
{
    peerchat_people_t *people;
    const peerchat_person_t *person;
    CHECK_OK(peerchat_contacts(client, &people));
    CHECK(peerchat_people_count(people) == 1);
    person = peerchat_people_at(people, 0);
    CHECK(person != NULL && strncmp(person->name, name, strlen(name)) == 0);
    CHECK(person->relation == relation && !person->is_verified && strlen(person->fingerprint) == 8);
    CHECK(peerchat_people_at(people, 1) == NULL);
    peerchat_people_free(people);
}

/* A stranger's message is a request, which is accepted; then reading it is told. Returns how Bob is to address Alice. */
static char *check_request(peerchat_t *alice, peerchat_t *bob)
{
    peerchat_message_id_t id = say(alice, "bob", "hello");
    peerchat_event_t *message = wait_for(bob, PEERCHAT_EVENT_MESSAGE);
    char *sender = malloc(strlen(message->name) + 1);
    CHECK(sender != NULL && message->is_request);
    strcpy(sender, message->name);
    check_only(bob, "alice", PEERCHAT_RELATION_REQUEST);
    check_only(alice, "bob", PEERCHAT_RELATION_CONTACT);
    CHECK_OK(peerchat_accept_contact(bob, sender));
    check_only(bob, "alice", PEERCHAT_RELATION_CONTACT);
    CHECK_OK(peerchat_mark_read(bob, &message->message_id));
    CHECK_STATUS(PEERCHAT_ERR_NOT_FOUND, peerchat_mark_read(bob, &id));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_mark_read(bob, NULL));
    peerchat_event_free(message);
    peerchat_event_free(wait_for_state(alice, &id, PEERCHAT_MESSAGE_READ));
    CHECK_STATUS(PEERCHAT_ERR_ALREADY_ENDED, peerchat_cancel(alice, &id));
    return sender;
}

/* Both are contacts: what one types the other sees, until the text is there. */
static void check_typing(peerchat_t *alice, peerchat_t *bob, const char *sender)
{
    peerchat_event_t *event;
    CHECK_OK(peerchat_set_typing(alice, "bob", true));
    event = wait_for(bob, PEERCHAT_EVENT_TYPING);
    CHECK(event->is_typing && strcmp(event->name, sender) == 0 && strlen(event->fingerprint) == 8);
    peerchat_event_free(event);
    say(alice, "bob", "this");
    event = wait_for(bob, PEERCHAT_EVENT_TYPING);
    CHECK(!event->is_typing && strlen(event->user_id) == 52);
    peerchat_event_free(event);
    event = wait_for(bob, PEERCHAT_EVENT_MESSAGE);
    CHECK(strcmp(event->text, "this") == 0 && !event->is_typing);
    peerchat_event_free(event);
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_set_typing(alice, "carol", true));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_set_typing(alice, "two words", true));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_set_typing(alice, NULL, true));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_set_typing(NULL, "bob", true));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_set_typing(alice, "\xff", true));
}

static void check_block(peerchat_t *alice, peerchat_t *bob, const char *sender)
{
    peerchat_message_id_t id;
    peerchat_event_t *event;
    CHECK_OK(peerchat_block(bob, sender));
    check_only(bob, "alice", PEERCHAT_RELATION_BLOCKED);
    id = say(alice, "bob", "are you there?");
    event = wait_for_state(alice, &id, PEERCHAT_MESSAGE_FAILED);
    CHECK(event->code == PEERCHAT_ERR_BLOCKED_BY_RECIPIENT && event->detail[0] != '\0');
    peerchat_event_free(event);
    CHECK_STATUS(PEERCHAT_ERR_BLOCKED, peerchat_send(bob, sender, "no", 2, &id));
    CHECK_STATUS(PEERCHAT_ERR_BLOCKED, peerchat_add_contact(bob, sender));
    CHECK_STATUS(PEERCHAT_ERR_BLOCKED, peerchat_set_typing(bob, sender, true));
    CHECK_OK(peerchat_unblock(bob, sender));
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_accept_contact(bob, sender));
    CHECK_OK(peerchat_add_contact(bob, sender));
    check_only(bob, "alice", PEERCHAT_RELATION_CONTACT);
    CHECK_OK(peerchat_remove_contact(bob, sender));
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_block(bob, "nobody"));
}

/* To somebody who is nowhere: one message is taken back, one lives too short. */
static void check_cancel_and_lifetime(peerchat_t *alice)
{
    peerchat_message_id_t id;
    peerchat_message_state_t state;
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_send_for(alice, "carol", "hi", 2, 999, &id));
    CHECK_OK(peerchat_send_for(alice, "carol", "hi", 2, 60000, &id));
    CHECK_OK(peerchat_cancel(alice, &id));
    peerchat_event_free(wait_for_state(alice, &id, PEERCHAT_MESSAGE_CANCELED));
    CHECK_OK(peerchat_message_state(alice, &id, &state));
    CHECK(state == PEERCHAT_MESSAGE_CANCELED);
    CHECK_OK(peerchat_send_for(alice, "carol", "hi", 2, 1000, &id));
    peerchat_event_free(wait_for_state(alice, &id, PEERCHAT_MESSAGE_EXPIRED));
}

int main(void)
{
    peerchat_t *alice = loopback_client("alice");
    peerchat_t *bob = loopback_client("bob");
    char *sender;
    join(bob, alice);
    peerchat_event_free(wait_for(bob, PEERCHAT_EVENT_REGISTERED));
    peerchat_event_free(wait_for(alice, PEERCHAT_EVENT_REGISTERED));

    sender = check_request(alice, bob);
    check_typing(alice, bob, sender);
    check_block(alice, bob, sender);
    check_cancel_and_lifetime(alice);

    CHECK(peerchat_people_count(NULL) == 0 && peerchat_people_at(NULL, 0) == NULL);
    peerchat_people_free(NULL);
    free(sender);
    peerchat_destroy(bob);
    peerchat_destroy(alice);
    return 0;
}
