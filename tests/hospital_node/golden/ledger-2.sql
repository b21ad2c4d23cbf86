BEGIN TRANSACTION;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO "counters" VALUES('release',1);
CREATE TABLE evaluations (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    submission TEXT NOT NULL,
    submitter TEXT NOT NULL,
    report TEXT
) STRICT;
INSERT INTO "evaluations" VALUES(1,'2026-11-25T22:32:09.766+00:00','5555555555555555555555555555555555555555555555555555555555555555','6666666666666666666666666666666666666666666666666666666666666666','{"report": 1}');
INSERT INTO "evaluations" VALUES(2,'2026-11-25T22:32:09.772+00:00','7777777777777777777777777777777777777777777777777777777777777777','6666666666666666666666666666666666666666666666666666666666666666',NULL);
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    id TEXT NOT NULL,
    before TEXT,
    after TEXT,
    reason TEXT NOT NULL
) STRICT;
INSERT INTO "events" VALUES(1,'2026-11-25T22:32:09.613+00:00','00000000000000000000000000000001',NULL,'refused','images/case-01.png: expected a mask, found none. Next: add one');
INSERT INTO "events" VALUES(2,'2026-11-25T22:32:09.619+00:00','00000000000000000000000000000002',NULL,'ingested','');
INSERT INTO "events" VALUES(3,'2026-11-25T22:32:09.624+00:00','00000000000000000000000000000003',NULL,'ingested','');
INSERT INTO "events" VALUES(4,'2026-11-25T22:32:09.629+00:00','00000000000000000000000000000003','ingested','training','training; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(5,'2026-11-25T22:32:09.632+00:00','00000000000000000000000000000003','training','ingested','interrupted; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(6,'2026-11-25T22:32:09.637+00:00','00000000000000000000000000000004',NULL,'ingested','');
INSERT INTO "events" VALUES(7,'2026-11-25T22:32:09.642+00:00','00000000000000000000000000000004','ingested','training','training; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(8,'2026-11-25T22:32:09.645+00:00','00000000000000000000000000000005',NULL,'ingested','');
INSERT INTO "events" VALUES(9,'2026-11-25T22:32:09.647+00:00','00000000000000000000000000000005','ingested','training','training; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(10,'2026-11-25T22:32:09.656+00:00','00000000000000000000000000000005','training','trained','profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(11,'2026-11-25T22:32:09.660+00:00','00000000000000000000000000000006',NULL,'ingested','');
INSERT INTO "events" VALUES(12,'2026-11-25T22:32:09.662+00:00','00000000000000000000000000000006','ingested','failed','InputError: expected a PNG written by intake');
INSERT INTO "events" VALUES(13,'2026-11-25T22:32:09.666+00:00','00000000000000000000000000000007',NULL,'ingested','');
INSERT INTO "events" VALUES(14,'2026-11-25T22:32:09.668+00:00','00000000000000000000000000000007','ingested','training','training; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(15,'2026-11-25T22:32:09.676+00:00','00000000000000000000000000000007','training','ingested','its worker died (1 of 3): crashed, killed, or out of memory; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(16,'2026-11-25T22:32:09.677+00:00','00000000000000000000000000000007','ingested','training','training; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(17,'2026-11-25T22:32:09.682+00:00','00000000000000000000000000000007','training','ingested','its worker died (2 of 3): crashed, killed, or out of memory; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(18,'2026-11-25T22:32:09.685+00:00','00000000000000000000000000000007','ingested','training','training; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(19,'2026-11-25T22:32:09.687+00:00','00000000000000000000000000000007','training','quarantined','its worker died 3 times: crashed, killed, or out of memory');
INSERT INTO "events" VALUES(20,'2026-11-25T22:32:09.688+00:00','00000000000000000000000000000008',NULL,'ingested','');
INSERT INTO "events" VALUES(21,'2026-11-25T22:32:09.690+00:00','00000000000000000000000000000008','ingested','training','training; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(22,'2026-11-25T22:32:09.696+00:00','00000000000000000000000000000008','training','trained','profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(23,'2026-11-25T22:32:09.701+00:00','00000000000000000000000000000008','trained','audited','linkable: controlled access');
INSERT INTO "events" VALUES(24,'2026-11-25T22:32:09.704+00:00','00000000000000000000000000000009',NULL,'ingested','');
INSERT INTO "events" VALUES(25,'2026-11-25T22:32:09.709+00:00','00000000000000000000000000000009','ingested','training','training; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(26,'2026-11-25T22:32:09.713+00:00','00000000000000000000000000000009','training','trained','profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(27,'2026-11-25T22:32:09.715+00:00','00000000000000000000000000000009','trained','withheld','near copy: the nearest sample lies at 0.100 of the source''s own contrast, below 0.2');
INSERT INTO "events" VALUES(28,'2026-11-25T22:32:09.718+00:00','0000000000000000000000000000000a',NULL,'ingested','');
INSERT INTO "events" VALUES(29,'2026-11-25T22:32:09.730+00:00','0000000000000000000000000000000a','ingested','training','training; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(30,'2026-11-25T22:32:09.737+00:00','0000000000000000000000000000000a','training','trained','profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(31,'2026-11-25T22:32:09.740+00:00','0000000000000000000000000000000a','trained','audited','linkable: controlled access');
INSERT INTO "events" VALUES(32,'2026-11-25T22:32:09.744+00:00','0000000000000000000000000000000a','audited','released','release 1');
INSERT INTO "events" VALUES(33,'2026-11-25T22:32:09.758+00:00','0000000000000000000000000000000b',NULL,'held-out','');
CREATE TABLE images (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    source_image TEXT NOT NULL,
    source_masks TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('refused', 'ingested', 'held-out', 'training', 'trained', 'failed', 'quarantined', 'audited', 'withheld', 'released')),
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    generator_id TEXT UNIQUE,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    image_channels INTEGER NOT NULL,
    mask_classes TEXT NOT NULL,
    updated TEXT NOT NULL,
    data_dir TEXT NOT NULL,
    content_key TEXT UNIQUE
) STRICT;
INSERT INTO "images" VALUES(1,'00000000000000000000000000000001','images/case-01.png','["masks/case-01.png"]','refused','images/case-01.png: expected a mask, found none. Next: add one',0,NULL,0,0,0,'[]','2026-11-25T22:32:09.613+00:00','/records','key-01');
INSERT INTO "images" VALUES(2,'00000000000000000000000000000002','images/case-02.png','["masks/case-02.png"]','ingested','',0,NULL,20,24,3,'["lesion"]','2026-11-25T22:32:09.619+00:00','/records','key-02');
INSERT INTO "images" VALUES(3,'00000000000000000000000000000003','images/case-03.png','["masks/case-03.png"]','ingested','interrupted; profile quick, settings 0123456789ab',0,'a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3',20,24,3,'["lesion"]','2026-11-25T22:32:09.632+00:00','/records','key-03');
INSERT INTO "images" VALUES(4,'00000000000000000000000000000004','images/case-04.png','["masks/case-04.png"]','training','training; profile quick, settings 0123456789ab',0,'a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4',20,24,3,'["lesion"]','2026-11-25T22:32:09.642+00:00','/records','key-04');
INSERT INTO "images" VALUES(5,'00000000000000000000000000000005','images/case-05.png','["masks/case-05.png"]','trained','profile quick, settings 0123456789ab',0,'a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5',20,24,3,'["lesion"]','2026-11-25T22:32:09.656+00:00','/records','key-05');
INSERT INTO "images" VALUES(6,'00000000000000000000000000000006','images/case-06.png','["masks/case-06.png"]','failed','InputError: expected a PNG written by intake',0,NULL,20,24,3,'["lesion"]','2026-11-25T22:32:09.662+00:00','/records','key-06');
INSERT INTO "images" VALUES(7,'00000000000000000000000000000007','images/case-07.png','["masks/case-07.png"]','quarantined','its worker died 3 times: crashed, killed, or out of memory',3,'a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7',20,24,3,'["lesion"]','2026-11-25T22:32:09.687+00:00','/records','key-07');
INSERT INTO "images" VALUES(8,'00000000000000000000000000000008','images/case-08.png','["masks/case-08.png"]','audited','linkable: controlled access',0,'a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8',20,24,3,'["lesion"]','2026-11-25T22:32:09.701+00:00','/records','key-08');
INSERT INTO "images" VALUES(9,'00000000000000000000000000000009','images/case-09.png','["masks/case-09.png"]','withheld','near copy: the nearest sample lies at 0.100 of the source''s own contrast, below 0.2',0,'a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9a9',20,24,3,'["lesion"]','2026-11-25T22:32:09.715+00:00','/records','key-09');
INSERT INTO "images" VALUES(10,'0000000000000000000000000000000a','images/case-10.png','["masks/case-10.png"]','released','release 1',0,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',20,24,3,'["lesion"]','2026-11-25T22:32:09.744+00:00','/records','key-10');
INSERT INTO "images" VALUES(11,'0000000000000000000000000000000b','images/case-11.png','["masks/case-11.png"]','held-out','',0,NULL,20,24,3,'["lesion"]','2026-11-25T22:32:09.758+00:00','/records','key-11');
CREATE INDEX images_by_state ON images (state, sequence);
CREATE INDEX images_by_source ON images (source_image);
CREATE INDEX evaluations_by_submitter ON evaluations (submitter);
CREATE UNIQUE INDEX evaluations_by_submission ON evaluations (submission) WHERE report IS NOT NULL;
CREATE TRIGGER evaluations_spent BEFORE DELETE ON evaluations
    BEGIN SELECT RAISE(ABORT, 'a spent evaluation stays spent'); END;
CREATE TRIGGER evaluations_reported BEFORE UPDATE ON evaluations
    WHEN OLD.report IS NOT NULL OR NEW.submission <> OLD.submission OR NEW.submitter <> OLD.submitter
    BEGIN SELECT RAISE(ABORT, 'a spent evaluation stays spent'); END;
CREATE INDEX events_by_image ON events (id, sequence);
CREATE TRIGGER events_unchanged BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_kept BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
COMMIT;
PRAGMA user_version = 2;
