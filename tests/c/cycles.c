/*
 * Creates, uses and destroys clients over and over: what one leaves behind would add up. The argument is how often; with a
 * second one, nothing is measured, for a tool that finds leaks by itself and takes memory of its own.
 */
#include "check.h"

/* Before this many, buffers and thread pools are still being warmed up. */
enum { WARM_UP = 50 };

/* What may come on top however often: arenas of malloc(3) and stacks that are kept for the next thread. */
static const long SLACK_KIB = 8 * 1024;

/* Resident memory in KiB, as Linux tells. */
static long resident_kib(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long kib = -1;
    CHECK(status != NULL);
    while (kib < 0 && fgets(line, sizeof line, status) != NULL)
        sscanf(line, "VmRSS: %ld kB", &kib);
    CHECK(fclose(status) == 0 && kib > 0);
    return kib;
}

static void cycle(void)
{
    peerchat_t *client = loopback_client("alice");
    peerchat_message_id_t id;
    peerchat_message_state_t state;
    peerchat_history_t *page;
    peerchat_event_t *event;
    char *key;
    uint64_t command;
    int fd;
    CHECK_OK(peerchat_fd(client, &fd));
    id = say(client, "bob", "hello");
    CHECK_OK(peerchat_message_state(client, &id, &state));
    CHECK_OK(peerchat_history(client, "bob", 0, 10, &page));
    CHECK(page->count == 1);
    peerchat_history_free(page);
    CHECK_OK(peerchat_node_key(client, &key));
    peerchat_string_free(key);
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ADDRESS, peerchat_bootstrap(client, "nowhere", &command));
    CHECK_STATUS(PEERCHAT_NO_EVENT, peerchat_poll(client, 0, &event));
    peerchat_destroy(client);
}

int main(int argc, char **argv)
{
    long count, i, before = 0, after;
    CHECK(argc >= 2);
    count = strtol(argv[1], NULL, 10);
    CHECK(count > (argc == 2 ? WARM_UP : 0));
    for (i = 0; i < count; i++) {
        if (i == WARM_UP)
            before = resident_kib();
        cycle();
    }
    if (argc > 2)
        return 0;
    after = resident_kib();
    printf("%ld clients: %ld KiB after %d of them, %ld KiB at the end\n", count, before, (int)WARM_UP, after);
    CHECK(after - before < SLACK_KIB);
    return 0;
}
