BEGIN TRANSACTION;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO "counters" VALUES('release',1);
CREATE TABLE evaluations (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    submission TEXT NOT NULL,
    submitter TEXT NOT NULL,
    report TEXT,
    epsilon REAL
) STRICT;
INSERT INTO "evaluations" VALUES(1,'2026-11-26T02:03:34.103+00:00','5555555555555555555555555555555555555555555555555555555555555555','6666666666666666666666666666666666666666666666666666666666666666','{"report": 1}',0.5);
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    id TEXT NOT NULL,
    before TEXT,
    after TEXT,
    reason TEXT NOT NULL
) STRICT;
INSERT INTO "events" VALUES(1,'2026-11-26T02:03:34.073+00:00','00000000000000000000000000000001',NULL,'refused','images/case-01.png: expected a mask, found none. Next: add one');
INSERT INTO "events" VALUES(2,'2026-11-26T02:03:34.078+00:00','00000000000000000000000000000002',NULL,'ingested','');
INSERT INTO "events" VALUES(3,'2026-11-26T02:03:34.079+00:00','00000000000000000000000000000003',NULL,'ingested','');
INSERT INTO "events" VALUES(4,'2026-11-26T02:03:34.082+00:00','00000000000000000000000000000004',NULL,'ingested','');
INSERT INTO "events" VALUES(5,'2026-11-26T02:03:34.082+00:00','00000000000000000000000000000005',NULL,'ingested','');
INSERT INTO "events" VALUES(6,'2026-11-26T02:03:34.083+00:00','00000000000000000000000000000006',NULL,'held-out','');
INSERT INTO "events" VALUES(7,'2026-11-26T02:03:34.092+00:00','5bf140796cd0b9caa4a68339821b7ece',NULL,'planned','');
INSERT INTO "events" VALUES(8,'2026-11-26T02:03:34.092+00:00','94cda3aa74c4093aa356087aae9a8852',NULL,'planned','');
INSERT INTO "events" VALUES(9,'2026-11-26T02:03:34.092+00:00','fd52f4eade8abf6d5a51343abed9c6cc',NULL,'planned','');
INSERT INTO "events" VALUES(10,'2026-11-26T02:03:34.096+00:00','5bf140796cd0b9caa4a68339821b7ece','planned','training','');
INSERT INTO "events" VALUES(11,'2026-11-26T02:03:34.098+00:00','5bf140796cd0b9caa4a68339821b7ece','training','trained','');
INSERT INTO "events" VALUES(12,'2026-11-26T02:03:34.099+00:00','94cda3aa74c4093aa356087aae9a8852','planned','training','');
INSERT INTO "events" VALUES(13,'2026-11-26T02:03:34.100+00:00','94cda3aa74c4093aa356087aae9a8852','training','trained','');
INSERT INTO "events" VALUES(14,'2026-11-26T02:03:34.100+00:00','5bf140796cd0b9caa4a68339821b7ece','trained','audited','linkable: controlled access');
INSERT INTO "events" VALUES(15,'2026-11-26T02:03:34.102+00:00','5bf140796cd0b9caa4a68339821b7ece','audited','released','release 1');
INSERT INTO "events" VALUES(16,'2026-11-26T02:03:34.102+00:00','94cda3aa74c4093aa356087aae9a8852','trained','withheld','near copy');
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
INSERT INTO "generators" VALUES(1,'5bf140796cd0b9caa4a68339821b7ece','released','quick','{"config": {"iterations": 1}, "size": 25}',0,'release 1','2026-11-26T02:03:34.092+00:00','2026-11-26T02:03:34.102+00:00');
INSERT INTO "generators" VALUES(2,'94cda3aa74c4093aa356087aae9a8852','withheld','quick','{"config": {"iterations": 1}, "size": 25}',0,'near copy','2026-11-26T02:03:34.092+00:00','2026-11-26T02:03:34.102+00:00');
INSERT INTO "generators" VALUES(3,'fd52f4eade8abf6d5a51343abed9c6cc','planned','','',0,'','2026-11-26T02:03:34.092+00:00','2026-11-26T02:03:34.092+00:00');
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
INSERT INTO "images" VALUES(1,'00000000000000000000000000000001','images/case-01.png','[]','refused','images/case-01.png: expected a mask, found none. Next: add one',0,0,0,'[]','2026-11-26T02:03:34.073+00:00','/data','0000000000000000000000000000000000000000000000000000000000000001');
INSERT INTO "images" VALUES(2,'00000000000000000000000000000002','images/case-02.png','["masks/case-02.png"]','ingested','',30,40,3,'["lesion"]','2026-11-26T02:03:34.078+00:00','/data','0000000000000000000000000000000000000000000000000000000000000002');
INSERT INTO "images" VALUES(3,'00000000000000000000000000000003','images/case-03.png','["masks/case-03.png"]','ingested','',30,40,3,'["lesion"]','2026-11-26T02:03:34.079+00:00','/data','0000000000000000000000000000000000000000000000000000000000000003');
INSERT INTO "images" VALUES(4,'00000000000000000000000000000004','images/case-04.png','["masks/case-04.png"]','ingested','',30,40,3,'["lesion"]','2026-11-26T02:03:34.082+00:00','/data','0000000000000000000000000000000000000000000000000000000000000004');
INSERT INTO "images" VALUES(5,'00000000000000000000000000000005','images/case-05.png','["masks/case-05.png"]','ingested','',30,40,3,'["lesion"]','2026-11-26T02:03:34.082+00:00','/data','0000000000000000000000000000000000000000000000000000000000000005');
INSERT INTO "images" VALUES(6,'00000000000000000000000000000006','images/case-06.png','["masks/case-06.png"]','held-out','',30,40,3,'["lesion"]','2026-11-26T02:03:34.083+00:00','/data','0000000000000000000000000000000000000000000000000000000000000006');
CREATE TABLE memberships (
    generator TEXT NOT NULL,
    position INTEGER NOT NULL,
    image TEXT NOT NULL,
    PRIMARY KEY (generator, position),
    UNIQUE (image, generator)
) STRICT, WITHOUT ROWID;
INSERT INTO "memberships" VALUES('5bf140796cd0b9caa4a68339821b7ece',0,'00000000000000000000000000000002');
INSERT INTO "memberships" VALUES('94cda3aa74c4093aa356087aae9a8852',0,'00000000000000000000000000000003');
INSERT INTO "memberships" VALUES('94cda3aa74c4093aa356087aae9a8852',1,'00000000000000000000000000000004');
INSERT INTO "memberships" VALUES('fd52f4eade8abf6d5a51343abed9c6cc',0,'00000000000000000000000000000005');
CREATE TABLE publications (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('coverage', 'style')),
    content TEXT NOT NULL
) STRICT;
INSERT INTO "publications" VALUES(1,'2026-11-26T02:03:34.104+00:00','style','{"pictures": ["7777777777777777777777777777777777777777777777777777777777777777"]}');
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
