BEGIN TRANSACTION;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO "counters" VALUES('release',0);
CREATE TABLE evaluations (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    submission TEXT NOT NULL,
    submitter TEXT NOT NULL,
    report TEXT
) STRICT;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    id TEXT NOT NULL,
    before TEXT,
    after TEXT,
    reason TEXT NOT NULL
) STRICT;
INSERT INTO "events" VALUES(1,'2026-11-25T22:32:34.964+00:00','00000000000000000000000000000001',NULL,'ingested','');
INSERT INTO "events" VALUES(2,'2026-11-25T22:32:34.980+00:00','00000000000000000000000000000001','ingested','training','');
INSERT INTO "events" VALUES(3,'2026-11-25T22:32:35.003+00:00','00000000000000000000000000000001','training','trained','');
INSERT INTO "events" VALUES(4,'2026-11-25T22:32:35.055+00:00','00000000000000000000000000000002',NULL,'ingested','');
INSERT INTO "events" VALUES(5,'2026-11-25T22:32:35.064+00:00','00000000000000000000000000000002','ingested','training','');
INSERT INTO "events" VALUES(6,'2026-11-25T22:32:35.084+00:00','00000000000000000000000000000002','training','trained','');
INSERT INTO "events" VALUES(7,'2026-11-25T22:32:35.132+00:00','00000000000000000000000000000003',NULL,'ingested','');
INSERT INTO "events" VALUES(8,'2026-11-25T22:32:35.139+00:00','00000000000000000000000000000003','ingested','training','');
INSERT INTO "events" VALUES(9,'2026-11-25T22:32:35.156+00:00','00000000000000000000000000000003','training','trained','');
INSERT INTO "events" VALUES(10,'2026-11-25T22:32:35.188+00:00','00000000000000000000000000000003','trained','ingested','to be trained from the beginning');
INSERT INTO "events" VALUES(11,'2026-11-25T22:32:35.196+00:00','00000000000000000000000000000003','ingested','training','training; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(12,'2026-11-25T22:32:35.200+00:00','00000000000000000000000000000003','training','ingested','interrupted; profile quick, settings 0123456789ab');
INSERT INTO "events" VALUES(13,'2026-11-25T22:32:35.688+00:00','00000000000000000000000000000001','trained','audited','linkable: controlled access');
INSERT INTO "events" VALUES(14,'2026-11-25T22:32:35.692+00:00','00000000000000000000000000000002','trained','withheld','the audit failed: NodeStateError: /srv/node/models/00000000000000000000000000000002/generator.safetensors: expected a trained generator written by this node, found JSONDecodeError: Expecting value: line 1 column 1 (char 0). Next: train this image again');
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
INSERT INTO "images" VALUES(1,'00000000000000000000000000000001','images/patient-mueller-001.png','["masks/patient-mueller-001.png"]','audited','linkable: controlled access',0,'38ea44e76f05d39c3d3bfad123f20404',20,24,3,'["lesion"]','2026-11-25T22:32:35.688+00:00','/records/endoscopy','key 1');
INSERT INTO "images" VALUES(2,'00000000000000000000000000000002','images/patient-mueller-002.png','["masks/patient-mueller-002.png"]','withheld','the audit failed: NodeStateError: /srv/node/models/00000000000000000000000000000002/generator.safetensors: expected a trained generator written by this node, found JSONDecodeError: Expecting value: line 1 column 1 (char 0). Next: train this image again',0,'d914d39ad97e7d61b277d0c6abc2705b',20,24,3,'["lesion"]','2026-11-25T22:32:35.692+00:00','/records/endoscopy','key 2');
INSERT INTO "images" VALUES(3,'00000000000000000000000000000003','images/patient-mueller-003.png','["masks/patient-mueller-003.png"]','ingested','interrupted; profile quick, settings 0123456789ab',0,'c1a9fb4becdd1030d50d4195d378b741',20,24,3,'["lesion"]','2026-11-25T22:32:35.200+00:00','/records/endoscopy','key 3');
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
