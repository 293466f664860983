/* Performs tests/scenario.md: scenario DIRECTORY COUNT. */
#include "check.h"

#define BATCH 1500
/* In step 9. */
#define NETWORKS 3

static const char GREETING[] = "gr\xc3\xbc\xc3\x9f"
                               "e \xf0\x9f\x99\x82";

static const char *directory;
static long message_count;
static peerchat_t *node, *alice, *bob;
static char *alice_id, *alice_key;
static peerchat_message_id_t first_id, last_id;

/* A string that the library gave, on the stack of the caller, so that nothing has to be freed. */
typedef struct {
    char text[256];
} text_t;

static text_t taken(peerchat_status_t status, char *string)
{
    text_t text;
    CHECK_OK(status);
    CHECK(strlen(string) < sizeof text.text);
    strcpy(text.text, string);
    peerchat_string_free(string);
    return text;
}

static text_t address_of(peerchat_t *client)
{
    char *string = NULL;
    peerchat_status_t status = peerchat_local_address(client, &string);
    return taken(status, string);
}

static text_t key_of(peerchat_t *client)
{
    char *string = NULL;
    peerchat_status_t status = peerchat_node_key(client, &string);
    return taken(status, string);
}

static text_t id_of(peerchat_t *client)
{
    char *string = NULL;
    peerchat_status_t status = peerchat_user_id(client, &string);
    return taken(status, string);
}

/* Opens a person's profile in the directory; `address` NULL lets the system choose a port. */
static peerchat_status_t try_person(const char *name, const char *address, const char *passphrase, peerchat_t **out)
{
    peerchat_options_t *options = loopback_options(name);
    peerchat_status_t status;
    CHECK_OK(peerchat_options_set_data_dir(options, directory));
    if (address != NULL)
        CHECK_OK(peerchat_options_set_bind(options, address));
    CHECK_OK(peerchat_options_set_passphrase(options, passphrase));
    status = peerchat_create(options, out);
    peerchat_options_free(options);
    return status;
}

static peerchat_t *person(const char *name, const char *address)
{
    peerchat_t *client;
    CHECK_OK(try_person(name, address, NULL, &client));
    return client;
}

static peerchat_status_t try_node(const char *address, peerchat_t **out)
{
    peerchat_options_t *options = loopback_options(NULL);
    peerchat_status_t status;
    CHECK_OK(peerchat_options_set_bind(options, address));
    status = peerchat_create(options, out);
    peerchat_options_free(options);
    return status;
}

static void expect_text(peerchat_t *client, const char *text, uint64_t number)
{
    peerchat_event_t *event = wait_for(client, PEERCHAT_EVENT_MESSAGE);
    CHECK(event->text_len == strlen(text) && strcmp(event->text, text) == 0);
    CHECK(event->number == number);
    peerchat_event_free(event);
}

static void expect_end(peerchat_t *client, peerchat_message_id_t id, peerchat_message_state_t state,
                       peerchat_status_t code)
{
    peerchat_event_t *event = wait_for_end_of(client, &id);
    CHECK(event->state == state && event->code == code);
    CHECK((event->detail[0] != '\0') == (code != PEERCHAT_OK));
    peerchat_event_free(event);
}

static void expect_delivered(peerchat_t *client, peerchat_message_id_t id)
{
    expect_end(client, id, PEERCHAT_MESSAGE_DELIVERED, PEERCHAT_OK);
}

static void open_all(void)
{
    char *string;
    bool exists;
    node = loopback_client(NULL);
    alice = person("alice", NULL);
    bob = person("bob", NULL);
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_user_name(node, &string));
    CHECK_OK(peerchat_user_id(alice, &alice_id));
    CHECK_OK(peerchat_node_key(alice, &alice_key));
    CHECK(strlen(alice_id) == 52);
    CHECK_OK(peerchat_user_fingerprint(alice, &string));
    CHECK(strlen(string) == 8 && strncmp(alice_id, string, 8) == 0);
    peerchat_string_free(string);
    CHECK_OK(peerchat_profile_exists(directory, "alice", &exists));
    CHECK(exists);
    CHECK_OK(peerchat_profile_exists(directory, "carol", &exists));
    CHECK(!exists);
}

static void join_at(peerchat_t *client, const char *address)
{
    char *id;
    uint64_t command;
    peerchat_event_t *event;
    CHECK_OK(peerchat_node_id(node, &id));
    CHECK_OK(peerchat_bootstrap(client, address, &command));
    event = wait_for(client, PEERCHAT_EVENT_BOOTSTRAPPED);
    CHECK(event->command_id == command && strcmp(event->node_id, id) == 0);
    peerchat_event_free(event);
    peerchat_string_free(id);
}

