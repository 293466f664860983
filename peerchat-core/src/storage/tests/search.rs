//! Search over history, in both kinds of store, and what holds for the index on disk.

use std::fs;

use rusqlite::Connection;

use super::*;
use crate::user::ContentKind;

fn saying(text: &str, message: SavedMessage) -> SavedMessage {
    SavedMessage { body: text.as_bytes().to_vec(), ..message }
}

fn found(
    store: &Store,
    words: &str,
    conversation: Option<ConversationId>,
    before: Option<u64>,
    limit: usize,
) -> Vec<u64> {
    let query = Query::parse(words).unwrap();
    let found = store.search(&query, conversation, before, limit).unwrap();
    found
        .iter()
        .map(|(message, conversation)| {
            assert_eq!(message.conversation, conversation.id);
            message.position
        })
        .collect()
}

fn everywhere(store: &Store, words: &str) -> Vec<u64> {
    found(store, words, None, None, usize::MAX)
}

fn profile(store: &Store) -> &Profile {
    match &store.0 {
        Kind::Sqlite(profile) => profile,
        Kind::Memory(_) => unreachable!("this is a profile on disk"),
    }
}

/// Returns how many messages are in the index.
fn indexed(store: &Store) -> i64 {
    let sql = "SELECT count(*) FROM message_words_docsize";
    profile(store).read(|db| Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))?)).unwrap()
}

#[test]
fn texts_are_found_by_their_words_latest_first() {
    for_both(|store| {
        write(store, two_conversations()).unwrap();
        let texts = [
            "The train to Zürich leaves at 9:30",
            "which train?",
            "Zurich, not Bern",
            "東京へ行く",
            "it's Étienne's \"train\" OR bus",
        ];
        for (position, text) in (1..).zip(texts) {
            let conversation = if position % 2 == 0 { BOB } else { ALICE };
            write(store, vec![Write::Message(saying(text, received(position, conversation, position)))])
                .unwrap();
        }
        assert_eq!(everywhere(store, "train"), [5, 2, 1]);
        assert_eq!(everywhere(store, "ZÜRICH"), [3, 1]);
        assert_eq!(everywhere(store, "zurich train"), [1]);
        assert_eq!(everywhere(store, "t*"), [5, 2, 1]);
        assert_eq!(everywhere(store, "trai"), [0_u64; 0]);
        assert_eq!(everywhere(store, "京"), [4]);
        assert_eq!(everywhere(store, "etienne bus or"), [5]);
        assert_eq!(found(store, "train", Some(ALICE), None, 9), [5, 1]);
        assert_eq!(found(store, "train", Some(ConversationId(3)), None, 9), [0_u64; 0]);
        assert_eq!(found(store, "train", None, None, 2), [5, 2]);
        assert_eq!(found(store, "train", None, Some(2), 2), [1]);
        assert_eq!(found(store, "train", None, Some(0), 2), [0_u64; 0]);
        assert_eq!(found(store, "train", None, Some(u64::MAX), 1), [5]);
        write(store, vec![Write::Message(saying("another train", own(6, BOB)))]).unwrap();
        assert_eq!(everywhere(store, "train"), [6, 5, 2, 1], "what was saved after a search is found");
    });
}

#[test]
fn nothing_but_texts_is_found() {
    for_both(|store| {
        write(store, two_conversations()).unwrap();
        let receipt = SavedMessage { kind: ContentKind::RECEIPT.0, ..saying("receipt", own(1, ALICE)) };
        let later = SavedMessage { kind: 77, ..saying("receipt", received(2, ALICE, 2)) };
        let broken = SavedMessage { body: b"receipt \xff".to_vec(), ..received(3, ALICE, 3) };
        write(store, [receipt, later, broken].map(Write::Message).into()).unwrap();
        assert_eq!(everywhere(store, "receipt"), [0_u64; 0]);
    });
}

#[test]
fn no_query_is_an_error_of_the_index() {
    for_both(|store| {
        write(store, two_conversations()).unwrap();
        write(store, vec![Write::Message(saying("a b and near x col e", own(1, ALICE)))]).unwrap();
        for words in [
            "\"a", "a AND", "NEAR(a b", "col:e", "^a", "-a", "a\"*\"", "(a", "a NOT", "{a b}: e", "+a",
            "a\0b",
        ] {
            let query = Query::parse(words).unwrap();
            store.search(&query, None, None, 9).unwrap();
        }
        assert_eq!(everywhere(store, "\"NEAR(a\"* AND (b)"), [1]);
    });
}

#[test]
fn a_message_whose_conversation_becomes_part_of_another_is_found_there() {
    for_both(|store| {
        write(store, two_conversations()).unwrap();
        write(store, vec![Write::Message(own(1, ALICE))]).unwrap();
        assert_eq!(found(store, "text", Some(ALICE), None, 9), [1]);
        write(store, vec![Write::Merged { from: ALICE, into: BOB }]).unwrap();
        assert_eq!(found(store, "text", Some(BOB), None, 9), [1]);
    });
}

#[test]
fn a_long_history_is_indexed_in_steps_and_only_when_somebody_searches() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    write(&store, two_conversations()).unwrap();
    let messages = (1..=9_000).map(|position| Write::Message(received(position, ALICE, position)));
    write(&store, messages.collect()).unwrap();
    assert_eq!(indexed(&store), 0);
    assert_eq!(everywhere(&store, "8999"), [8999]);
    assert_eq!(indexed(&store), 9_000);
    store.close();
    let store = open_in(&dir).store;
    write(&store, vec![Write::Message(own(9_001, BOB))]).unwrap();
    assert_eq!(found(&store, "text", None, None, 2), [9_001, 9_000]);
}

#[test]
fn a_position_that_is_given_out_again_is_indexed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    write(&store, two_conversations()).unwrap();
    let receipt = SavedMessage { kind: ContentKind::RECEIPT.0, ..own(2, ALICE) };
    write(&store, vec![Write::Message(own(1, ALICE)), Write::Message(receipt)]).unwrap();
    assert_eq!(everywhere(&store, "text"), [1]);
    write(&store, vec![Write::MessageGone { position: 2 }]).unwrap();
    store.close();
    let Opened { store, saved } = open_in(&dir);
    assert_eq!(saved.last_position, 1);
    write(&store, vec![Write::Message(own(2, ALICE))]).unwrap();
    assert_eq!(everywhere(&store, "text"), [2, 1]);
}

#[test]
fn a_message_that_is_gone_is_gone_from_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir).store;
    write(&store, two_conversations()).unwrap();
    write(&store, vec![Write::Message(own(1, ALICE)), Write::Message(own(2, ALICE))]).unwrap();
    assert_eq!(everywhere(&store, "text"), [2, 1]);
    write(&store, vec![Write::MessageGone { position: 2 }]).unwrap();
    assert_eq!((everywhere(&store, "text"), indexed(&store)), (vec![1], 1));
}

#[test]
fn what_a_profile_of_an_earlier_version_holds_is_found() {
    let dir = tempfile::tempdir().unwrap();
    open_in(&dir).store.close();
    let file = dir.path().join("data/node.db");
    fs::remove_file(&file).unwrap();
    Connection::open(&file).unwrap().execute_batch(include_str!("version-1.sql")).unwrap();
    let store = open_in(&dir).store;
    assert_eq!(indexed(&store), 0);
    assert_eq!(everywhere(&store, "text 2"), [2]);
}

#[test]
fn a_closed_store_is_not_searched() {
    for_both(|store| {
        store.close();
        let query = Query::parse("text").unwrap();
        assert!(matches!(store.search(&query, None, None, 9), Err(Error::Closed)));
    });
}
