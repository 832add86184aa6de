-- The projections: what the log says about runs, written in the transaction of its rows (docs/reference/database.md).
-- All of them can be made again from the table log, and are, when `projection.version` is not the code's.
-- Tables that grow with the events are partitioned by the server's time, by week like the log: retention drops partitions.

CREATE TABLE projection (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    version  integer NOT NULL,                       -- 0: make everything again; it is not whole
    rebuilt  timestamptz,                            -- when it was whole again
    epoch    integer,                                -- what was folded last; with version 0: how far a rebuild is
    seq      bigint
);
INSERT INTO projection (version) VALUES (0);

-- Entries of a run that are no events of it (messages, memory, tasks) name it in the header Tc-Run: run and step.
ALTER TABLE log ADD COLUMN step text;
ALTER TABLE log ADD COLUMN size integer;             -- bytes of the body as it came; NULL: mirrored by an older bridge
-- A bundle that was imported is an epoch of its own (reason imported, previous: the epoch that was mirrored then), which
-- is folded after that epoch's sequence imported_at.
ALTER TABLE epoch ADD COLUMN imported_at bigint;
ALTER TABLE checkpoint ADD COLUMN imports integer NOT NULL DEFAULT 0; -- TC_LOG: imports so far, so that the mirror notices
CREATE OR REPLACE VIEW log_current AS
SELECT l.*
FROM log l
JOIN epoch e ON e.id = l.epoch
WHERE e.stream_epoch = (SELECT stream_epoch FROM epoch WHERE reason <> 'imported' ORDER BY id DESC LIMIT 1)
  AND NOT EXISTS (
      SELECT FROM epoch later
      WHERE later.id > l.epoch AND later.stream_epoch = e.stream_epoch AND later.first_seq <= l.seq
  );
DROP INDEX log_run_idx;
CREATE INDEX log_run_idx ON log (project, run, epoch, seq) WHERE run IS NOT NULL;

CREATE TABLE run (
    project       text        NOT NULL,
    run           text        NOT NULL,
    name          text        NOT NULL,
    status        text        NOT NULL,              -- running, finished, failed, killed, crashed
    purpose       text        NOT NULL DEFAULT 'original',
    parent        text,
    forked_from   text,
    forked_at     bigint,
    trace         text,
    begun         boolean     NOT NULL DEFAULT false,-- its `started` came; else what is here is what other events say
    agent         text        NOT NULL,              -- who started it
    started       timestamptz NOT NULL,
    ended         timestamptz,
    heard         timestamptz NOT NULL,              -- server's time of its newest event
    epoch         integer     NOT NULL,
    first_seq     bigint      NOT NULL,
    last_seq      bigint      NOT NULL,
    host          text, pid integer, command text, python text, tracecraft text,
    git_commit    text, git_branch text, git_dirty boolean,
    error_type    text, error_message text,
    reason        text,                              -- of a crash
    last_step     text,                              -- of a crash
    events        bigint      NOT NULL DEFAULT 0,
    steps         bigint      NOT NULL DEFAULT 0,
    errors        bigint      NOT NULL DEFAULT 0,    -- steps that ended in error
    points        bigint      NOT NULL DEFAULT 0,
    problems      bigint      NOT NULL DEFAULT 0,
    dropped       bigint      NOT NULL DEFAULT 0,    -- what writers say they had to drop
    input_tokens bigint NOT NULL DEFAULT 0, cache_read_tokens bigint NOT NULL DEFAULT 0,
    cache_write_tokens bigint NOT NULL DEFAULT 0, output_tokens bigint NOT NULL DEFAULT 0,
    reasoning_tokens bigint NOT NULL DEFAULT 0,
    cost          numeric(18,9),                     -- USD that counts; NULL: nothing known
    unpriced      bigint      NOT NULL DEFAULT 0,    -- counted calls without a known cost
    PRIMARY KEY (project, run)
) WITH (fillfactor = 70);
CREATE INDEX run_started_idx ON run (project, started DESC, run DESC);
CREATE INDEX run_open_idx ON run (project) WHERE status = 'running';
CREATE INDEX run_parent_idx ON run (project, parent) WHERE parent IS NOT NULL;
CREATE INDEX run_name_idx ON run (project, name, started DESC);

