-- The mirror of the log, entry by entry, and what is known about its completeness (docs/reference/database.md).

-- One life of the log's numbering. A stream that is deleted and made again, or that lost its newest messages in a crash
-- and hands out their numbers a second time, begins a new one.
CREATE TABLE epoch (
    id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_epoch text        NOT NULL,               -- metadata tc.epoch of the stream
    first_seq    bigint      NOT NULL,               -- rows of earlier epochs of the same stream_epoch count below this
    previous     integer     REFERENCES epoch,
    reason       text        NOT NULL,               -- first, recreated, went_back
    noticed      timestamptz NOT NULL DEFAULT now()
);

-- Up to where each stream is mirrored; written in the transaction of the rows. The authority, not the consumer.
CREATE TABLE checkpoint (
    stream  text PRIMARY KEY,                        -- TC_LOG; KV_tc_memory and KV_tc_tasks: newest revision sourced
    epoch   integer     NOT NULL REFERENCES epoch,
    seq     bigint,                                  -- NULL for a bucket: the log was made again, begin anew
    updated timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);

-- Messages that existed and are not in the log table, and why.
CREATE TABLE gap (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream    text        NOT NULL,
    epoch     integer     NOT NULL REFERENCES epoch,
    first_seq bigint      NOT NULL,
    last_seq  bigint      NOT NULL,
    reason    text        NOT NULL,
    noticed   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE log (
    epoch         integer     NOT NULL,
    seq           bigint      NOT NULL,              -- in the stream TC_LOG
    time          timestamptz NOT NULL,              -- when the server stored it
    project       text,
    family        text        NOT NULL,              -- msg, all, receipt, agent, run, memory, task, other
    agent         text,                              -- who wrote it; family agent: whom it is about
    recipient     text,                              -- msg: to whom; receipt: who sent the message
    run           text,
    event         text,                              -- agent and run: joined, metric, step.started, ...
    key           text,                              -- memory key or task id
    subject       text        NOT NULL,
    body          jsonb,                             -- NULL: empty, or not storable as JSON (then raw and problem)
    raw           bytea,
    problem       text,
    headers       jsonb,
    origin_stream text,                              -- memory and task: the bucket's stream and the revision there
    origin_seq    bigint,
    operation     text,                              -- memory and task: PUT, DEL, PURGE
    PRIMARY KEY (epoch, seq, time)
) PARTITION BY RANGE (time);

CREATE TABLE log_default PARTITION OF log DEFAULT;   -- times for which no partition was made: never refuses a row

CREATE INDEX log_key_idx ON log (project, family, key, epoch, seq) WHERE key IS NOT NULL;
CREATE INDEX log_origin_idx ON log (origin_stream, origin_seq) WHERE origin_stream IS NOT NULL;
CREATE INDEX log_talk_idx ON log (project, epoch, seq) WHERE family IN ('msg', 'all', 'receipt', 'other');
CREATE INDEX log_agent_idx ON log (project, agent, epoch, seq) WHERE family = 'agent';
CREATE INDEX log_run_idx ON log (project, run, epoch, seq) WHERE family = 'run';
CREATE INDEX log_time_idx ON log USING brin (time) WITH (autosummarize = on);

-- The rows that make up the newest life of the log, without those whose numbers were handed out again.
CREATE VIEW log_current AS
SELECT l.*
FROM log l
JOIN epoch e ON e.id = l.epoch
WHERE e.stream_epoch = (SELECT stream_epoch FROM epoch ORDER BY id DESC LIMIT 1)
  AND NOT EXISTS (
      SELECT FROM epoch later
      WHERE later.id > l.epoch AND later.stream_epoch = e.stream_epoch AND later.first_seq <= l.seq
  );