static void bootstrap(void)
{
    char address[600];
    sprintf(address, "%s@%s", key_of(node).text, address_of(node).text);
    join_at(alice, address);
    join_at(bob, address_of(node).text);
}

static void expect_registered(peerchat_t *client, const char *name)
{
    peerchat_event_t *event = wait_for(client, PEERCHAT_EVENT_REGISTERED);
    CHECK(strcmp(event->name, name) == 0 && strcmp(event->user_id, id_of(client).text) == 0);
    peerchat_event_free(event);
}

static void register_both(void)
{
    expect_registered(alice, "alice");
    expect_registered(bob, "bob");
}

static void find(void)
{
    peerchat_person_t *found;
    CHECK_OK(peerchat_lookup_wait(bob, "Alice", &found, NULL));
    CHECK(strcmp(found->name, "alice") == 0 && strcmp(found->user_id, alice_id) == 0);
    peerchat_person_free(found);
}

/* Checks that the latest messages of Alice's history with Bob are these; `is_all` that there are no others. */
static void expect_history(const char *const texts[], size_t count, bool is_all)
{
    peerchat_history_t *page;
    size_t i;
    CHECK_OK(peerchat_history(alice, "bob", 0, is_all ? count + 1 : count, &page));
    CHECK(page->count == count);
    for (i = 0; i < count; i++)
        CHECK(strcmp(page->entries[i]->text, texts[i]) == 0);
    peerchat_history_free(page);
}

static const char *const TALK[] = {"hello", GREETING};

static void talk(void)
{
    peerchat_message_state_t state;
    peerchat_event_t *event;
    first_id = say(alice, "bob", GREETING);
    event = wait_for(bob, PEERCHAT_EVENT_MESSAGE);
    CHECK(strcmp(event->text, GREETING) == 0 && event->number == 1);
    CHECK(strcmp(event->name, "alice") == 0 && strcmp(event->user_id, alice_id) == 0);
    peerchat_event_free(event);
    expect_delivered(alice, first_id);
    CHECK_OK(peerchat_message_state(alice, &first_id, &state));
    CHECK(state == PEERCHAT_MESSAGE_DELIVERED);
    say(bob, "alice", "hello");
    expect_text(alice, "hello", 1);
    expect_history(TALK, 2, true);
}

static void trust(void)
{
    char *numbers[2];
    size_t digit_count = 0, i;
    peerchat_person_t *known;
    CHECK_OK(peerchat_safety_number(alice, "bob", &numbers[0]));
    CHECK_OK(peerchat_safety_number(bob, "alice", &numbers[1]));
    CHECK(strcmp(numbers[0], numbers[1]) == 0);
    for (i = 0; numbers[0][i] != '\0'; i++)
        digit_count += numbers[0][i] != ' ';
    CHECK(digit_count == 60);
    peerchat_string_free(numbers[0]);
    peerchat_string_free(numbers[1]);
    CHECK_OK(peerchat_set_verified(alice, "bob", true));
    CHECK_OK(peerchat_identity(alice, "bob", &known));
    CHECK(known->is_verified);
    peerchat_person_free(known);
}

static void restart(void)
{
    text_t address = address_of(alice);
    peerchat_destroy(alice);
    alice = person("alice", address.text);
    CHECK(strcmp(id_of(alice).text, alice_id) == 0 && strcmp(key_of(alice).text, alice_key) == 0);
    expect_history(TALK, 2, true);
    peerchat_event_free(wait_for(alice, PEERCHAT_EVENT_ONLINE));
    say(alice, "bob", "back again");
    expect_text(bob, "back again", 2);
}

static void move(void)
{
    peerchat_t *stranger;
    peerchat_message_id_t id;
    peerchat_event_t *typing;
    text_t address = address_of(alice);
    peerchat_destroy(alice);
    CHECK_OK(try_node(address.text, &stranger));
    alice = person("alice", NULL);
    id = say(bob, "alice", "where are you?");
    expect_text(alice, "where are you?", 2);
    expect_delivered(bob, id);
    CHECK_OK(peerchat_set_typing(alice, "bob", true));
    typing = wait_for(bob, PEERCHAT_EVENT_TYPING);
    CHECK(typing->is_typing && strcmp(typing->name, "alice") == 0);
    peerchat_event_free(typing);
    peerchat_destroy(stranger);
}

