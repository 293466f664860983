/*
 * Every status that a program can bring about, and that each comes with words. A second argument leaves out what takes tens of
 * thousands of calls.
 */
#include "check.h"

static const char BAD_UTF8[] = "\xff\xfe";

/* The outputs must stay as they are when a call fails. */
static peerchat_t *const UNTOUCHED = (peerchat_t *)&BAD_UTF8;

static void nothing_failed_yet(void)
{
    CHECK(peerchat_last_error()[0] == '\0');
    CHECK(strcmp(peerchat_status_name(PEERCHAT_ERR_CLOSED), "PEERCHAT_ERR_CLOSED") == 0);
    CHECK(strcmp(peerchat_status_name(PEERCHAT_NO_EVENT), "PEERCHAT_NO_EVENT") == 0);
    CHECK(strcmp(peerchat_status_name(12345), "PEERCHAT_UNKNOWN") == 0);
}

static void null_pointers(peerchat_t *client)
{
    peerchat_options_t *options = loopback_options(NULL);
    peerchat_message_id_t id;
    peerchat_message_state_t state;
    peerchat_event_t *event;
    peerchat_t *other = UNTOUCHED;
    uint64_t command;
    char *string;
    bool exists;
    int fd;
    memset(&id, 0, sizeof id);

    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_new(NULL));
    CHECK(strstr(peerchat_last_error(), "out_options") != NULL);
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_data_dir(options, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_data_dir(NULL, "x"));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_in_memory(NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_user(options, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_user(NULL, "alice"));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_network(options, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_network(NULL, "x"));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_bind(options, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_bind(NULL, "127.0.0.1:0"));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_port(NULL, 0));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_k(NULL, 1));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_alpha(NULL, 1));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_options_set_message_lifetime_ms(NULL, 1));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_create(NULL, &other));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_create(options, NULL));
    CHECK(other == UNTOUCHED);
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_close(NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_bootstrap(NULL, "127.0.0.1:1", &command));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_bootstrap(client, NULL, &command));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_bootstrap(client, "127.0.0.1:1", NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_fd(NULL, &fd));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_fd(client, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_local_address(NULL, &string));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_local_address(client, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_node_key(NULL, &string));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_node_key(client, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_node_id(NULL, &string));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_node_id(client, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_user_name(NULL, &string));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_user_name(client, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_user_id(NULL, &string));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_user_id(client, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_user_fingerprint(NULL, &string));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_user_fingerprint(client, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_profile_exists(NULL, "alice", &exists));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_profile_exists("x", NULL, &exists));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_profile_exists("x", "alice", NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_send(NULL, "bob", "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_send(client, NULL, "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_send(client, "bob", NULL, 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_send(client, "bob", NULL, 0, &id));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_send(client, "bob", "x", 1, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_message_state(NULL, &id, &state));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_message_state(client, NULL, &state));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_message_state(client, &id, NULL));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_poll(NULL, 0, &event));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_poll(client, 0, NULL));
    peerchat_options_free(options);
}

static void bad_utf8(peerchat_t *client)
{
    peerchat_options_t *options = loopback_options(NULL);
    peerchat_message_id_t id;
    uint64_t command;
    bool exists;
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_options_set_data_dir(options, BAD_UTF8));
    CHECK(strstr(peerchat_last_error(), "data_dir") != NULL);
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_options_set_user(options, BAD_UTF8));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_options_set_network(options, BAD_UTF8));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_options_set_bind(options, BAD_UTF8));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_bootstrap(client, BAD_UTF8, &command));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_profile_exists(BAD_UTF8, "alice", &exists));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_profile_exists("x", BAD_UTF8, &exists));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_send(client, BAD_UTF8, "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_send(client, "bob", BAD_UTF8, 2, &id));
    /* Half a character at the end. */
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_send(client, "bob", "\xc3\xbc", 1, &id));
    peerchat_options_free(options);
}

