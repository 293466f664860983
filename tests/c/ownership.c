/* Who owns what: NULL is freed in peace, options and events outlive the client, strings are the caller's. */
#include <poll.h>

#include "check.h"

static void null_is_freed_in_peace(void)
{
    peerchat_destroy(NULL);
    peerchat_options_free(NULL);
    peerchat_event_free(NULL);
    peerchat_string_free(NULL);
}

static void options_serve_many_clients_and_can_go_first(void)
{
    peerchat_options_t *options = loopback_options(NULL);
    peerchat_t *first, *second;
    CHECK_OK(peerchat_create(options, &first));
    CHECK_OK(peerchat_create(options, &second));
    peerchat_options_free(options);
    peerchat_destroy(second);
    peerchat_destroy(first);
}

/* What is passed in is copied: the caller may change it at once. */
static void arguments_are_copied(void)
{
    char user[] = "alice", bind[] = "127.0.0.1:0", text[] = "hello";
    peerchat_options_t *options;
    peerchat_t *client;
    peerchat_message_id_t id;
    char *name;

    CHECK_OK(peerchat_options_new(&options));
    CHECK_OK(peerchat_options_set_in_memory(options));
    CHECK_OK(peerchat_options_set_user(options, user));
    CHECK_OK(peerchat_options_set_bind(options, bind));
    memset(user, 'x', sizeof user);
    memset(bind, 'x', sizeof bind);
    CHECK_OK(peerchat_create(options, &client));
    peerchat_options_free(options);

    CHECK_OK(peerchat_user_name(client, &name));
    CHECK(strcmp(name, "alice") == 0);
    /* The length counts, not a NUL. */
    CHECK_OK(peerchat_send(client, "bob", text, 4, &id));
    memset(text, 'x', sizeof text);
    peerchat_destroy(client);
    CHECK(strcmp(name, "alice") == 0);
    peerchat_string_free(name);
}

static void getters_give_strings(void)
{
    peerchat_t *client = loopback_client("Alice");
    char *address, *key, *node, *name, *user, *fingerprint;
    CHECK_OK(peerchat_close(client));
    CHECK_OK(peerchat_local_address(client, &address));
    CHECK_OK(peerchat_node_key(client, &key));
    CHECK_OK(peerchat_node_id(client, &node));
    CHECK_OK(peerchat_user_name(client, &name));
    CHECK_OK(peerchat_user_id(client, &user));
    CHECK_OK(peerchat_user_fingerprint(client, &fingerprint));
    peerchat_destroy(client);
    CHECK(strncmp(address, "127.0.0.1:", 10) == 0 && strcmp(address, "127.0.0.1:0") != 0);
    CHECK(strlen(key) == 52 && strlen(node) == 64 && strlen(user) == 52 && strlen(fingerprint) == 8);
    CHECK(strcmp(name, "alice") == 0);
    CHECK(strncmp(user, fingerprint, 8) == 0);
    peerchat_string_free(address);
    peerchat_string_free(key);
    peerchat_string_free(node);
    peerchat_string_free(name);
    peerchat_string_free(user);
    peerchat_string_free(fingerprint);
}

static void an_event_outlives_its_client(void)
{
    peerchat_t *alice = loopback_client("alice");
    peerchat_t *bob = loopback_client("bob");
    peerchat_event_t *event;
    join(bob, alice);
    say(bob, "alice", "keep this");
    event = wait_for(alice, PEERCHAT_EVENT_MESSAGE);
    peerchat_destroy(alice);
    peerchat_destroy(bob);
    CHECK(event->struct_size == sizeof *event);
    CHECK(strcmp(event->text, "keep this") == 0);
    CHECK(event->detail[0] == '\0' && event->address[0] == '\0' && event->node_id[0] == '\0');
    peerchat_event_free(event);
}

static int is_readable(int fd)
{
    struct pollfd entry;
    entry.fd = fd;
    entry.events = POLLIN;
    CHECK(poll(&entry, 1, 0) >= 0);
    return (entry.revents & POLLIN) != 0;
}

/* The descriptor is readable exactly while an event waits. */
static void the_descriptor_follows_the_queue(void)
{
    peerchat_t *alice = loopback_client("alice");
    peerchat_t *bob = loopback_client("bob");
    peerchat_event_t *event;
    struct pollfd entry;
    int again;
    entry.events = POLLIN;
    CHECK_OK(peerchat_fd(alice, &entry.fd));
    CHECK_OK(peerchat_fd(alice, &again));
    CHECK(entry.fd == again);
    join(bob, alice);
    CHECK(poll(&entry, 1, PATIENCE_MS) == 1);
    while (is_readable(entry.fd)) {
        CHECK_OK(peerchat_poll(alice, 0, &event));
        peerchat_event_free(event);
    }
    say(bob, "alice", "wake up");
    CHECK(poll(&entry, 1, PATIENCE_MS) == 1);
    CHECK_OK(peerchat_poll(alice, 0, &event));
    peerchat_event_free(event);
    peerchat_destroy(alice);
    peerchat_destroy(bob);
}

int main(void)
{
    null_is_freed_in_peace();
    options_serve_many_clients_and_can_go_first();
    arguments_are_copied();
    getters_give_strings();
    an_event_outlives_its_client();
    the_descriptor_follows_the_queue();
    return 0;
}