static void bad_calls(void)
{
    static char text[PEERCHAT_MAX_TEXT_LEN + 1];
    peerchat_options_t *options = loopback_options(NULL);
    peerchat_message_id_t id;
    peerchat_message_state_t state;
    peerchat_t *client;
    uint64_t command;
    char *string;
    memset(text, 'x', sizeof text);
    memset(&id, 0xee, sizeof id);
    CHECK_OK(peerchat_options_set_k(options, 0));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_create(options, &client));
    peerchat_options_free(options);
    CHECK_STATUS(PEERCHAT_ERR_NOT_FOUND, peerchat_message_state(alice, &id, &state));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_NAME, peerchat_send(alice, "two words", "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ADDRESS, peerchat_bootstrap(alice, "no-port", &command));
    CHECK_STATUS(PEERCHAT_ERR_EMPTY_TEXT, peerchat_send(alice, "bob", "", 0, &id));
    CHECK_STATUS(PEERCHAT_ERR_TEXT_TOO_LONG, peerchat_send(alice, "bob", text, sizeof text, &id));
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_send(node, "bob", "x", 1, &id));
    CHECK_STATUS(PEERCHAT_ERR_NOT_MET, peerchat_safety_number(alice, "carol", &string));
    CHECK_STATUS(PEERCHAT_ERR_ALREADY_ENDED, peerchat_cancel(alice, &first_id));
    CHECK_STATUS(PEERCHAT_ERR_IDENTITY_NOT_SEEN, peerchat_accept_identity(alice, "bob", alice_id));
    CHECK_STATUS(PEERCHAT_ERR_ADDRESS_IN_USE, try_node(address_of(node).text, &client));
    CHECK_STATUS(PEERCHAT_ERR_NETWORK, try_node("192.0.2.1:0", &client));
    CHECK(peerchat_last_error()[0] != '\0');
}

/* Writes these bytes at this place of a new profile's file, which is then refused with `status`. */
static void spoil(const char *name, long place, const void *bytes, size_t len, peerchat_status_t status)
{
    char path[4096];
    FILE *profile;
    peerchat_t *client;
    peerchat_destroy(person(name, NULL));
    CHECK(snprintf(path, sizeof path, "%s/user-%s.db", directory, name) < (int)sizeof path);
    profile = fopen(path, "r+b");
    CHECK(profile != NULL && fseek(profile, place, SEEK_SET) == 0);
    CHECK(fwrite(bytes, 1, len, profile) == len && fclose(profile) == 0);
    CHECK_STATUS(status, try_person(name, NULL, NULL, &client));
}

static void bad_profiles(void)
{
    const char *here = directory;
    peerchat_t *client;
    CHECK_STATUS(PEERCHAT_ERR_PROFILE_IN_USE, try_person("alice", NULL, NULL, &client));
    directory = "/dev/null/profiles";
    CHECK_STATUS(PEERCHAT_ERR_STORAGE, try_person("alice", NULL, NULL, &client));
    directory = here;
    spoil("newer", 60, "\x7f\xff\xff\xff", 4, PEERCHAT_ERR_PROFILE_TOO_NEW);
    spoil("damaged", 0, "This is not a database.", 23, PEERCHAT_ERR_PROFILE_DAMAGED);
    CHECK_OK(try_person("secret", NULL, "open sesame", &client));
    peerchat_destroy(client);
    CHECK_STATUS(PEERCHAT_ERR_WRONG_PASSPHRASE, try_person("secret", NULL, NULL, &client));
}

/* Changes every bit of the byte at this place. */
static void flip(const char *path, long place)
{
    FILE *file = fopen(path, "r+b");
    int byte;
    CHECK(file != NULL && fseek(file, place, SEEK_SET) == 0);
    byte = fgetc(file);
    CHECK(byte != EOF && fseek(file, place, SEEK_SET) == 0);
    CHECK(fputc(byte ^ 0xff, file) != EOF && fclose(file) == 0);
}