static void bad_options(void)
{
    static const char LONG_NAME[] = "abcdefghijklmnopqrstuvwxyz0123456";
    peerchat_options_t *options = loopback_options(NULL);
    peerchat_t *client = UNTOUCHED;
    char network[66];
    memset(network, 'n', sizeof network);
    network[65] = '\0';

    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_options_set_user(options, ""));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_options_set_user(options, "two words"));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_options_set_user(options, LONG_NAME));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ADDRESS, peerchat_options_set_bind(options, ""));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ADDRESS, peerchat_options_set_bind(options, "127.0.0.1"));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ADDRESS, peerchat_options_set_bind(options, "127.0.0.1:65536"));

    CHECK_OK(peerchat_options_set_k(options, 0));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_create(options, &client));
    CHECK_OK(peerchat_options_set_k(options, 21));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_create(options, &client));
    CHECK_OK(peerchat_options_set_k(options, 4));
    CHECK_OK(peerchat_options_set_alpha(options, 5));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_create(options, &client));
    CHECK_OK(peerchat_options_set_alpha(options, 4));
    CHECK_OK(peerchat_options_set_network(options, ""));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_create(options, &client));
    CHECK_OK(peerchat_options_set_network(options, network));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_create(options, &client));
    CHECK_OK(peerchat_options_set_network(options, "lab"));
    CHECK_OK(peerchat_options_set_message_lifetime_ms(options, 0));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_create(options, &client));
    CHECK_OK(peerchat_options_set_message_lifetime_ms(options, 1));
    CHECK_OK(peerchat_options_set_data_dir(options, ""));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_create(options, &client));
    peerchat_options_free(options);

    CHECK_OK(peerchat_options_new(&options));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_create(options, &client));
    CHECK(strstr(peerchat_last_error(), "data directory") != NULL);
    CHECK(client == UNTOUCHED);
    peerchat_options_free(options);
}

static void bad_calls(peerchat_t *client)
{
    char text[PEERCHAT_MAX_TEXT_LEN + 1];
    peerchat_message_id_t id;
    peerchat_message_state_t state;
    uint32_t holder_count;
    uint64_t command;
    memset(text, 'x', sizeof text);
    memset(&id, 0xee, sizeof id);

    CHECK_STATUS(PEERCHAT_ERR_INVALID_ADDRESS, peerchat_bootstrap(client, "", &command));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ADDRESS, peerchat_bootstrap(client, "no-port", &command));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ADDRESS, peerchat_bootstrap(client, "nokey@127.0.0.1:1", &command));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_send(client, "", "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_send(client, "two words", "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_send(client, "bob#short", "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_EMPTY_TEXT, peerchat_send(client, "bob", "", 0, &id));
    CHECK_STATUS(PEERCHAT_ERR_TEXT_TOO_LONG, peerchat_send(client, "bob", text, sizeof text, &id));
    /* Refused by its length alone: nothing behind the pointer is read. */
    CHECK_STATUS(PEERCHAT_ERR_TEXT_TOO_LONG, peerchat_send(client, "bob", text, SIZE_MAX, &id));
    CHECK_STATUS(PEERCHAT_ERR_NOT_FOUND, peerchat_message_state(client, &id, &state));
    CHECK_STATUS(PEERCHAT_ERR_NOT_FOUND, peerchat_message_holders(client, &id, &holder_count));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_message_holders(client, &id, NULL));
    CHECK_OK(peerchat_send(client, "bob", text, PEERCHAT_MAX_TEXT_LEN, &id));
    CHECK_OK(peerchat_message_state(client, &id, &state));
    CHECK(state == PEERCHAT_MESSAGE_QUEUED);
}

static void success_leaves_the_last_error_alone(peerchat_t *client)
{
    char words[200];
    char *key;
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_close(NULL));
    CHECK(strlen(peerchat_last_error()) < sizeof words);
    strcpy(words, peerchat_last_error());
    CHECK_OK(peerchat_node_key(client, &key));
    peerchat_string_free(key);
    CHECK(strcmp(peerchat_last_error(), words) == 0);
}

static void a_node_has_no_user(void)
{
    peerchat_t *node = loopback_client(NULL);
    peerchat_message_id_t id;
    char *string;
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_user_name(node, &string));
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_user_id(node, &string));
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_user_fingerprint(node, &string));
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_send(node, "bob", "x", 1, &id));
    peerchat_destroy(node);
}

static void a_port_is_taken(peerchat_t *holder)
{
    peerchat_options_t *options = loopback_options(NULL);
    peerchat_t *second;
    char *address;
    CHECK_OK(peerchat_local_address(holder, &address));
    CHECK_OK(peerchat_options_set_bind(options, address));
    CHECK_STATUS(PEERCHAT_ERR_ADDRESS_IN_USE, peerchat_create(options, &second));
    CHECK(strstr(peerchat_last_error(), address) != NULL);
    /* An address of the documentation (RFC 5737) is not one of this machine. */
    CHECK_OK(peerchat_options_set_bind(options, "192.0.2.1:0"));
    CHECK_STATUS(PEERCHAT_ERR_NETWORK, peerchat_create(options, &second));
    peerchat_string_free(address);
    peerchat_options_free(options);
}

