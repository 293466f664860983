/* History page by page, statistics for old and new programs, and the log. */
#include <pthread.h>

#include "check.h"

enum { MESSAGES = 25, PAGE = 10 };

/* Walks back through the conversation, and checks that each page joins the one before. */
static void check_pages(peerchat_t *client, const char *peer, bool is_own)
{
    uint64_t before = 0;
    int expected = MESSAGES;
    for (;;) {
        peerchat_history_t *page;
        size_t i;
        CHECK_OK(peerchat_history(client, peer, before, PAGE, &page));
        CHECK(page->struct_size >= sizeof *page && page->entries != NULL);
        CHECK(page->count == (size_t)(expected < PAGE ? expected : PAGE));
        for (i = 0; i < page->count; i++) {
            const peerchat_history_entry_t *entry = page->entries[i];
            CHECK(entry->struct_size >= sizeof *entry);
            CHECK(atoi(entry->text) == --expected && entry->text_len == strlen(entry->text));
            CHECK(strcmp(entry->peer, peer) == 0);
            CHECK(before == 0 || entry->position < before);
            CHECK(entry->is_own == is_own && entry->held_by == 0);
            CHECK(entry->state == (is_own ? PEERCHAT_MESSAGE_DELIVERED : PEERCHAT_MESSAGE_NONE));
            CHECK(entry->sent_unix_ms > 0 && entry->received_unix_ms > 0);
            before = entry->position;
        }
        i = page->count;
        peerchat_history_free(page);
        if (i < PAGE)
            break;
    }
    CHECK(expected == 0);
}

