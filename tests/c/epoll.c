/* One epoll loop serves 50 clients by their descriptors: each writes to the next one, and nobody else waits. */
#include <sys/epoll.h>
#include <unistd.h>

#include "check.h"

enum { CLIENTS = 50 };

static peerchat_t *clients[CLIENTS];
static int registered, received, delivered;

static void name_of(int number, char name[16])
{
    sprintf(name, "user%d", number);
}

static void take(int number, const peerchat_event_t *event)
{
    char expected[16];
    switch (event->kind) {
    case PEERCHAT_EVENT_REGISTERED:
        registered++;
        break;
    case PEERCHAT_EVENT_MESSAGE:
        name_of((number + CLIENTS - 1) % CLIENTS, expected);
        CHECK(strcmp(event->text, expected) == 0);
        received++;
        break;
    case PEERCHAT_EVENT_MESSAGE_STATE:
        CHECK(event->state <= PEERCHAT_MESSAGE_DELIVERED);
        delivered += event->state == PEERCHAT_MESSAGE_DELIVERED;
        break;
    case PEERCHAT_EVENT_BOOTSTRAP_FAILED:
    case PEERCHAT_EVENT_REGISTRATION_FAILED:
    case PEERCHAT_EVENT_CLOSED:
        fprintf(stderr, "client %d: event %d, %s\n", number, (int)event->kind, event->detail);
        exit(1);
    default:
        break;
    }
}

/* Level-triggered: whoever is named as readable has an event, and is named again until there is none. */
static void serve_once(int poller)
{
    struct epoll_event ready[CLIENTS];
    int i, count = epoll_wait(poller, ready, CLIENTS, PATIENCE_MS);
    CHECK(count > 0);
    for (i = 0; i < count; i++) {
        peerchat_event_t *event;
        CHECK_OK(peerchat_poll(clients[ready[i].data.u32], 0, &event));
        take((int)ready[i].data.u32, event);
        peerchat_event_free(event);
    }
}

static void watch(int poller, int number)
{
    struct epoll_event wanted;
    int fd, again;
    CHECK_OK(peerchat_fd(clients[number], &fd));
    CHECK_OK(peerchat_fd(clients[number], &again));
    CHECK(fd == again);
    memset(&wanted, 0, sizeof wanted);
    wanted.events = EPOLLIN;
    wanted.data.u32 = (uint32_t)number;
    CHECK(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &wanted) == 0);
}

int main(void)
{
    int poller = epoll_create1(0), i;
    char name[16], next[16], *address;
    uint64_t command;
    peerchat_message_id_t id;
    CHECK(poller >= 0);
    for (i = 0; i < CLIENTS; i++) {
        name_of(i, name);
        clients[i] = loopback_client(name);
        watch(poller, i);
    }
    CHECK_OK(peerchat_local_address(clients[0], &address));
    for (i = 1; i < CLIENTS; i++)
        CHECK_OK(peerchat_bootstrap(clients[i], address, &command));
    peerchat_string_free(address);
    while (registered < CLIENTS)
        serve_once(poller);
    for (i = 0; i < CLIENTS; i++) {
        name_of(i, name);
        name_of((i + 1) % CLIENTS, next);
        CHECK_OK(peerchat_send_async(clients[i], next, name, strlen(name), &id));
    }
    while (received < CLIENTS || delivered < CLIENTS)
        serve_once(poller);
    CHECK(received == CLIENTS && delivered == CLIENTS);
    for (i = 0; i < CLIENTS; i++)
        peerchat_destroy(clients[i]);
    CHECK(close(poller) == 0);
    return 0;
}