static void a_profile_is_open_once(const char *dir)
{
    peerchat_options_t *options = loopback_options("alice");
    peerchat_t *first, *second;
    bool exists;
    CHECK_OK(peerchat_options_set_data_dir(options, dir));
    CHECK_OK(peerchat_profile_exists(dir, "alice", &exists));
    CHECK(!exists);
    CHECK_OK(peerchat_create(options, &first));
    CHECK_STATUS(PEERCHAT_ERR_PROFILE_IN_USE, peerchat_create(options, &second));
    peerchat_destroy(first);
    CHECK_OK(peerchat_profile_exists(dir, "ALICE", &exists));
    CHECK(exists);
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_profile_exists(dir, "", &exists));
    CHECK_OK(peerchat_create(options, &first));
    peerchat_destroy(first);

    /* A file is no directory. */
    CHECK_OK(peerchat_options_set_data_dir(options, "/dev/null/profiles"));
    CHECK_STATUS(PEERCHAT_ERR_STORAGE, peerchat_create(options, &second));
    peerchat_options_free(options);
}

/* Opens a profile, lets go of it, and writes these bytes at this place of its file, which is SQLite's. */
static void spoil(peerchat_options_t *options, const char *file, long place, const void *bytes, size_t len)
{
    peerchat_t *client;
    FILE *profile;
    CHECK_OK(peerchat_create(options, &client));
    peerchat_destroy(client);
    profile = fopen(file, "r+b");
    CHECK(profile != NULL);
    CHECK(fseek(profile, place, SEEK_SET) == 0);
    CHECK(fwrite(bytes, 1, len, profile) == len);
    CHECK(fclose(profile) == 0);
}

static void a_spoilt_profile_is_refused(const char *dir)
{
    static const unsigned char VERSION[] = {0x7f, 0xff, 0xff, 0xff};
    static const char *const USERS[] = {"newer", "damaged"};
    peerchat_options_t *options = loopback_options(NULL);
    peerchat_t *client;
    char file[2][4096];
    int i;
    CHECK_OK(peerchat_options_set_data_dir(options, dir));
    for (i = 0; i < 2; i++)
        CHECK(snprintf(file[i], sizeof file[i], "%s/user-%s.db", dir, USERS[i]) < (int)sizeof file[i]);

    /* The user version is at offset 60 of the file. */
    CHECK_OK(peerchat_options_set_user(options, USERS[0]));
    spoil(options, file[0], 60, VERSION, sizeof VERSION);
    CHECK_STATUS(PEERCHAT_ERR_PROFILE_TOO_NEW, peerchat_create(options, &client));
    CHECK_OK(peerchat_options_set_user(options, USERS[1]));
    spoil(options, file[1], 0, "This is not a database.", 23);
    CHECK_STATUS(PEERCHAT_ERR_PROFILE_DAMAGED, peerchat_create(options, &client));
    CHECK(strstr(peerchat_last_error(), file[1]) != NULL);
    peerchat_options_free(options);
}

