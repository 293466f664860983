/* A program of somebody else, who has nothing but what `make install` has put there. */
#include <peerchat.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *call)
{
    fprintf(stderr, "%s: %s\n", call, peerchat_last_error());
    return 1;
}

int main(void)
{
    peerchat_options_t *options;
    peerchat_t *client;
    peerchat_event_t *event;
    if (strcmp(peerchat_version(), PEERCHAT_VERSION) != 0)
        return failed("peerchat_version");
    if (peerchat_options_new(&options) != PEERCHAT_OK || peerchat_options_set_in_memory(options) != PEERCHAT_OK ||
        peerchat_options_set_bind(options, "127.0.0.1:0") != PEERCHAT_OK)
        return failed("peerchat_options");
    if (peerchat_create(options, &client) != PEERCHAT_OK)
        return failed("peerchat_create");
    peerchat_options_free(options);
    if (peerchat_poll(client, 0, &event) != PEERCHAT_NO_EVENT)
        return failed("peerchat_poll");
    peerchat_destroy(client);
    printf("peerchat %s works\n", peerchat_version());
    return 0;
}