-- Runs that somebody deleted: their entries are in the log, and nowhere else.
CREATE TABLE run_deleted (
    project text NOT NULL, run text NOT NULL,
    epoch integer NOT NULL, seq bigint NOT NULL, time timestamptz NOT NULL,
    by text NOT NULL, reason text,
    PRIMARY KEY (project, run)
);

-- Runs whose writers keep a presence; no projection: the bridge's own memory of whose silence means a crash.
CREATE TABLE run_presence (project text NOT NULL, run text NOT NULL, PRIMARY KEY (project, run));

-- Who wrote into a run, and what of it arrived: numbers 1 to last_number but for the holes.
CREATE TABLE run_writer (
    project text NOT NULL, run text NOT NULL, writer text NOT NULL,
    agent       text        NOT NULL,
    last_number bigint      NOT NULL,                -- highest number that arrived
    final       bigint,                              -- number of its `left` or `ended`, when it wrote one
    received    bigint      NOT NULL,                -- distinct numbers that arrived
    duplicates  bigint      NOT NULL DEFAULT 0,
    dropped     bigint      NOT NULL DEFAULT 0,
    heard       timestamptz NOT NULL,
    PRIMARY KEY (project, run, writer)
) WITH (fillfactor = 70);
CREATE TABLE run_hole (                              -- numbers that have not arrived, below last_number
    project text NOT NULL, run text NOT NULL, writer text NOT NULL,
    first_number bigint NOT NULL, last_number bigint NOT NULL,
    PRIMARY KEY (project, run, writer, first_number)
);

-- Events that could not be read as what their subject says; the entry itself is in the log.
CREATE TABLE run_problem (
    project text NOT NULL, run text NOT NULL,
    epoch integer NOT NULL, seq bigint NOT NULL, time timestamptz NOT NULL,
    subject text NOT NULL, problem text NOT NULL,
    PRIMARY KEY (project, run, epoch, seq)
);

CREATE TABLE run_param (
    project text NOT NULL, run text NOT NULL, key text NOT NULL,
    value  jsonb NOT NULL,
    text   text  NOT NULL,                           -- strings bare, anything else as JSON
    number double precision,                         -- of numbers and of text that is one
    PRIMARY KEY (project, run, key)
);
CREATE INDEX run_param_text_idx ON run_param (project, key, left(text, 200));
CREATE INDEX run_param_number_idx ON run_param (project, key, number) WHERE number IS NOT NULL;

CREATE TABLE run_tag (
    project text NOT NULL, run text NOT NULL, key text NOT NULL, value text NOT NULL,
    PRIMARY KEY (project, run, key)
);
CREATE INDEX run_tag_value_idx ON run_tag (project, key, left(value, 200));
-- How many runs have a key with this value: without it the planner takes them for independent and is far off.
CREATE STATISTICS run_param_text_statistics (mcv) ON project, key, left(text, 200) FROM run_param;
CREATE STATISTICS run_param_number_statistics (mcv) ON project, key, number FROM run_param;
CREATE STATISTICS run_tag_statistics (mcv) ON project, key, left(value, 200) FROM run_tag;

CREATE TABLE run_agent (
    project text NOT NULL, run text NOT NULL, agent text NOT NULL,
    model text, role text,
    status  text NOT NULL,                           -- running, ok, error
    started timestamptz NOT NULL, ended timestamptz,
    first_seq bigint NOT NULL,
    steps bigint NOT NULL DEFAULT 0, errors bigint NOT NULL DEFAULT 0,
    last_step text,                                  -- newest step that began
    PRIMARY KEY (project, run, agent)
) WITH (fillfactor = 70);

