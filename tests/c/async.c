/* Sending without waiting for the disk: the id comes at once, and an event tells that the message is saved. */
#include "check.h"

enum { MESSAGES = 200 };

static peerchat_message_id_t ids[MESSAGES];

static int number_of(const peerchat_event_t *event)
{
    int i;
    for (i = 0; i < MESSAGES; i++)
        if (memcmp(&event->message_id, &ids[i], sizeof ids[i]) == 0)
            return i;
    return -1;
}

/* Nobody else is there: each message is queued, is told so once, and can be asked for from then on. */
static void each_is_told_to_be_saved(void)
{
    peerchat_t *alice = loopback_client("alice");
    int told[MESSAGES], count = 0, i;
    memset(told, 0, sizeof told);
    for (i = 0; i < MESSAGES; i++)
        CHECK_OK(peerchat_send_async(alice, "bob", "hello", 5, &ids[i]));
    while (count < MESSAGES) {
        peerchat_event_t *event = wait_for(alice, PEERCHAT_EVENT_MESSAGE_STATE);
        peerchat_message_state_t state;
        i = number_of(event);
        CHECK(i >= 0 && !told[i]);
        CHECK(event->state == PEERCHAT_MESSAGE_QUEUED);
        CHECK(event->code == PEERCHAT_OK && strcmp(event->name, "bob") == 0);
        CHECK_OK(peerchat_message_state(alice, &ids[i], &state));
        CHECK(state == PEERCHAT_MESSAGE_QUEUED);
        told[i] = 1;
        count++;
        peerchat_event_free(event);
    }
    peerchat_destroy(alice);
}

/* They arrive once and in order, and no state goes back. */
static void all_arrive_in_order(void)
{
    peerchat_t *alice = loopback_client("alice"), *bob = loopback_client("bob");
    peerchat_message_state_t states[MESSAGES];
    int delivered = 0, i;
    join(bob, alice);
    memset(states, 0, sizeof states);
    for (i = 0; i < MESSAGES; i++) {
        char text[16];
        sprintf(text, "%d", i);
        CHECK_OK(peerchat_send_async(alice, "bob", text, strlen(text), &ids[i]));
    }
    for (i = 0; i < MESSAGES; i++) {
        peerchat_event_t *event = wait_for(bob, PEERCHAT_EVENT_MESSAGE);
        CHECK(atoi(event->text) == i && event->number == (uint64_t)i + 1);
        peerchat_event_free(event);
    }
    while (delivered < MESSAGES) {
        peerchat_event_t *event = wait_for(alice, PEERCHAT_EVENT_MESSAGE_STATE);
        i = number_of(event);
        CHECK(i >= 0 && event->state > states[i]);
        states[i] = event->state;
        delivered += event->state == PEERCHAT_MESSAGE_DELIVERED;
        peerchat_event_free(event);
    }
    peerchat_destroy(bob);
    peerchat_destroy(alice);
}

static void what_is_wrong_is_refused_at_once(void)
{
    peerchat_t *alice = loopback_client("alice"), *node = loopback_client(NULL);
    static char text[PEERCHAT_MAX_TEXT_LEN + 1];
    memset(text, 'x', sizeof text);
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_send_async(NULL, "bob", "x", 1, &ids[0]));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_send_async(alice, NULL, "x", 1, &ids[0]));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_send_async(alice, "bob", NULL, 1, &ids[0]));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_send_async(alice, "bob", "x", 1, NULL));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_send_async(alice, "bob", "\xff", 1, &ids[0]));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_send_async(alice, "two words", "x", 1, &ids[0]));
    CHECK_STATUS(PEERCHAT_ERR_EMPTY_TEXT, peerchat_send_async(alice, "bob", "", 0, &ids[0]));
    CHECK_STATUS(PEERCHAT_ERR_TEXT_TOO_LONG, peerchat_send_async(alice, "bob", text, sizeof text, &ids[0]));
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_send_async(node, "bob", "x", 1, &ids[0]));
    CHECK_OK(peerchat_close(alice));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_send_async(alice, "bob", "x", 1, &ids[0]));
    peerchat_destroy(node);
    peerchat_destroy(alice);
}

int main(void)
{
    each_is_told_to_be_saved();
    all_arrive_in_order();
    what_is_wrong_is_refused_at_once();
    return 0;
}
