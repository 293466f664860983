/* Creates, uses and destroys clients in memory: cycles COUNT. Fails if they leave memory behind. */
#include "check.h"

/* Far less than a client that stays takes, some hundred KiB; more than what a fragmented heap does. */
#define LIMIT_KIB_PER_CLIENT 8

static void cycle(void)
{
    peerchat_t *client = loopback_client("alice");
    uint64_t command;
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ADDRESS, peerchat_bootstrap(client, "no-port", &command));
    say(client, "bob", "hello");
    peerchat_destroy(client);
}

/* Returns what the process holds in memory; 0 where the system does not tell. */
static long resident_kib(void)
{
    char line[200];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL)
        return 0;
    while (fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    fclose(status);
    return kib;
}

int main(int argc, char **argv)
{
    long count, i, before, growth;
    CHECK(argc == 2);
    count = strtol(argv[1], NULL, 10);
    /* The first ones also fill the pools of the allocator. */
    for (i = 0; i < count && i < 1000; i++)
        cycle();
    before = resident_kib();
    for (i = 0; i < count; i++)
        cycle();
    growth = resident_kib() - before;
    printf("C: %ld clients left %ld KiB behind\n", count, growth);
    CHECK(growth <= LIMIT_KIB_PER_CLIENT * count);
    return 0;
}
