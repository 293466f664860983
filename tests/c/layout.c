/* Sizes, offsets and numbers that programs were compiled with, and the two versions. Compiled as C99 and C++11. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "peerchat.h"

#define ASSERT(name, condition) typedef char assert_##name[(condition) ? 1 : -1]
#define OFFSET(member, offset) ASSERT(offset_of_##member, offsetof(peerchat_event_t, member) == (offset))

ASSERT(status, sizeof(peerchat_status_t) == 4);
ASSERT(state, sizeof(peerchat_message_state_t) == 4);
ASSERT(kind, sizeof(peerchat_event_kind_t) == 4);
ASSERT(message_id, sizeof(peerchat_message_id_t) == PEERCHAT_MESSAGE_ID_LEN);

/* New members come after the last one, so none of these ever changes. */
#if UINTPTR_MAX == UINT64_MAX
OFFSET(struct_size, 0);
OFFSET(kind, 4);
OFFSET(command_id, 8);
OFFSET(message_id, 16);
OFFSET(state, 32);
OFFSET(code, 36);
OFFSET(name, 40);
OFFSET(user_id, 48);
OFFSET(fingerprint, 56);
OFFSET(text, 64);
OFFSET(text_len, 72);
OFFSET(number, 80);
OFFSET(sent_unix_ms, 88);
OFFSET(received_unix_ms, 96);
OFFSET(node_id, 104);
OFFSET(address, 112);
OFFSET(detail, 120);
OFFSET(contact_count, 128);
OFFSET(old_user_id, 136);
OFFSET(old_fingerprint, 144);
OFFSET(claimants, 152);
OFFSET(held_by, 160);
OFFSET(is_request, 164);
OFFSET(is_typing, 165);
ASSERT(event, sizeof(peerchat_event_t) >= 168);
ASSERT(offset_of_is_verified, offsetof(peerchat_person_t, is_verified) == 4);
ASSERT(offset_of_person_name, offsetof(peerchat_person_t, name) == 8);
ASSERT(offset_of_relation, offsetof(peerchat_person_t, relation) == 56);
ASSERT(person, sizeof(peerchat_person_t) >= 64);
#endif

#if UINTPTR_MAX == UINT64_MAX
#define ENTRY(member, offset) ASSERT(entry_##member, offsetof(peerchat_history_entry_t, member) == (offset))
ENTRY(struct_size, 0);
ENTRY(state, 4);
ENTRY(message_id, 8);
ENTRY(position, 24);
ENTRY(peer, 32);
ENTRY(text, 40);
ENTRY(text_len, 48);
ENTRY(sent_unix_ms, 56);
ENTRY(received_unix_ms, 64);
ENTRY(held_by, 72);
ENTRY(is_own, 76);
ENTRY(is_request, 77);
ASSERT(history_count, offsetof(peerchat_history_t, count) == 8);
ASSERT(history_entries, offsetof(peerchat_history_t, entries) == 16);
#endif
/* All of its members have 8 bytes: the offset of one is its place in the list. */
ASSERT(statistics, sizeof(peerchat_statistics_t) >= 28 * 8);
ASSERT(contact_count, offsetof(peerchat_statistics_t, contact_count) == 0);
ASSERT(outbox_count, offsetof(peerchat_statistics_t, outbox_count) == 5 * 8);
ASSERT(mail_refused, offsetof(peerchat_statistics_t, mail_refused) == 10 * 8);
ASSERT(dropped, offsetof(peerchat_statistics_t, dropped) == 18 * 8);
ASSERT(refused_full, offsetof(peerchat_statistics_t, refused_full) == 27 * 8);
ASSERT(requests_refused, offsetof(peerchat_statistics_t, requests_refused) == 30 * 8);
ASSERT(is_surrounded, offsetof(peerchat_statistics_t, is_surrounded) == 31 * 8);
ASSERT(mail_refused_full, offsetof(peerchat_statistics_t, mail_refused_full) == 32 * 8);
ASSERT(work_given_up, offsetof(peerchat_statistics_t, work_given_up) == 36 * 8);
ASSERT(hints_dropped, offsetof(peerchat_statistics_t, hints_dropped) == 37 * 8);