-- Steps that have begun and not ended.
CREATE TABLE step_open (
    project text NOT NULL, run text NOT NULL, step text NOT NULL,
    agent text NOT NULL, parent text, kind text NOT NULL, name text NOT NULL, task text,
    started timestamptz NOT NULL,
    epoch integer NOT NULL, first_seq bigint NOT NULL,
    input_seq bigint, output_seq bigint, input_blob text, output_blob text, input_preview text, output_preview text,
    PRIMARY KEY (project, run, step)
);
-- Steps that have ended; written once.
CREATE TABLE step (
    project text NOT NULL, run text NOT NULL, step text NOT NULL,
    agent text NOT NULL, parent text, kind text NOT NULL, name text NOT NULL, task text,
    status text NOT NULL,                            -- ok, error, lost (its run crashed or ended before it)
    started timestamptz NOT NULL, ended timestamptz NOT NULL, duration_us bigint NOT NULL,
    error_type text, error_message text,
    epoch integer NOT NULL, first_seq bigint NOT NULL, last_seq bigint NOT NULL,
    input_seq bigint, output_seq bigint,             -- the events that hold the values, in the log and in the bundle
    input_blob text, output_blob text,               -- SHA-256
    input_preview text, output_preview text,
    time timestamptz NOT NULL                        -- server's, of the last event
) PARTITION BY RANGE (time);
CREATE TABLE step_default PARTITION OF step DEFAULT;
CREATE INDEX step_run_idx ON step (project, run, epoch, first_seq);
CREATE INDEX step_id_idx ON step (step);
CREATE INDEX step_error_idx ON step (project, run, epoch, first_seq) WHERE status <> 'ok';

-- Metric points, as they came: one row for each key of an event.
CREATE TABLE metric_chunk (
    project text NOT NULL, run text NOT NULL, key text NOT NULL, agent text NOT NULL,
    epoch integer NOT NULL, seq bigint NOT NULL, time timestamptz NOT NULL,
    steps bigint[] NOT NULL, times bigint[] NOT NULL,-- microseconds since 1970, the writer's clock
    vals double precision[] NOT NULL
) PARTITION BY RANGE (time);
CREATE TABLE metric_chunk_default PARTITION OF metric_chunk DEFAULT;
CREATE INDEX metric_chunk_idx ON metric_chunk (project, run, key, epoch, seq);

CREATE TABLE metric_latest (
    project text NOT NULL, run text NOT NULL, key text NOT NULL, agent text NOT NULL, -- agent '': of the whole run
    value double precision NOT NULL, step bigint NOT NULL, time timestamptz NOT NULL, -- newest: highest step, then last
    first double precision NOT NULL, min double precision, max double precision, sum double precision NOT NULL,
    points bigint NOT NULL, nans bigint NOT NULL DEFAULT 0,                           -- min, max, sum: of numbers only
    PRIMARY KEY (project, run, key, agent)
) WITH (fillfactor = 70);
CREATE INDEX metric_latest_value_idx ON metric_latest (project, key, value, run) WHERE agent = '';

-- Roll-ups of the steps, so that a plot never reads raw points. Width in steps: 64, 1024, 32768.
CREATE TABLE metric_bucket (
    project text NOT NULL, run text NOT NULL, key text NOT NULL, agent text NOT NULL,
    width integer NOT NULL, bucket bigint NOT NULL,  -- steps from bucket * width on
    points bigint NOT NULL, nans bigint NOT NULL DEFAULT 0, min double precision, max double precision, sum double precision NOT NULL,
    first double precision NOT NULL, last double precision NOT NULL,
    first_time timestamptz NOT NULL, last_time timestamptz NOT NULL,
    PRIMARY KEY (project, run, key, agent, width, bucket)
) WITH (fillfactor = 70);

CREATE TABLE artifact (
    project text NOT NULL, run text NOT NULL, name text NOT NULL,
    sha256 text NOT NULL, size bigint NOT NULL, media_type text NOT NULL, kind text NOT NULL,
    agent text NOT NULL, step text, time timestamptz NOT NULL, epoch integer NOT NULL, seq bigint NOT NULL,
    PRIMARY KEY (project, run, name)
);
CREATE INDEX artifact_hash_idx ON artifact (sha256);
CREATE INDEX artifact_time_idx ON artifact (project, time, run, name);

CREATE TABLE cost_entry (
    project text NOT NULL, run text NOT NULL, agent text NOT NULL, step text, task text,
    epoch integer NOT NULL, seq bigint NOT NULL, time timestamptz NOT NULL,
    provider text, model text,
    input_tokens bigint NOT NULL, cache_read_tokens bigint NOT NULL, cache_write_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL, reasoning_tokens bigint NOT NULL,
    amount numeric(18,9), currency text,             -- NULL: unknown
    source text,                                     -- reported, genai-prices
    price_version text,
    cause text NOT NULL, request text,
    counted boolean NOT NULL                         -- false: fork, replay, or a call that was reported before
) PARTITION BY RANGE (time);
CREATE TABLE cost_entry_default PARTITION OF cost_entry DEFAULT;
CREATE INDEX cost_entry_idx ON cost_entry (project, run, step);
CREATE INDEX cost_request_idx ON cost_entry (project, request) WHERE request IS NOT NULL;

