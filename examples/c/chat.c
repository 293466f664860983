/*
 * A chat of two people: chat <data-dir> <name> <peer> [bootstrap host:port]
 *
 * Each line of the standard input is sent to the peer; what arrives is printed as "peer: text". When the input ends,
 * the program ends as soon as everything it sent is delivered or given up. Ctrl-C ends it at once, and nothing is
 * lost: what was sent is on disk, and is delivered when the program runs again.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peerchat.h"

enum { MAX_UNFINISHED = 1000 };

static peerchat_message_id_t unfinished[MAX_UNFINISHED]; /* Sent here, neither delivered nor given up. */
static int unfinished_count;

static int fail(const char *what)
{
    fprintf(stderr, "chat: %s: %s\n", what, peerchat_last_error());
    return 1;
}

/* Sends the next line; returns 0 at the end of the input. */
static int send_line(peerchat_t *client, const char *peer)
{
    char line[4096];
    size_t len;
    if (fgets(line, sizeof line, stdin) == NULL)
        return 0;
    len = strcspn(line, "\n");
    if (len > 0 && peerchat_send(client, peer, line, len, &unfinished[unfinished_count]) == PEERCHAT_OK)
        unfinished_count++;
    else if (len > 0)
        fail("not sent");
    return 1;
}

static void show(const peerchat_event_t *event)
{
    int i;
    if (event->kind == PEERCHAT_EVENT_MESSAGE)
        printf("%s: %s\n", event->name, event->text);
    else if (event->kind == PEERCHAT_EVENT_REGISTERED)
        fprintf(stderr, "* %s is registered\n", event->name);
    else if (event->code != PEERCHAT_OK)
        fprintf(stderr, "* %s\n", event->detail);
    for (i = 0; event->kind == PEERCHAT_EVENT_MESSAGE_STATE && i < unfinished_count; i++)
        if (event->state >= PEERCHAT_MESSAGE_DELIVERED && !memcmp(&unfinished[i], &event->message_id, sizeof *unfinished))
            unfinished[i--] = unfinished[--unfinished_count];
}

static int chat(peerchat_t *client, const char *peer)
{
    struct pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {-1, POLLIN, 0}};
    int has_input = 1;
    setvbuf(stdin, NULL, _IONBF, 0); /* What stdio has read ahead, poll would not see. */
    if (peerchat_fd(client, &fds[1].fd) != PEERCHAT_OK)
        return fail("no descriptor");
    while (has_input || unfinished_count > 0) {
        peerchat_event_t *event;
        fds[0].fd = has_input && unfinished_count < MAX_UNFINISHED ? STDIN_FILENO : -1;
        if (poll(fds, 2, -1) > 0 && fds[0].fd >= 0 && fds[0].revents != 0)
            has_input = send_line(client, peer);
        for (; peerchat_poll(client, 0, &event) == PEERCHAT_OK; peerchat_event_free(event)) {
            show(event);
            if (event->kind == PEERCHAT_EVENT_CLOSED)
                return 1;
        }
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    peerchat_options_t *options = NULL;
    peerchat_t *client = NULL;
    uint64_t command;
    int code = 1;
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: chat <data-dir> <name> <peer> [bootstrap host:port]\n");
        return 2;
    }
    if (peerchat_options_new(&options) != PEERCHAT_OK
        || peerchat_options_set_data_dir(options, argv[1]) != PEERCHAT_OK
        || peerchat_options_set_user(options, argv[2]) != PEERCHAT_OK
        || peerchat_create(options, &client) != PEERCHAT_OK)
        fail("cannot start");
    else if (argc == 5 && peerchat_bootstrap(client, argv[4], &command) != PEERCHAT_OK)
        fail("cannot join");
    else
        code = chat(client, argv[3]);
    peerchat_options_free(options);
    peerchat_destroy(client);
    return code;
}