static void bad_archives(void)
{
    char archive[4096], new_dir[4096], *user;
    bool exists;
    CHECK(snprintf(archive, sizeof archive, "%s/alice.peerchat", directory) < (int)sizeof archive);
    CHECK(snprintf(new_dir, sizeof new_dir, "%s/new", directory) < (int)sizeof new_dir);
    CHECK_OK(peerchat_export(alice, archive, "open sesame"));
    CHECK_STATUS(PEERCHAT_ERR_ARCHIVE_PASSPHRASE, peerchat_import(archive, "sesame", new_dir, NULL, &user));
    CHECK_STATUS(PEERCHAT_ERR_PROFILE_EXISTS, peerchat_import(archive, "open sesame", directory, NULL, &user));
    flip(archive, 200);
    CHECK_STATUS(PEERCHAT_ERR_ARCHIVE_DAMAGED, peerchat_import(archive, "open sesame", new_dir, NULL, &user));
    flip(archive, 200);
    flip(archive, 8);
    CHECK_STATUS(PEERCHAT_ERR_ARCHIVE_TOO_NEW, peerchat_import(archive, "open sesame", new_dir, NULL, &user));
    CHECK_OK(peerchat_profile_exists(new_dir, "alice", &exists));
    CHECK(!exists);
}

static void expect_bootstrap_failure(const char *address, peerchat_status_t code)
{
    uint64_t command;
    peerchat_event_t *event;
    CHECK_OK(peerchat_bootstrap(alice, address, &command));
    event = wait_for(alice, PEERCHAT_EVENT_BOOTSTRAP_FAILED);
    CHECK(event->command_id == command && event->code == code && event->detail[0] != '\0');
    peerchat_event_free(event);
}

static void failures_of_the_network(void)
{
    peerchat_t *other = loopback_client("alice"), *stranger = loopback_client(NULL);
    peerchat_person_t *found;
    peerchat_event_t *event;
    char address[600];
    CHECK_STATUS(PEERCHAT_ERR_UNKNOWN_RECIPIENT, peerchat_lookup_wait(alice, "nobody", &found, NULL));
    expect_end(alice, say(alice, "nobody", "hello?"), PEERCHAT_MESSAGE_FAILED, PEERCHAT_ERR_UNKNOWN_RECIPIENT);
    expect_bootstrap_failure("127.0.0.1:1", PEERCHAT_ERR_UNREACHABLE);
    sprintf(address, "%s@%s", key_of(stranger).text, address_of(node).text);
    expect_bootstrap_failure(address, PEERCHAT_ERR_WRONG_KEY);
    join(other, node);
    event = wait_for(other, PEERCHAT_EVENT_REGISTRATION_FAILED);
    CHECK(event->code == PEERCHAT_ERR_NAME_TAKEN && strcmp(event->user_id, alice_id) == 0);
    peerchat_event_free(event);
    peerchat_destroy(stranger);
    peerchat_destroy(other);
}

static void failures_of_the_lonely(void)
{
    peerchat_options_t *options = loopback_options("lone");
    peerchat_person_t *found;
    peerchat_message_id_t id;
    peerchat_status_t status = PEERCHAT_OK;
    peerchat_t *lone;
    long count;
    CHECK_OK(peerchat_options_set_message_lifetime_ms(options, 1));
    CHECK_OK(peerchat_create(options, &lone));
    peerchat_options_free(options);
    expect_end(lone, say(lone, "bob", "now or never"), PEERCHAT_MESSAGE_EXPIRED, PEERCHAT_ERR_EXPIRED);
    peerchat_destroy(lone);

    lone = loopback_client("lone");
    CHECK_STATUS(PEERCHAT_ERR_TIMED_OUT, peerchat_lookup_wait(lone, "bob", &found, NULL));
    for (count = 0; status == PEERCHAT_OK && count < 1000000; count++)
        status = peerchat_send(lone, "bob", "x", 1, &id);
    CHECK_STATUS(PEERCHAT_ERR_OUTBOX_FULL, status);
    CHECK_OK(peerchat_close(lone));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_send(lone, "bob", "x", 1, &id));
    peerchat_destroy(lone);
}

/* Networks that know nothing of one another, each with its alice, and somebody who joins them all. The reader does not serve:
   else they would soon be one network, which settles whose the name is. */
static void a_contested_name(void)
{
    peerchat_options_t *options = loopback_options("reader");
    peerchat_t *reader, *nodes[NETWORKS], *alices[NETWORKS];
    peerchat_person_t *found;
    char *claimants;
    int i;
    CHECK_OK(peerchat_options_set_serve(options, PEERCHAT_SERVE_NEVER));
    CHECK_OK(peerchat_create(options, &reader));
    peerchat_options_free(options);
    for (i = 0; i < NETWORKS; i++) {
        nodes[i] = loopback_client(NULL);
        alices[i] = loopback_client("alice");
        join(alices[i], nodes[i]);
        expect_registered(alices[i], "alice");
    }
    for (i = 0; i < NETWORKS; i++)
        join(reader, nodes[i]);
    CHECK_STATUS(PEERCHAT_ERR_NAME_CONTESTED, peerchat_lookup_wait(reader, "alice", &found, &claimants));
    CHECK(strstr(claimants, "alice#") != NULL);
    peerchat_string_free(claimants);
    for (i = 0; i < NETWORKS; i++) {
        peerchat_destroy(nodes[i]);
        peerchat_destroy(alices[i]);
    }
    peerchat_destroy(reader);
}