-- Coordination: messages with what became of them, memory versions, attempts at tasks.
CREATE TABLE message (
    project text NOT NULL, epoch integer NOT NULL, seq bigint NOT NULL, time timestamptz NOT NULL,
    sender text NOT NULL, recipient text,            -- NULL: to all
    kind text NOT NULL, thread text, reply_to bigint,
    run text, step text, size integer NOT NULL, preview text NOT NULL
) PARTITION BY RANGE (time);
CREATE TABLE message_default PARTITION OF message DEFAULT;
CREATE INDEX message_idx ON message (project, epoch, seq);
CREATE INDEX message_run_idx ON message (project, run, epoch, seq) WHERE run IS NOT NULL;
CREATE TABLE delivery (
    project text NOT NULL, message bigint NOT NULL, reader text NOT NULL, state text NOT NULL,
    epoch integer NOT NULL, seq bigint NOT NULL, time timestamptz NOT NULL
) PARTITION BY RANGE (time);
CREATE TABLE delivery_default PARTITION OF delivery DEFAULT;
CREATE INDEX delivery_idx ON delivery (project, message);

CREATE TABLE memory_version (
    project text NOT NULL, key text NOT NULL, epoch integer NOT NULL, seq bigint NOT NULL, time timestamptz NOT NULL,
    revision bigint, operation text NOT NULL, agent text, run text, step text, fence text, size integer NOT NULL
) PARTITION BY RANGE (time);
CREATE TABLE memory_version_default PARTITION OF memory_version DEFAULT;
CREATE INDEX memory_version_idx ON memory_version (project, key, epoch, seq);

CREATE TABLE task_attempt (
    project text NOT NULL, task text NOT NULL, attempt integer NOT NULL,
    agent text NOT NULL, session text, fence bigint, epoch integer NOT NULL, first_seq bigint NOT NULL, last_seq bigint NOT NULL,
    claimed timestamptz NOT NULL, ended timestamptz,
    outcome text NOT NULL,                           -- claimed, done, failed, blocked, needs_review, released, lost, forced
    run text, note text,
    PRIMARY KEY (project, task, attempt, epoch)
) WITH (fillfactor = 70);

-- The artifact store: no projections, this is the bridge's own knowledge of what lies in SeaweedFS.
CREATE TABLE blob (
    sha256 text PRIMARY KEY,
    size bigint NOT NULL,
    object_key text NOT NULL,
    verified timestamptz NOT NULL DEFAULT now(),     -- when the bridge read it back and the hash was right; -infinity: found damaged since
    wanted timestamptz NOT NULL DEFAULT now()        -- when somebody last put it: from here on it must be referenced in time
);
CREATE INDEX blob_wanted_idx ON blob (wanted);
CREATE INDEX step_input_blob_idx ON step (input_blob) WHERE input_blob IS NOT NULL;
CREATE INDEX step_output_blob_idx ON step (output_blob) WHERE output_blob IS NOT NULL;
CREATE TABLE blob_upload (
    id text PRIMARY KEY, project text NOT NULL, sha256 text NOT NULL, size bigint NOT NULL,
    object_key text NOT NULL,
    multipart text, part_size bigint,                -- NULL: in one piece
    asked timestamptz NOT NULL DEFAULT now()         -- when somebody last wanted to go on with it
);
CREATE INDEX blob_upload_idx ON blob_upload (project, sha256);
CREATE TABLE bundle (
    project text NOT NULL, run text NOT NULL,
    sha256 text NOT NULL, size bigint NOT NULL, root text NOT NULL,  -- root of the hash tree
    epoch integer NOT NULL, first_seq bigint NOT NULL, last_seq bigint NOT NULL, made timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project, run)
);
CREATE INDEX bundle_hash_idx ON bundle (sha256);