static void an_outbox_is_full_some_time(void)
{
    peerchat_t *alice = loopback_client("alice");
    peerchat_message_id_t id;
    peerchat_status_t status = PEERCHAT_OK;
    long count;
    for (count = 0; status == PEERCHAT_OK && count < 1000000; count++)
        status = peerchat_send(alice, "bob", "x", 1, &id);
    check_status(__FILE__, __LINE__, "peerchat_send", PEERCHAT_ERR_OUTBOX_FULL, status);
    CHECK_STATUS(PEERCHAT_ERR_OUTBOX_FULL, peerchat_send_async(alice, "bob", "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_OUTBOX_FULL, peerchat_send_for(alice, "bob", "x", 1, 1000, &id));
    peerchat_destroy(alice);
}

static void an_unreachable_bootstrap_is_an_event(peerchat_t *client)
{
    uint64_t command;
    peerchat_event_t *event;
    /* Port 1 of the loopback: nobody is there. */
    CHECK_OK(peerchat_bootstrap(client, "127.0.0.1:1", &command));
    event = wait_for(client, PEERCHAT_EVENT_BOOTSTRAP_FAILED);
    CHECK(event->command_id == command);
    CHECK(event->code == PEERCHAT_ERR_UNREACHABLE);
    CHECK(strcmp(event->address, "127.0.0.1:1") == 0);
    CHECK(event->detail[0] != '\0');
    peerchat_event_free(event);
}

static void a_wrong_key_is_an_event(peerchat_t *client)
{
    peerchat_t *host = loopback_client(NULL);
    peerchat_t *other = loopback_client(NULL);
    char *address, *key, pinned[200];
    uint64_t command;
    peerchat_event_t *event;
    CHECK_OK(peerchat_local_address(host, &address));
    CHECK_OK(peerchat_node_key(other, &key));
    sprintf(pinned, "%s@%s", key, address);
    CHECK_OK(peerchat_bootstrap(client, pinned, &command));
    event = wait_for(client, PEERCHAT_EVENT_BOOTSTRAP_FAILED);
    CHECK(event->command_id == command);
    CHECK(event->code == PEERCHAT_ERR_WRONG_KEY);
    peerchat_event_free(event);
    peerchat_string_free(address);
    peerchat_string_free(key);
    peerchat_destroy(other);
    peerchat_destroy(host);
}

/* Nobody goes by this name: the message is given up, and says why. */
static void an_unknown_recipient_is_an_event(void)
{
    peerchat_t *alice = loopback_client("alice");
    peerchat_t *node = loopback_client(NULL);
    peerchat_message_id_t id;
    peerchat_event_t *event;
    join(alice, node);
    id = say(alice, "nobody", "hello?");
    event = wait_for_end_of(alice, &id);
    CHECK(event->state == PEERCHAT_MESSAGE_FAILED);
    CHECK(event->code == PEERCHAT_ERR_UNKNOWN_RECIPIENT);
    CHECK(strcmp(event->name, "nobody") == 0);
    CHECK(event->detail[0] != '\0');
    peerchat_event_free(event);
    peerchat_destroy(alice);
    peerchat_destroy(node);
}

static void a_message_expires(void)
{
    peerchat_options_t *options = loopback_options("alice");
    peerchat_t *alice;
    peerchat_message_id_t id;
    peerchat_event_t *event;
    CHECK_OK(peerchat_options_set_message_lifetime_ms(options, 1));
    CHECK_OK(peerchat_create(options, &alice));
    peerchat_options_free(options);
    id = say(alice, "bob", "now or never");
    event = wait_for_end_of(alice, &id);
    CHECK(event->state == PEERCHAT_MESSAGE_EXPIRED);
    CHECK(event->code == PEERCHAT_ERR_EXPIRED);
    peerchat_event_free(event);
    peerchat_destroy(alice);
}

static void a_closed_client_says_so(peerchat_t *client)
{
    peerchat_message_id_t id = say(client, "bob", "the last word");
    peerchat_message_state_t state;
    peerchat_event_t *event;
    uint64_t command;
    int fd;
    CHECK_OK(peerchat_close(client));
    CHECK_OK(peerchat_close(client));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_send(client, "bob", "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_bootstrap(client, "127.0.0.1:1", &command));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_poll(client, 0, &event));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_poll(client, PEERCHAT_WAIT_FOREVER, &event));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_message_state(client, &id, &state));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_fd(client, &fd));
    peerchat_destroy(client);
}

int main(int argc, char **argv)
{
    const char *dir = data_dir(argc, argv);
    peerchat_t *client;
    peerchat_event_t *event;

    nothing_failed_yet();
    bad_options();
    client = loopback_client("alice");
    null_pointers(client);
    bad_utf8(client);
    bad_calls(client);
    success_leaves_the_last_error_alone(client);
    a_node_has_no_user();
    a_port_is_taken(client);
    a_profile_is_open_once(dir);
    a_spoilt_profile_is_refused(dir);
    if (argc == 2)
        an_outbox_is_full_some_time();
    an_unreachable_bootstrap_is_an_event(client);
    a_wrong_key_is_an_event(client);
    an_unknown_recipient_is_an_event();
    a_message_expires();
    while (peerchat_poll(client, 0, &event) == PEERCHAT_OK)
        peerchat_event_free(event);
    CHECK_STATUS(PEERCHAT_NO_EVENT, peerchat_poll(client, 0, &event));
    a_closed_client_says_so(client);
    return 0;
}
