/* A profile is exported into one file and imported from it: on another machine it is the same person and device. */
#include "check.h"

static char old_dir[4096], new_dir[4096], archive[4096];

static void name_paths(const char *dir)
{
    CHECK(snprintf(old_dir, sizeof old_dir, "%s/old", dir) < (int)sizeof old_dir);
    CHECK(snprintf(new_dir, sizeof new_dir, "%s/new", dir) < (int)sizeof new_dir);
    CHECK(snprintf(archive, sizeof archive, "%s/archive", dir) < (int)sizeof archive);
}

static peerchat_t *open_in(const char *dir, const char *passphrase)
{
    peerchat_options_t *options = loopback_options("alice");
    peerchat_t *client;
    CHECK_OK(peerchat_options_set_data_dir(options, dir));
    if (passphrase != NULL)
        CHECK_OK(peerchat_options_set_passphrase(options, passphrase));
    CHECK_OK(peerchat_create(options, &client));
    peerchat_options_free(options);
    return client;
}

/* Changes one byte of the archive, and back. */
static void flip(long place)
{
    FILE *file = fopen(archive, "r+b");
    int byte;
    CHECK(file != NULL && fseek(file, place, SEEK_SET) == 0);
    byte = fgetc(file);
    CHECK(byte != EOF && fseek(file, place, SEEK_SET) == 0);
    CHECK(fputc(byte ^ 1, file) != EOF && fclose(file) == 0);
}

static void wrong_exports(peerchat_t *client)
{
    peerchat_t *memory = loopback_client("bob"), *node = loopback_client(NULL);
    CHECK_STATUS(PEERCHAT_ERR_STORAGE, peerchat_export(client, archive, "open sesame"));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_export(memory, "unused", "open sesame"));
    CHECK_STATUS(PEERCHAT_ERR_NO_USER, peerchat_export(node, "unused", "open sesame"));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_ARGUMENT, peerchat_export(client, "unused", ""));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_export(NULL, "unused", "open sesame"));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_export(client, NULL, "open sesame"));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_export(client, "unused", NULL));
    CHECK_STATUS(PEERCHAT_ERR_INVALID_UTF8, peerchat_export(client, "\xff", "open sesame"));
    CHECK_OK(peerchat_close(memory));
    CHECK_STATUS(PEERCHAT_ERR_CLOSED, peerchat_export(memory, "unused", "open sesame"));
    peerchat_destroy(memory);
    peerchat_destroy(node);
}

static void wrong_imports(void)
{
    char *user = NULL;
    bool exists;
    CHECK_STATUS(PEERCHAT_ERR_ARCHIVE_PASSPHRASE, peerchat_import(archive, "sesame", new_dir, NULL, &user));
    flip(200);
    CHECK_STATUS(PEERCHAT_ERR_ARCHIVE_DAMAGED, peerchat_import(archive, "open sesame", new_dir, NULL, &user));
    flip(200);
    /* The upper byte of the version, which is 1: now it is far above. */
    flip(8);
    CHECK_STATUS(PEERCHAT_ERR_ARCHIVE_TOO_NEW, peerchat_import(archive, "open sesame", new_dir, NULL, &user));
    flip(8);
    CHECK_STATUS(PEERCHAT_ERR_STORAGE, peerchat_import(new_dir, "open sesame", new_dir, NULL, &user));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_import(NULL, "open sesame", new_dir, NULL, &user));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_import(archive, NULL, new_dir, NULL, &user));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_import(archive, "open sesame", NULL, NULL, &user));
    CHECK_STATUS(PEERCHAT_ERR_NULL_POINTER, peerchat_import(archive, "open sesame", new_dir, NULL, NULL));
    CHECK_STATUS(PEERCHAT_ERR_PROFILE_EXISTS, peerchat_import(archive, "open sesame", old_dir, NULL, &user));
    CHECK(user == NULL);
    CHECK_OK(peerchat_profile_exists(new_dir, "alice", &exists));
    CHECK(!exists);
}

int main(int argc, char **argv)
{
    peerchat_t *client;
    peerchat_message_id_t id;
    peerchat_message_state_t state;
    peerchat_history_t *page;
    char *before, *after, *user;
    name_paths(data_dir(argc, argv));

    client = open_in(old_dir, NULL);
    CHECK_OK(peerchat_user_id(client, &before));
    id = say(client, "bob", "hello");
    CHECK_OK(peerchat_export(client, archive, "open sesame"));
    wrong_exports(client);
    peerchat_destroy(client);
    wrong_imports();

    CHECK_OK(peerchat_import(archive, "open sesame", new_dir, "another", &user));
    CHECK(strcmp(user, "alice") == 0);
    peerchat_string_free(user);
    client = open_in(new_dir, "another");
    CHECK_OK(peerchat_user_id(client, &after));
    CHECK(strcmp(before, after) == 0);
    CHECK_OK(peerchat_message_state(client, &id, &state));
    CHECK(state == PEERCHAT_MESSAGE_QUEUED);
    CHECK_OK(peerchat_history(client, "bob", 0, 10, &page));
    CHECK(page->count == 1 && strcmp(page->entries[0]->text, "hello") == 0);
    peerchat_history_free(page);
    peerchat_string_free(before);
    peerchat_string_free(after);
    peerchat_destroy(client);
    return 0;
}
