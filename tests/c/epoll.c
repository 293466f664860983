/*
 * One epoll loop serves many clients by their descriptors: each writes to the next one, and nobody else waits. The argument is
 * how many, at most 50.
 */
#include <sys/epoll.h>
#include <unistd.h>

#include "check.h"

enum { MAX_CLIENTS = 50 };

/* How often all of them together may have to try again to join: a machine that does much else answers late. */
enum { MAX_ATTEMPTS = 20 };

static peerchat_t *clients[MAX_CLIENTS];
static char *address;
static int client_count, registered, received, delivered;

static void name_of(int number, char name[16])
{
    sprintf(name, "user%d", number);
}

static void join_first(int number)
{
    static int attempts;
    uint64_t command;
    CHECK(attempts++ < client_count + MAX_ATTEMPTS);
    CHECK_OK(peerchat_bootstrap(clients[number], address, &command));
}

static void take(int number, const peerchat_event_t *event)
{
    char expected[16];
    switch (event->kind) {
    case PEERCHAT_EVENT_REGISTERED:
        registered++;
        break;
    case PEERCHAT_EVENT_MESSAGE:
        name_of((number + client_count - 1) % client_count, expected);
        CHECK(strcmp(event->text, expected) == 0);
        received++;
        break;
    case PEERCHAT_EVENT_MESSAGE_STATE:
        CHECK(event->state <= PEERCHAT_MESSAGE_DELIVERED);
        delivered += event->state == PEERCHAT_MESSAGE_DELIVERED;
        break;
    case PEERCHAT_EVENT_BOOTSTRAP_FAILED:
        join_first(number);
        break;
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
    struct epoll_event ready[MAX_CLIENTS];
    int i, count = epoll_wait(poller, ready, MAX_CLIENTS, PATIENCE_MS);
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

int main(int argc, char **argv)
{
    int poller = epoll_create1(0), i;
    char name[16], next[16];
    peerchat_message_id_t id;
    CHECK(poller >= 0 && argc == 2);
    client_count = atoi(argv[1]);
    CHECK(client_count > 1 && client_count <= MAX_CLIENTS);
    for (i = 0; i < client_count; i++) {
        name_of(i, name);
        clients[i] = loopback_client(name);
        watch(poller, i);
    }
    CHECK_OK(peerchat_local_address(clients[0], &address));
    for (i = 1; i < client_count; i++)
        join_first(i);
    while (registered < client_count)
        serve_once(poller);
    for (i = 0; i < client_count; i++) {
        name_of(i, name);
        name_of((i + 1) % client_count, next);
        CHECK_OK(peerchat_send_async(clients[i], next, name, strlen(name), &id));
    }
    while (received < client_count || delivered < client_count)
        serve_once(poller);
    CHECK(received == client_count && delivered == client_count);
    for (i = 0; i < client_count; i++)
        peerchat_destroy(clients[i]);
    peerchat_string_free(address);
    CHECK(close(poller) == 0);
    return 0;
}
