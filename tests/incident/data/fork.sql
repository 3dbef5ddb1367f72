BEGIN TRANSACTION;
CREATE TABLE compression_generations (
    session_id TEXT PRIMARY KEY,
    generation INTEGER NOT NULL
);
CREATE TABLE compression_locks (
    session_id TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    acquired_at REAL NOT NULL,
    expires_at REAL NOT NULL
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL REFERENCES sessions(id),
    role TEXT NOT NULL,
    content TEXT,
    tool_name TEXT,
    tool_calls TEXT,
    tool_call_id TEXT,
    timestamp REAL NOT NULL
);
INSERT INTO "messages" VALUES(1,'20260527_234659_e65f0e','user','please finish the migration the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(2,'20260527_234659_e65f0e','assistant','working on it the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file the migration moves the sessions of every profile into one file',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(3,'20260527_234659_e65f0e','user','please finish the migration and run the build',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(4,'20260527_234659_e65f0e','user','[background process proc_7d1e02c94a1b completed, exit code 0]',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(5,'20260101_000000_b850ac','user','[summary of 3 messages]',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(6,'20260101_000000_b850ac','assistant','noted',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(7,'20260101_000000_b850ac','assistant','the build is green',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(8,'20260101_000000_b850ac','user','Review the conversation above',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(9,'20260101_000000_b850ac','assistant','the build is green',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(10,'20260101_000000_05bf3c','user','[summary of 4 messages]',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(11,'20260101_000000_05bf3c','assistant','noted',NULL,NULL,NULL,1767225600.0);
INSERT INTO "messages" VALUES(12,'20260101_000000_05bf3c','assistant','the build is green',NULL,NULL,NULL,1767225600.0);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    user_id TEXT,
    model TEXT,
    model_config TEXT,
    system_prompt TEXT,
    parent_session_id TEXT REFERENCES sessions(id),
    kind TEXT,
    started_at REAL NOT NULL,
    ended_at REAL,
    end_reason TEXT
);
INSERT INTO "sessions" VALUES('20260527_234659_e65f0e','discord',NULL,NULL,NULL,NULL,NULL,NULL,1767225600.0,1767225600.0,'compression');
INSERT INTO "sessions" VALUES('20260101_000000_b850ac','discord',NULL,'reference-model',NULL,'','20260527_234659_e65f0e','compression',1767225600.0,NULL,NULL);
INSERT INTO "sessions" VALUES('20260101_000000_05bf3c','discord',NULL,'reference-model',NULL,'','20260527_234659_e65f0e','compression',1767225600.0,NULL,NULL);
CREATE INDEX idx_sessions_parent ON sessions(parent_session_id);
CREATE INDEX idx_messages_session ON messages(session_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('messages',12);
COMMIT;
