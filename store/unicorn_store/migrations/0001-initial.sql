-- The first schema. Invariants are constraints; what must be fast has its index here.
CREATE SCHEMA IF NOT EXISTS unicorn;

CREATE TYPE unicorn.executor_state AS ENUM
    ('Pending', 'Preparing', 'Prepared', 'Starting', 'CheckedIn', 'Running', 'Succeeded', 'Failed', 'Lost', 'Cancelled');
CREATE TYPE unicorn.operation_verb AS ENUM ('Prepare', 'Start', 'Stop', 'Cleanup');
CREATE TYPE unicorn.operation_state AS ENUM ('Pending', 'Done', 'Failed', 'Cancelled');

-- The history of experiments: a mirror of the custom resource, kept when that is gone.
CREATE TABLE unicorn.experiment (
    uid uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    user_name text NOT NULL,
    attempt int NOT NULL,
    phase text NOT NULL,
    reason text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    spec jsonb NOT NULL,
    status jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    completed_at timestamptz,
    deleted_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX experiment_by_name ON unicorn.experiment (namespace, name, created_at DESC);
CREATE INDEX experiment_ended ON unicorn.experiment (completed_at) WHERE completed_at IS NOT NULL;

-- What an attempt runs, resolved when it leaves Pending. One row a deployment: the gateway reads one, not all.
-- body: {"graph": template, "params": {..}, "environment": {..}|null, "connector": …, "keepAliveSeconds", "cleanup"}
CREATE TABLE unicorn.snapshot (
    experiment_uid uuid NOT NULL REFERENCES unicorn.experiment ON DELETE CASCADE,
    attempt int NOT NULL,
    deployment text NOT NULL,
    position int NOT NULL,
    graph jsonb NOT NULL,
    params jsonb NOT NULL DEFAULT '{}',
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (experiment_uid, attempt, deployment)
);

CREATE TABLE unicorn.executor (
    id uuid PRIMARY KEY,
    experiment_uid uuid NOT NULL REFERENCES unicorn.experiment ON DELETE CASCADE,
    attempt int NOT NULL,
    deployment text NOT NULL,
    index int NOT NULL,                       -- within the deployment, from 0
    node_uid uuid,                            -- of the TargetNode; null: none could be had
    node_name text NOT NULL DEFAULT '',
    node_address text NOT NULL DEFAULT '',
    node_properties jsonb NOT NULL DEFAULT '{}',
    connector_uid uuid,
    state unicorn.executor_state NOT NULL DEFAULT 'Pending',
    reason text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    fence bigint NOT NULL DEFAULT 0,          -- raised by each start
    instance text,                            -- the agent that claimed this row at its check-in
    release_on_check_in boolean NOT NULL DEFAULT false,
    report_results boolean NOT NULL DEFAULT true,
    keep_alive interval NOT NULL,
    cancel_requested_at timestamptz,
    checked_in_at timestamptz,
    released_at timestamptz,
    heard_at timestamptz,
    finished_at timestamptz,
    started boolean NOT NULL DEFAULT false,   -- an agent may exist: a start was tried
    sighting text NOT NULL DEFAULT '',        -- what its connector says: Running | Waiting | Hopeless | Exited | Absent | Unreachable
    sighting_reason text NOT NULL DEFAULT '',
    sighting_message text NOT NULL DEFAULT '',
    exit_code int,
    gone_since timestamptz,                   -- first of the uninterrupted sightings Exited or Absent
    gone_count int NOT NULL DEFAULT 0,
    last_seq bigint NOT NULL DEFAULT 0,
    log_bytes bigint NOT NULL DEFAULT 0,
    blob_bytes bigint NOT NULL DEFAULT 0,
    UNIQUE (experiment_uid, attempt, deployment, index)
) WITH (fillfactor = 70);

-- A claim says who may use a slot of a node; a lease, which executor does. A claim lives while a lease or an orphan refers to it.
CREATE TABLE unicorn.claim (
    node_uid uuid NOT NULL,
    slot int NOT NULL CHECK (slot >= 0),
    holder text NOT NULL,                     -- experiment:<uid> | user:<namespace>/<name> | orphan:<executor>
    PRIMARY KEY (node_uid, slot)
);
CREATE TABLE unicorn.node_lease (
    node_uid uuid NOT NULL,
    slot int NOT NULL,
    executor_id uuid NOT NULL UNIQUE,
    experiment_uid uuid NOT NULL,
    acquired_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node_uid, slot, executor_id),
    FOREIGN KEY (node_uid, slot) REFERENCES unicorn.claim
);
CREATE INDEX node_lease_by_experiment ON unicorn.node_lease (experiment_uid);

-- An executor that could not be shown to be gone. It keeps its slot until stopping is confirmed or a person releases it.
CREATE TABLE unicorn.orphan (
    executor_id uuid PRIMARY KEY,
    experiment_uid uuid NOT NULL,
    namespace text NOT NULL,                  -- of the experiment
    node_uid uuid NOT NULL,
    slot int NOT NULL,
    node_name text NOT NULL,
    node_address text NOT NULL DEFAULT '',
    connector_uid uuid NOT NULL,
    reason text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    recorded_at timestamptz NOT NULL DEFAULT now(),
    tries int NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (node_uid, slot) REFERENCES unicorn.claim
);
CREATE INDEX orphan_by_node ON unicorn.orphan (node_uid);

