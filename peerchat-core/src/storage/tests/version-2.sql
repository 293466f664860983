-- A profile as version 2 of the schema wrote it.
PRAGMA application_id=1346586708;
PRAGMA user_version=2;
BEGIN TRANSACTION;
CREATE TABLE conversations (
            id INTEGER PRIMARY KEY,
            peer TEXT NOT NULL UNIQUE,
            user BLOB,
            next_number INTEGER NOT NULL
        ) STRICT;
INSERT INTO "conversations" VALUES(1,'alice',X'0909090909090909090909090909090909090909090909090909090909090909',1);
INSERT INTO "conversations" VALUES(2,'bob',X'0909090909090909090909090909090909090909090909090909090909090909',1);
CREATE TABLE device (id INTEGER PRIMARY KEY CHECK (id = 1), state BLOB NOT NULL) STRICT;
INSERT INTO "device" VALUES(1,X'02');
CREATE TABLE envelopes (
            position INTEGER PRIMARY KEY REFERENCES messages (position),
            device BLOB NOT NULL,
            kind INTEGER NOT NULL,
            bytes BLOB NOT NULL
        ) STRICT;
CREATE TABLE keys (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            node BLOB NOT NULL,
            user BLOB,
            user_name TEXT,
            CHECK ((user IS NULL) = (user_name IS NULL))
        ) STRICT;
INSERT INTO "keys" VALUES(1,X'0707070707070707070707070707070707070707070707070707070707070707',NULL,NULL);
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
INSERT INTO "messages" VALUES(2,1,0,NULL,1,X'746578742032',1002,2002,1,3002);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE own_records (key BLOB PRIMARY KEY NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE prekeys (rank INTEGER PRIMARY KEY, key BLOB NOT NULL, made INTEGER NOT NULL) STRICT;
INSERT INTO "prekeys" VALUES(1,X'0000000000000000000000000000000000000000000000000000000000000000',0);
INSERT INTO "prekeys" VALUES(2,X'0101010101010101010101010101010101010101010101010101010101010101',1);
CREATE TABLE records (key BLOB PRIMARY KEY NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE routing (rank INTEGER PRIMARY KEY, key BLOB NOT NULL, address TEXT NOT NULL) STRICT;
CREATE TABLE sessions (
            id BLOB PRIMARY KEY NOT NULL,
            conversation INTEGER NOT NULL REFERENCES conversations (id),
            device BLOB NOT NULL,
            prekey BLOB,
            state BLOB,
            last_used INTEGER NOT NULL,
            is_retired INTEGER NOT NULL
        ) STRICT;
CREATE TABLE streams (
            id INTEGER PRIMARY KEY,
            conversation INTEGER NOT NULL REFERENCES conversations (id),
            device BLOB NOT NULL,
            next_number INTEGER NOT NULL
        , identity BLOB, tags BLOB NOT NULL DEFAULT x'') STRICT;
CREATE UNIQUE INDEX messages_by_number ON messages (conversation, stream, number);
CREATE INDEX messages_by_conversation ON messages (conversation);
CREATE INDEX messages_received ON messages (position) WHERE stream <> 0;
CREATE INDEX messages_queued ON messages (state) WHERE state = 1;
COMMIT;
