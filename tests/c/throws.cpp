// A callback that throws ends the program by SIGABRT: this one is expected not to return.
#include <stdint.h>

#include "peerchat.h"

static void throw_it(void *, const peerchat_event_t *)
{
    throw 1;
}

int main()
{
    peerchat_options_t *options;
    peerchat_t *client;
    uint64_t command;
    if (peerchat_options_new(&options) != PEERCHAT_OK || peerchat_options_set_in_memory(options) != PEERCHAT_OK ||
        peerchat_options_set_bind(options, "127.0.0.1:0") != PEERCHAT_OK ||
        peerchat_create(options, &client) != PEERCHAT_OK ||
        peerchat_set_callback(client, throw_it, nullptr) != PEERCHAT_OK ||
        peerchat_bootstrap(client, "127.0.0.1:1", &command) != PEERCHAT_OK)
        return 2;
    try {
        peerchat_dispatch(client, PEERCHAT_WAIT_FOREVER);
    } catch (int) {
        return 3;
    }
    return 4;
}
