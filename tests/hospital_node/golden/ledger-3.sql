BEGIN TRANSACTION;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO "counters" VALUES('release',2);
CREATE TABLE evaluations (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    submission TEXT NOT NULL,
    submitter TEXT NOT NULL,
    report TEXT,
    epsilon REAL
) STRICT;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    id TEXT NOT NULL,
    before TEXT,
    after TEXT,
    reason TEXT NOT NULL
) STRICT;
INSERT INTO "events" VALUES(1,'2026-11-26T02:53:48.755+00:00','00000000000000000000000000000001',NULL,'ingested','');
INSERT INTO "events" VALUES(2,'2026-11-26T02:53:48.780+00:00','00000000000000000000000000000002',NULL,'ingested','');
INSERT INTO "events" VALUES(3,'2026-11-26T02:53:48.788+00:00','00000000000000000000000000000003',NULL,'ingested','');
INSERT INTO "events" VALUES(4,'2026-11-26T02:53:48.800+00:00','7e8cc44e3ae36941e4c1153e856a5b6a',NULL,'planned','');
INSERT INTO "events" VALUES(5,'2026-11-26T02:53:48.800+00:00','b09a5f21937bcf43ff14d3673c769daa',NULL,'planned','');
INSERT INTO "events" VALUES(6,'2026-11-26T02:53:48.800+00:00','2d0be4ff08e9d42a2c6295318295ec9b',NULL,'planned','');
INSERT INTO "events" VALUES(7,'2026-11-26T02:53:48.804+00:00','7e8cc44e3ae36941e4c1153e856a5b6a','planned','training','');
INSERT INTO "events" VALUES(8,'2026-11-26T02:53:48.812+00:00','7e8cc44e3ae36941e4c1153e856a5b6a','training','trained','');
INSERT INTO "events" VALUES(9,'2026-11-26T02:53:48.820+00:00','7e8cc44e3ae36941e4c1153e856a5b6a','trained','audited','linkable: controlled access');
INSERT INTO "events" VALUES(10,'2026-11-26T02:53:48.832+00:00','b09a5f21937bcf43ff14d3673c769daa','planned','training','');
INSERT INTO "events" VALUES(11,'2026-11-26T02:53:48.844+00:00','b09a5f21937bcf43ff14d3673c769daa','training','trained','');
INSERT INTO "events" VALUES(12,'2026-11-26T02:53:48.855+00:00','b09a5f21937bcf43ff14d3673c769daa','trained','audited','linkable: controlled access');
INSERT INTO "events" VALUES(13,'2026-11-26T02:53:48.864+00:00','2d0be4ff08e9d42a2c6295318295ec9b','planned','training','');
INSERT INTO "events" VALUES(14,'2026-11-26T02:53:48.868+00:00','2d0be4ff08e9d42a2c6295318295ec9b','training','trained','');
INSERT INTO "events" VALUES(15,'2026-11-26T02:53:48.873+00:00','2d0be4ff08e9d42a2c6295318295ec9b','trained','audited','linkable: controlled access');
INSERT INTO "events" VALUES(16,'2026-11-26T02:53:48.883+00:00','7e8cc44e3ae36941e4c1153e856a5b6a','audited','released','release 1');
INSERT INTO "events" VALUES(17,'2026-11-26T02:53:48.894+00:00','b09a5f21937bcf43ff14d3673c769daa','audited','released','release 1');
INSERT INTO "events" VALUES(18,'2026-11-26T02:53:48.895+00:00','b09a5f21937bcf43ff14d3673c769daa','released','released','release 2');
INSERT INTO "events" VALUES(19,'2026-11-26T02:53:48.905+00:00','2d0be4ff08e9d42a2c6295318295ec9b','audited','released','release 2');
CREATE TABLE generators (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('planned', 'training', 'trained', 'failed', 'quarantined', 'audited', 'withheld', 'released', 'withdrawn')),
    profile TEXT NOT NULL,
    settings TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
) STRICT;
INSERT INTO "generators" VALUES(1,'7e8cc44e3ae36941e4c1153e856a5b6a','released','quick','{"sha256": "0123456789ab"}',0,'release 1','2026-11-26T02:53:48.800+00:00','2026-11-26T02:53:48.883+00:00');
INSERT INTO "generators" VALUES(2,'b09a5f21937bcf43ff14d3673c769daa','released','quick','{"sha256": "0123456789ab"}',0,'release 2','2026-11-26T02:53:48.800+00:00','2026-11-26T02:53:48.895+00:00');
INSERT INTO "generators" VALUES(3,'2d0be4ff08e9d42a2c6295318295ec9b','released','quick','{"sha256": "0123456789ab"}',0,'release 2','2026-11-26T02:53:48.800+00:00','2026-11-26T02:53:48.905+00:00');
CREATE TABLE images (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    source_image TEXT NOT NULL,
    source_masks TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('refused', 'ingested', 'held-out')),
    reason TEXT NOT NULL,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    image_channels INTEGER NOT NULL,
    mask_classes TEXT NOT NULL,
    updated TEXT NOT NULL,
    data_dir TEXT NOT NULL,
    content_key TEXT UNIQUE
) STRICT;
INSERT INTO "images" VALUES(1,'00000000000000000000000000000001','images/case-01.png','["masks/case-01.png"]','ingested','',20,24,3,'["lesion"]','2026-11-26T02:53:48.755+00:00','/records','key-1');
INSERT INTO "images" VALUES(2,'00000000000000000000000000000002','images/case-02.png','["masks/case-02.png"]','ingested','',20,24,3,'["lesion"]','2026-11-26T02:53:48.780+00:00','/records','key-2');
INSERT INTO "images" VALUES(3,'00000000000000000000000000000003','images/case-03.png','["masks/case-03.png"]','ingested','',20,24,3,'["lesion"]','2026-11-26T02:53:48.788+00:00','/records','key-3');
CREATE TABLE memberships (
    generator TEXT NOT NULL,
    position INTEGER NOT NULL,
    image TEXT NOT NULL,
    PRIMARY KEY (generator, position),
    UNIQUE (image, generator)
) STRICT, WITHOUT ROWID;
INSERT INTO "memberships" VALUES('2d0be4ff08e9d42a2c6295318295ec9b',0,'00000000000000000000000000000003');
INSERT INTO "memberships" VALUES('7e8cc44e3ae36941e4c1153e856a5b6a',0,'00000000000000000000000000000001');
INSERT INTO "memberships" VALUES('b09a5f21937bcf43ff14d3673c769daa',0,'00000000000000000000000000000002');
CREATE TABLE publications (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('coverage', 'style')),
    content TEXT NOT NULL
) STRICT;
CREATE INDEX images_by_state ON images (state, sequence);
CREATE INDEX images_by_source ON images (source_image);
CREATE INDEX generators_by_state ON generators (state, sequence);
CREATE INDEX evaluations_by_submitter ON evaluations (submitter);
CREATE UNIQUE INDEX evaluations_by_submission ON evaluations (submission) WHERE report IS NOT NULL;
CREATE TRIGGER evaluations_spent BEFORE DELETE ON evaluations
    BEGIN SELECT RAISE(ABORT, 'a spent evaluation stays spent'); END;
CREATE TRIGGER evaluations_reported BEFORE UPDATE ON evaluations
    WHEN OLD.report IS NOT NULL OR NEW.submission <> OLD.submission OR NEW.submitter <> OLD.submitter
    OR NEW.epsilon IS NOT OLD.epsilon
    BEGIN SELECT RAISE(ABORT, 'a spent evaluation stays spent'); END;
CREATE TRIGGER publications_unchanged BEFORE UPDATE ON publications
    BEGIN SELECT RAISE(ABORT, 'what was published stays published'); END;
CREATE TRIGGER publications_kept BEFORE DELETE ON publications
    BEGIN SELECT RAISE(ABORT, 'what was published stays published'); END;
CREATE INDEX events_by_image ON events (id, sequence);
CREATE TRIGGER events_unchanged BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_kept BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
COMMIT;
PRAGMA user_version = 3;
