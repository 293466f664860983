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

/* Both know each other: the same number on both sides, a mark that stays, and history by name and fingerprint. */
static void check_people(peerchat_t *alice, peerchat_t *bob)
{
    peerchat_person_t *found, *known;
    char *numbers[2], *claimants, *exact;
    size_t digits = 0, i;

    CHECK_OK(peerchat_lookup_wait(alice, "Bob", &found, &claimants));
    CHECK(claimants[0] == '\0');
    CHECK(strcmp(found->name, "bob") == 0 && found->addresses[0] != '\0' && strlen(found->node_id) == 64);
    exact = malloc(strlen(found->fingerprint) + 5);
    CHECK(exact != NULL);
    sprintf(exact, "bob#%s", found->fingerprint);

    CHECK_OK(peerchat_safety_number(alice, exact, &numbers[0]));
    CHECK_OK(peerchat_safety_number(bob, "alice", &numbers[1]));
    CHECK(strcmp(numbers[0], numbers[1]) == 0);
    for (i = 0; numbers[0][i] != '\0'; i++)
        digits += numbers[0][i] != ' ';
    CHECK(digits == 60);

    CHECK_OK(peerchat_set_verified(alice, "bob", true));
    CHECK_OK(peerchat_identity(alice, exact, &known));
    CHECK(known->is_verified && strcmp(known->user_id, found->user_id) == 0 && known->rival_user_id[0] == '\0');
    peerchat_person_free(known);
    CHECK(peerchat_identity(alice, "carol", &known) == PEERCHAT_ERR_NOT_MET);
    CHECK(peerchat_accept_identity(alice, "bob", found->user_id) == PEERCHAT_ERR_IDENTITY_NOT_SEEN);
    CHECK(peerchat_accept_identity(alice, "bob", "nonsense") == PEERCHAT_ERR_INVALID_ARGUMENT);
    CHECK(peerchat_lookup_wait(alice, "nobody", &known, NULL) == PEERCHAT_ERR_UNKNOWN_RECIPIENT);

    free(exact);
    peerchat_string_free(claimants);
    peerchat_string_free(numbers[0]);
    peerchat_string_free(numbers[1]);
    peerchat_person_free(found);
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

    check_people(alice, bob);

    peerchat_destroy(bob);
    peerchat_destroy(alice);
    return 0;
}
