"""The tables of a job's state, and how the file that holds them is opened.

`tasks` says what a task is and never changes while it is worked; `identities` has its number by its id, unless that
is still in memory (see `identities.py`); the narrow `waiting` has a row for each that is not
done, `resting` for those of them that are not worked on in this run, and `settled` for each that has ever been done,
with its last outcome (NULL while it waits again), the one of the run before, the number of the last result by which it
can be asked for conditionally (`kept`; 0 is none), and the run that found it gone.
Results that are alike lie together in parcels, as a worker's report brought them: their writing bounds the speed of a
run. `named` has the tasks that a page named when it was last read, `stopped` the sources that rest and why (`""`: they
are not of the run).
`shards` has the numbers that were handed out; of one that was never `settled` nothing counts.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from crawler.errors import StateError

log = logging.getLogger(__name__)

#: Raised by every change of the tables.
VERSION = 8
#: Of 4 KiB each, after which the log is written into the tables: pages that many commits change are so written once.
#: With 1,000, a task of many hosts took 2 to 3 µs more of 16 to 22.
_LOGGED_PAGES = 8000

_RESTING = """
CREATE TABLE resting(origin INTEGER NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL, source INTEGER NOT NULL,
                     at TEXT, hops INTEGER NOT NULL, candidate INTEGER NOT NULL, attempts INTEGER NOT NULL,
                     lost INTEGER NOT NULL, due REAL NOT NULL, known INTEGER NOT NULL,
                     PRIMARY KEY(number)) WITHOUT ROWID;
CREATE INDEX resting_of ON resting(source);
CREATE TABLE stopped(run INTEGER NOT NULL, source INTEGER NOT NULL, why TEXT NOT NULL,
                     PRIMARY KEY(run, source)) WITHOUT ROWID;
"""
_SHARDS = """
CREATE TABLE shards(number INTEGER PRIMARY KEY, run INTEGER NOT NULL, worker INTEGER NOT NULL,
                    settled REAL NOT NULL DEFAULT 0, samples INTEGER NOT NULL DEFAULT 0,
                    failures INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0);
"""
_TASKS = """
CREATE TABLE tasks(number INTEGER PRIMARY KEY, id BLOB NOT NULL, kind INTEGER NOT NULL,
                   origin INTEGER NOT NULL, source INTEGER NOT NULL, url TEXT NOT NULL, detail BLOB NOT NULL);
CREATE INDEX sources ON tasks(number) WHERE kind = 0;
CREATE TABLE identities(id BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""
_TABLES = f"""{_RESTING}{_SHARDS}{_TASKS}
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE runs(run INTEGER PRIMARY KEY, began REAL NOT NULL, ended REAL NOT NULL DEFAULT 0,
                  already_there INTEGER NOT NULL DEFAULT 0, concluded INTEGER NOT NULL DEFAULT 0);
CREATE TABLE origins(origin INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE,
                     robots TEXT, crawl_delay REAL NOT NULL DEFAULT 0, robots_run INTEGER NOT NULL DEFAULT 0,
                     robots_time REAL NOT NULL DEFAULT 0,
                     closed TEXT, closed_why TEXT NOT NULL DEFAULT '', closed_run INTEGER NOT NULL DEFAULT 0);
CREATE TABLE robots(digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE waiting(origin INTEGER NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL, source INTEGER NOT NULL,
                     at TEXT, hops INTEGER NOT NULL DEFAULT 0, candidate INTEGER NOT NULL DEFAULT 0,
                     attempts INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0,
                     known INTEGER NOT NULL DEFAULT 0,
                     PRIMARY KEY(origin, kind, number)) WITHOUT ROWID;
CREATE TABLE settled(task INTEGER PRIMARY KEY, outcome TEXT, result INTEGER NOT NULL, run INTEGER NOT NULL,
                     kept INTEGER NOT NULL DEFAULT 0, before TEXT, gone INTEGER NOT NULL DEFAULT 0);
CREATE TABLE named(page INTEGER NOT NULL, run INTEGER NOT NULL, part INTEGER NOT NULL, children BLOB NOT NULL,
                   PRIMARY KEY(page, run, part)) WITHOUT ROWID;
CREATE TABLE parcels(seq INTEGER PRIMARY KEY, run INTEGER NOT NULL, worker INTEGER NOT NULL, time REAL NOT NULL,
                     body BLOB NOT NULL);
CREATE TABLE mentions(image INTEGER NOT NULL, page INTEGER NOT NULL, words BLOB NOT NULL, run INTEGER NOT NULL,
                      PRIMARY KEY(image, page, words)) WITHOUT ROWID;
CREATE TABLE workers(worker INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE tally(run INTEGER NOT NULL, kind INTEGER NOT NULL, source INTEGER NOT NULL, origin INTEGER NOT NULL,
                   outcome TEXT NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
                   PRIMARY KEY(run, kind, source, origin, outcome)) WITHOUT ROWID;
CREATE TABLE first_pages(run INTEGER NOT NULL, source INTEGER NOT NULL, outcome TEXT NOT NULL, message TEXT NOT NULL,
                         PRIMARY KEY(run, source)) WITHOUT ROWID;
"""

#: What makes a state of each version one of the next.
_MIGRATIONS = {
    4: """
ALTER TABLE waiting ADD COLUMN known INTEGER NOT NULL DEFAULT 0;
ALTER TABLE settled ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
ALTER TABLE settled ADD COLUMN before TEXT;
ALTER TABLE settled ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN concluded INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET concluded = ended <> 0;
CREATE TABLE named(page INTEGER NOT NULL, run INTEGER NOT NULL, part INTEGER NOT NULL, children BLOB NOT NULL,
                   PRIMARY KEY(page, run, part)) WITHOUT ROWID;
UPDATE settled SET kept = result WHERE outcome = 'success' AND task IN (SELECT number FROM tasks WHERE kind = 2);
""",
    5: _RESTING,
    6: _SHARDS,
    7: f"""
DROP INDEX sources;
ALTER TABLE tasks RENAME TO tasks_7;
{_TASKS}
INSERT INTO tasks SELECT * FROM tasks_7;
INSERT INTO identities SELECT id, number FROM tasks_7 ORDER BY id;
INSERT INTO meta SELECT 'put_away', coalesce(max(number), 0) FROM tasks_7;
DROP TABLE tasks_7;
""",
}

#: File systems over a network, on which SQLite's locks and write-ahead log are not safe.
_NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p afs ceph lustre glusterfs beegfs gpfs fuse.sshfs fuse.glusterfs fuse.s3fs".split()
)