static void check_history(peerchat_t *alice, peerchat_t *bob)
{
    peerchat_history_t *page;
    peerchat_message_id_t id;
    peerchat_event_t *event;
    int i;
    for (i = 0; i < MESSAGES; i++) {
        char text[16];
        sprintf(text, "%d", i);
        id = say(alice, "bob", text);
        event = wait_for(bob, PEERCHAT_EVENT_MESSAGE);
        peerchat_event_free(event);
    }
    event = wait_for_end_of(alice, &id);
    peerchat_event_free(event);
    check_pages(alice, "bob", true);
    check_pages(bob, "alice", false);

    CHECK_OK(peerchat_history(alice, "bob", 0, 1000000, &page));
    CHECK(page->count == MESSAGES);
    CHECK(memcmp(&page->entries[0]->message_id, &id, sizeof id) == 0);
    peerchat_history_free(page);
    CHECK_OK(peerchat_history(alice, "carol", 0, PAGE, &page));
    CHECK(page->count == 0);
    peerchat_history_free(page);
    peerchat_history_free(NULL);
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_history(NULL, "bob", 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_history(alice, NULL, 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_history(alice, "bob", 0, PAGE, NULL));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_history(alice, "\xff", 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_history(alice, "two words", 0, PAGE, &page));
}

static size_t count_found(peerchat_t *client, const char *words, const char *peer, uint64_t before, size_t limit)
{
    peerchat_history_t *page;
    size_t count;
    CHECK_OK(peerchat_search(client, words, peer, before, limit, &page));
    count = page->count;
    peerchat_history_free(page);
    return count;
}

/* The conversation holds the numbers 0 to 24, one in each message. */
static void check_search(peerchat_t *alice)
{
    peerchat_history_t *page;
    uint64_t position;
    CHECK_OK(peerchat_search(alice, "1*", NULL, 0, 4, &page));
    CHECK(page->count == 4 && strcmp(page->entries[0]->text, "19") == 0);
    CHECK(strcmp(page->entries[3]->text, "16") == 0 && strcmp(page->entries[0]->peer, "bob") == 0);
    position = page->entries[3]->position;
    peerchat_history_free(page);
    CHECK(count_found(alice, "1*", "bob", position, PAGE) == 7);
    CHECK(count_found(alice, "1", NULL, 0, PAGE) == 1);
    CHECK(count_found(alice, "1 2", NULL, 0, PAGE) == 0);
    CHECK(count_found(alice, "1*", "carol", 0, PAGE) == 0);
    CHECK(count_found(alice, "\"1\"* AND (", NULL, 0, PAGE) == 0);
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_search(alice, "", NULL, 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_search(alice, "*\"", NULL, 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_search(NULL, "1", NULL, 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_search(alice, NULL, NULL, 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_search(alice, "1", NULL, 0, PAGE, NULL));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_search(alice, "\xff", NULL, 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_search(alice, "1", "\xff", 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_search(alice, "1", "two words", 0, PAGE, &page));
}

static void check_statistics(peerchat_t *client)
{
    peerchat_statistics_t statistics, *known;
    struct {
        peerchat_statistics_t statistics;
        uint64_t later[2];
    } newer;
    memset(&newer, 0xee, sizeof newer);
    CHECK_OK(peerchat_statistics(client, &statistics, sizeof statistics));
    CHECK(statistics.contact_count == 1 && statistics.link_count > 0 && statistics.outbox_count == 0);
    CHECK(statistics.datagrams_sent > 0 && statistics.bytes_received > statistics.datagrams_received);
    CHECK(statistics.is_serving <= 1);

    /* A program that knows one member more gets 0 for it, and no byte beyond what it asked for changes. */
    known = &newer.statistics;
    CHECK_OK(peerchat_statistics(client, known, sizeof *known + sizeof newer.later[0]));
    CHECK(known->contact_count == 1 && newer.later[0] == 0 && newer.later[1] == UINT64_C(0xeeeeeeeeeeeeeeee));

    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_statistics(NULL, &statistics, sizeof statistics));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_statistics(client, NULL, sizeof statistics));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_statistics(client, &statistics, 0));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_statistics(client, &statistics, SIZE_MAX));
}

/* The library's threads log, so what they say is counted under a lock. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t log_changed = PTHREAD_COND_INITIALIZER;
static int line_count, names_in_log;

static void count_line(void *context, peerchat_log_level_t level, const char *line)
{
    pthread_mutex_lock(&log_lock);
    CHECK(context == &line_count);
    CHECK(level >= PEERCHAT_LOG_ERROR && level <= PEERCHAT_LOG_INFO && line[0] != '\0');
    line_count += strstr(line, "the node runs") != NULL;
    names_in_log += strstr(line, "carol") != NULL;
    pthread_cond_signal(&log_changed);
    pthread_mutex_unlock(&log_lock);
}

static void check_log(void)
{
    peerchat_t *carol;
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_log_set(6, count_line, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_log_set(PEERCHAT_LOG_INFO, NULL, NULL));
    CHECK_OK(peerchat_log_set(PEERCHAT_LOG_INFO, count_line, &line_count));
    carol = loopback_client("carol");
    pthread_mutex_lock(&log_lock);
    while (line_count == 0)
        pthread_cond_wait(&log_changed, &log_lock);
    pthread_mutex_unlock(&log_lock);
    CHECK_OK(peerchat_log_set(PEERCHAT_LOG_OFF, NULL, NULL));
    peerchat_destroy(carol);
    carol = loopback_client("carol");
    peerchat_destroy(carol);
    CHECK(line_count == 1 && names_in_log == 0);
}

int main(void)
{
    peerchat_t *alice = loopback_client("alice"), *bob = loopback_client("bob");
    peerchat_t *node = loopback_client(NULL);
    peerchat_history_t *page;
    peerchat_statistics_t statistics;
    join(bob, alice);
    /* Or one may meet the other before the network knows them, and show them with their fingerprint. */
    peerchat_event_free(wait_for(alice, PEERCHAT_EVENT_REGISTERED));
    peerchat_event_free(wait_for(bob, PEERCHAT_EVENT_REGISTERED));
    check_history(alice, bob);
    check_search(alice);
    check_statistics(alice);
    check_log();
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_history(node, "bob", 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_search(node, "1", NULL, 0, PAGE, &page));
    CHECK_OK(peerchat_close(alice));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_history(alice, "bob", 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_search(alice, "1", NULL, 0, PAGE, &page));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_statistics(alice, &statistics, sizeof statistics));
    peerchat_destroy(node);
    peerchat_destroy(bob);
    peerchat_destroy(alice);
    return 0;
}
