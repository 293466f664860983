-- A profile as version 1 of the schema wrote it.
PRAGMA application_id = 0x50434854;
CREATE TABLE keys (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    node BLOB NOT NULL,
    user BLOB,
    user_name TEXT,
    CHECK ((user IS NULL) = (user_name IS NULL))
) STRICT;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    peer TEXT NOT NULL UNIQUE,
    user BLOB,
    next_number INTEGER NOT NULL
) STRICT;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    device BLOB NOT NULL,
    next_number INTEGER NOT NULL
) STRICT;
CREATE TABLE messages (
    position INTEGER PRIMARY KEY CHECK (position > 0),
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    stream INTEGER NOT NULL,
    number INTEGER,
    kind INTEGER NOT NULL,
    body BLOB NOT NULL,
    sent INTEGER NOT NULL,
    received INTEGER NOT NULL,
    state INTEGER,
    expires INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX messages_by_number ON messages (conversation, stream, number);
CREATE INDEX messages_by_conversation ON messages (conversation);
CREATE INDEX messages_received ON messages (position) WHERE stream <> 0;
CREATE INDEX messages_queued ON messages (state) WHERE state = 1;
CREATE TABLE records (key BLOB PRIMARY KEY NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE own_records (key BLOB PRIMARY KEY NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE routing (rank INTEGER PRIMARY KEY, key BLOB NOT NULL, address TEXT NOT NULL) STRICT;
PRAGMA user_version = 1;
INSERT INTO keys VALUES (1, x'0707070707070707070707070707070707070707070707070707070707070707', NULL, NULL);
INSERT INTO conversations VALUES
    (1, 'alice', x'0909090909090909090909090909090909090909090909090909090909090909', 1);
INSERT INTO streams VALUES
    (1, 1, x'0404040404040404040404040404040404040404040404040404040404040404', 4);
INSERT INTO messages VALUES (1, 1, 1, 3, 1, x'746578742031', 1001, 2001, NULL, 3001);
INSERT INTO messages VALUES (2, 1, 0, NULL, 1, x'746578742032', 1002, 2002, 1, 3002);