def file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds `path`, by the text of /proc/mounts."""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, mount, fs, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        inside = mount == "/" or path == Path(mount) or Path(mount) in path.parents
        if inside and len(mount) >= len(best):
            best, kind = mount, fs
    return kind


def is_on_network(directory: Path) -> str:
    """Return the type of the network file system that holds `directory`, or `""`."""
    try:
        mounts = Path("/proc/mounts").read_text()
    except FileNotFoundError:
        return ""
    kind = file_system_of(directory.resolve(), mounts)
    return kind if kind in _NETWORK_FILE_SYSTEMS else ""


def refuse_network_file_system(directory: Path) -> None:
    """Raise StateError when `directory` lies on a network file system."""
    kind = is_on_network(directory)
    if kind:
        raise StateError(
            f"the state directory {directory} is on {kind}, a network file system, where the queue's locks are not "
            "safe; choose a local directory with --state DIR (images may stay on the network)"
        )


def _make_private(path: Path) -> None:
    """Let nobody else read the state: it holds what sites are signed in with. SQLite's other files take its mode."""
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError as error:
        raise StateError(f"the state {path} cannot be opened: {error.strerror}") from error


def _migrate(db: sqlite3.Connection) -> int:
    """Make the state one of this version, unless another process just did, and return which it is."""
    db.execute("BEGIN IMMEDIATE")
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    while version in _MIGRATIONS:
        for statement in filter(None, map(str.strip, _MIGRATIONS[version].split(";"))):
            db.execute(statement)
        version += 1
        db.execute(f"PRAGMA user_version={version}")
    db.execute("COMMIT")
    return version


def open_database(path: Path | None) -> sqlite3.Connection:
    """Open or make the state at `path` (None: in memory), with every commit durable.

    Raises StateError where it is of another version, or no state at all.
    """
    if path is not None:
        _make_private(path)
    try:
        db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StateError(f"the state {path} cannot be opened: {error}") from error
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(f"PRAGMA wal_autocheckpoint={_LOGGED_PAGES}")
        db.execute("PRAGMA cache_size=-32768")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={VERSION}; COMMIT;")
            version = VERSION
        if version in _MIGRATIONS:
            log.info("making the state %s, of version %d, one of version %d", path, version, VERSION)
            version = _migrate(db)
        db.execute("PRAGMA temp_store=MEMORY")  # not before: what is undone of a migration may be as large as the state
    except sqlite3.Error as error:
        db.close()
        raise StateError(f"the state {path} cannot be opened: {error}") from error
    if version != VERSION:
        db.close()
        raise StateError(
            f"the state {path} has version {version}, this program reads versions {min(_MIGRATIONS)} to {VERSION}; "
            "use the program that made it, or another --state"
        )
    return db


def open_unchanged(path: Path) -> sqlite3.Connection:
    """Open the state at `path` for reading alone, be it that others write it meanwhile; nothing in it is changed.

    Raises StateError where it is of another version, or no state at all.
    """
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise StateError(f"the state {path} cannot be opened: {error}") from error
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        db.close()
        raise StateError(f"the state {path} cannot be read: {error}") from error
    if version != VERSION:
        db.close()
        cure = "use the program that made it"
        if version in _MIGRATIONS:
            cure = (
                "its next run makes it one of this version; --export, added to the job's command, does so without a run"
            )
        raise StateError(f"the state {path} has version {version}, this program reads version {VERSION}; {cure}")
    return db