static void errors(void)
{
    bad_calls();
    bad_profiles();
    bad_archives();
    failures_of_the_network();
    failures_of_the_lonely();
    a_contested_name();
}

static void many_messages(void)
{
    char text[64];
    long first, i;
    for (first = 1; first <= message_count; first += BATCH) {
        for (i = first; i < first + BATCH && i <= message_count; i++) {
            sprintf(text, "message %ld", i);
            last_id = say(alice, "bob", text);
        }
        for (i = first; i < first + BATCH && i <= message_count; i++) {
            sprintf(text, "message %ld", i);
            /* Two messages were sent before. */
            expect_text(bob, text, (uint64_t)i + 2);
        }
    }
    expect_delivered(alice, last_id);
}

static void mail(void)
{
    peerchat_event_t *event;
    peerchat_destroy(bob);
    last_id = say(alice, "bob", "for later");
    do {
        event = wait_for(alice, PEERCHAT_EVENT_MESSAGE_STATE);
        if (event->state == PEERCHAT_MESSAGE_STORED)
            break;
        peerchat_event_free(event);
    } while (true);
    CHECK(memcmp(&event->message_id, &last_id, sizeof last_id) == 0 && event->held_by >= 1);
    peerchat_event_free(event);
    peerchat_destroy(alice);
    bob = person("bob", NULL);
    expect_text(bob, "for later", (uint64_t)message_count + 3);
    alice = person("alice", NULL);
    expect_delivered(alice, last_id);
}

static void block(void)
{
    peerchat_people_t *people;
    peerchat_event_t *event;
    peerchat_message_id_t id;
    CHECK_OK(peerchat_block(bob, "alice"));
    CHECK_STATUS(PEERCHAT_ERR_BLOCKED, peerchat_send(bob, "alice", "no", 2, &id));
    expect_end(alice, say(alice, "bob", "are you there?"), PEERCHAT_MESSAGE_FAILED, PEERCHAT_ERR_BLOCKED_BY_RECIPIENT);
    CHECK_OK(peerchat_unblock(bob, "alice"));
    last_id = say(alice, "bob", "once more");
    event = wait_for(bob, PEERCHAT_EVENT_MESSAGE);
    CHECK(strcmp(event->text, "once more") == 0 && event->is_request);
    peerchat_event_free(event);
    expect_delivered(alice, last_id);
    CHECK_OK(peerchat_accept_contact(bob, "alice"));
    CHECK_OK(peerchat_contacts(bob, &people));
    CHECK(peerchat_people_count(people) == 1);
    CHECK(strcmp(peerchat_people_at(people, 0)->user_id, alice_id) == 0);
    CHECK(peerchat_people_at(people, 0)->relation == PEERCHAT_RELATION_CONTACT);
    peerchat_people_free(people);
}

static void end(void)
{
    static const char *const LATEST[] = {"once more"};
    peerchat_message_id_t id;
    peerchat_message_state_t state;
    CHECK_OK(peerchat_close(alice));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_send(alice, "bob", "x", 1, &id));
    peerchat_destroy(alice);
    peerchat_destroy(bob);
    peerchat_destroy(node);
    alice = person("alice", NULL);
    CHECK_OK(peerchat_message_state(alice, &last_id, &state));
    CHECK(state == PEERCHAT_MESSAGE_DELIVERED);
    expect_history(LATEST, 1, false);
    peerchat_destroy(alice);
    peerchat_string_free(alice_id);
    peerchat_string_free(alice_key);
}

int main(int argc, char **argv)
{
    static void (*const STEPS[])(void) = {open_all, bootstrap, register_both, find, talk,  trust, restart,
                                          move,     errors,    many_messages, mail, block, end};
    size_t i;
    CHECK(argc == 3);
    directory = argv[1];
    message_count = strtol(argv[2], NULL, 10);
    for (i = 0; i < sizeof STEPS / sizeof STEPS[0]; i++) {
        STEPS[i]();
        printf("step %lu ok\n", (unsigned long)(i + 1));
        fflush(stdout);
    }
    return 0;
}