-- Who waits for which nodes; ahead = higher priority, then earlier.
CREATE TABLE unicorn.waiting (
    experiment_uid uuid PRIMARY KEY REFERENCES unicorn.experiment ON DELETE CASCADE,
    priority int NOT NULL,
    since timestamptz NOT NULL,
    nodes uuid[] NOT NULL
);

-- What may take longer than a pass, on behalf of one executor. Run by the leader, repeatable, taken up again by the next leader.
CREATE TABLE unicorn.operation (
    executor_id uuid NOT NULL REFERENCES unicorn.executor ON DELETE CASCADE,
    verb unicorn.operation_verb NOT NULL,
    experiment_uid uuid NOT NULL,
    connector_uid uuid NOT NULL,
    fence bigint NOT NULL DEFAULT 0,
    state unicorn.operation_state NOT NULL DEFAULT 'Pending',
    tries int NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    not_before timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (executor_id, verb)
);
CREATE INDEX operation_pending ON unicorn.operation (connector_uid, not_before) WHERE state = 'Pending';
CREATE INDEX operation_by_experiment ON unicorn.operation (experiment_uid);

CREATE TABLE unicorn.event (
    executor_id uuid NOT NULL REFERENCES unicorn.executor ON DELETE CASCADE,
    seq bigint NOT NULL,
    kind text NOT NULL,                       -- TaskStarted | TaskFinished | LogDropped
    task text,
    run int,
    try int,
    wall double precision,
    mono double precision,
    boot_id text,
    received_at timestamptz NOT NULL DEFAULT now(),
    late boolean NOT NULL DEFAULT false,
    body jsonb NOT NULL,
    PRIMARY KEY (executor_id, seq)
);
CREATE TABLE unicorn.log_chunk (
    executor_id uuid NOT NULL REFERENCES unicorn.executor ON DELETE CASCADE,
    seq bigint NOT NULL,
    task text,
    run int,
    stream text NOT NULL,
    wall double precision,
    received_at timestamptz NOT NULL DEFAULT now(),
    late boolean NOT NULL DEFAULT false,
    content text,
    blob text,                                -- sha256, in place of content
    PRIMARY KEY (executor_id, seq)
);
CREATE INDEX log_chunk_age ON unicorn.log_chunk USING brin (received_at);

CREATE TABLE unicorn.blob (
    executor_id uuid NOT NULL REFERENCES unicorn.executor ON DELETE CASCADE,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    stored bigint NOT NULL DEFAULT 0,
    complete boolean NOT NULL DEFAULT false,
    PRIMARY KEY (executor_id, sha256)
);
CREATE TABLE unicorn.blob_part (
    executor_id uuid NOT NULL,
    sha256 text NOT NULL,
    start bigint NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (executor_id, sha256, start),
    FOREIGN KEY (executor_id, sha256) REFERENCES unicorn.blob ON DELETE CASCADE
);

CREATE TABLE unicorn.result (
    executor_id uuid PRIMARY KEY REFERENCES unicorn.executor ON DELETE CASCADE,
    outcome text NOT NULL CHECK (outcome IN ('Success', 'Failure')),
    reason text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    results jsonb,
    blob text,                                -- sha256, in place of results
    late boolean NOT NULL DEFAULT false,
    received_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE unicorn.flag (
    experiment_uid uuid NOT NULL REFERENCES unicorn.experiment ON DELETE CASCADE,
    attempt int NOT NULL,
    name text NOT NULL,
    text text,
    integer bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (experiment_uid, attempt, name)
);
CREATE TABLE unicorn.flag_write (
    executor_id uuid NOT NULL REFERENCES unicorn.executor ON DELETE CASCADE,
    run int NOT NULL,
    operation int NOT NULL,
    answer jsonb NOT NULL,
    PRIMARY KEY (executor_id, run, operation)
);
CREATE TABLE unicorn.barrier_arrival (
    experiment_uid uuid NOT NULL REFERENCES unicorn.experiment ON DELETE CASCADE,
    attempt int NOT NULL,
    name text NOT NULL,
    executor_id uuid NOT NULL REFERENCES unicorn.executor ON DELETE CASCADE,
    meeting int NOT NULL,                     -- an executor's n-th arrival belongs to the n-th meeting
    run int NOT NULL,
    operation int NOT NULL,
    PRIMARY KEY (experiment_uid, attempt, name, meeting, executor_id),
    UNIQUE (executor_id, run, operation)
);
CREATE TABLE unicorn.barrier_open (
    experiment_uid uuid NOT NULL REFERENCES unicorn.experiment ON DELETE CASCADE,
    attempt int NOT NULL,
    name text NOT NULL,
    meeting int NOT NULL,
    members int NOT NULL,
    PRIMARY KEY (experiment_uid, attempt, name, meeting)
);

-- One row: when a gateway last ticked, and since when reception is unbroken. Silence is not counted over an outage of ours.
CREATE TABLE unicorn.reception (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    last_tick_at timestamptz NOT NULL DEFAULT now(),
    restored_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO unicorn.reception DEFAULT VALUES;

-- One row: set by `unicorn-operator database restored`; allocation pauses until every connector was observed after that moment.
CREATE TABLE unicorn.restoration (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    restored_at timestamptz,
    observed_at timestamptz
);
INSERT INTO unicorn.restoration DEFAULT VALUES;

-- News, coalesced by PostgreSQL within a transaction: `experiment` wakes the operator, `executor` the long polls of the gateway.
CREATE FUNCTION unicorn.tell(channel text, experiment uuid) RETURNS void LANGUAGE sql AS
    $$ SELECT pg_notify('unicorn_' || channel, experiment::text) $$;