ASSERT(wrong_mode, PEERCHAT_ERR_WRONG_MODE == -3);
ASSERT(log_levels, PEERCHAT_LOG_OFF == 0 && PEERCHAT_LOG_ERROR == 1 && PEERCHAT_LOG_WARN == 2);
ASSERT(log_details, PEERCHAT_LOG_INFO == 3 && PEERCHAT_LOG_DEBUG == 4 && PEERCHAT_LOG_TRACE == 5);
ASSERT(limits, PEERCHAT_MAX_HISTORY_PAGE == 1000 && PEERCHAT_MAX_TEXT_LEN == 16384);
ASSERT(ok, PEERCHAT_OK == 0 && PEERCHAT_NO_EVENT == 1);
ASSERT(null_pointer, PEERCHAT_ERR_NULL_POINTER == -1 && PEERCHAT_ERR_INVALID_UTF8 == -2);
ASSERT(argument, PEERCHAT_ERR_INVALID_ARGUMENT == -10 && PEERCHAT_ERR_INVALID_NAME == -11);
ASSERT(address_code, PEERCHAT_ERR_INVALID_ADDRESS == -12 && PEERCHAT_ERR_EMPTY_TEXT == -13);
ASSERT(text_code, PEERCHAT_ERR_TEXT_TOO_LONG == -14 && PEERCHAT_ERR_OUTBOX_FULL == -15);
ASSERT(not_found, PEERCHAT_ERR_NOT_FOUND == -16 && PEERCHAT_ERR_NO_USER == -17);
ASSERT(not_met, PEERCHAT_ERR_NOT_MET == -18 && PEERCHAT_ERR_IDENTITY_NOT_SEEN == -19);
ASSERT(blocked, PEERCHAT_ERR_BLOCKED == -20 && PEERCHAT_ERR_TOO_MANY_CONTACTS == -21);
ASSERT(ended, PEERCHAT_ERR_ALREADY_ENDED == -22 && PEERCHAT_ERR_BLOCKED_BY_RECIPIENT == -23);
ASSERT(closed, PEERCHAT_ERR_CLOSED == -30 && PEERCHAT_ERR_TIMED_OUT == -31);
ASSERT(profile, PEERCHAT_ERR_PROFILE_IN_USE == -40 && PEERCHAT_ERR_PROFILE_DAMAGED == -41);
ASSERT(storage, PEERCHAT_ERR_PROFILE_TOO_NEW == -42 && PEERCHAT_ERR_STORAGE == -43);
ASSERT(passphrase, PEERCHAT_ERR_WRONG_PASSPHRASE == -44 && PEERCHAT_ERR_ARCHIVE_DAMAGED == -45);
ASSERT(archive, PEERCHAT_ERR_ARCHIVE_PASSPHRASE == -46 && PEERCHAT_ERR_ARCHIVE_TOO_NEW == -47);
ASSERT(exists, PEERCHAT_ERR_PROFILE_EXISTS == -48);
ASSERT(network, PEERCHAT_ERR_ADDRESS_IN_USE == -50 && PEERCHAT_ERR_NETWORK == -51);
ASSERT(bootstrap, PEERCHAT_ERR_UNREACHABLE == -52 && PEERCHAT_ERR_WRONG_KEY == -53);
ASSERT(recipient, PEERCHAT_ERR_UNKNOWN_RECIPIENT == -60 && PEERCHAT_ERR_NAME_TAKEN == -61);
ASSERT(contested, PEERCHAT_ERR_NAME_CONTESTED == -62 && PEERCHAT_ERR_EXPIRED == -63);
ASSERT(internal, PEERCHAT_ERR_INTERNAL == -90);
ASSERT(states, PEERCHAT_MESSAGE_NONE == 0 && PEERCHAT_MESSAGE_QUEUED == 1 && PEERCHAT_MESSAGE_DELIVERED == 3);
ASSERT(stored, PEERCHAT_MESSAGE_STORED == 2);
ASSERT(final_states, PEERCHAT_MESSAGE_EXPIRED == 5 && PEERCHAT_MESSAGE_FAILED == 6);
ASSERT(later_states, PEERCHAT_MESSAGE_READ == 4 && PEERCHAT_MESSAGE_CANCELED == 7);
ASSERT(relations, PEERCHAT_RELATION_STRANGER == 0 && PEERCHAT_RELATION_REQUEST == 1);
ASSERT(more_relations, PEERCHAT_RELATION_CONTACT == 2 && PEERCHAT_RELATION_BLOCKED == 3);
ASSERT(kinds, PEERCHAT_EVENT_OTHER == 0 && PEERCHAT_EVENT_BOOTSTRAPPED == 1 && PEERCHAT_EVENT_CLOSED == 9);
ASSERT(people_kinds, PEERCHAT_EVENT_IDENTITY_CHANGED == 10 && PEERCHAT_EVENT_NAME_CONTESTED == 11);
ASSERT(typing_kind, PEERCHAT_EVENT_TYPING == 12);

int main(void)
{
    char version[32];
    sprintf(version, "%d.%d.%d", PEERCHAT_VERSION_MAJOR, PEERCHAT_VERSION_MINOR, PEERCHAT_VERSION_PATCH);
    if (strcmp(PEERCHAT_VERSION, peerchat_version()) != 0 || strcmp(version, peerchat_version()) != 0) {
        fprintf(stderr, "header %s (%s), library %s\n", PEERCHAT_VERSION, version, peerchat_version());
        return 1;
    }
    return 0;
}
