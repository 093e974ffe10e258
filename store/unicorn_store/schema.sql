-- The sum of migrations/. Generated: python -m unicorn_store dump > store/unicorn_store/schema.sql

CREATE TYPE unicorn.build_state AS ENUM ('Waiting', 'Running', 'Succeeded', 'Failed', 'Cancelled');

CREATE TYPE unicorn.executor_state AS ENUM ('Pending', 'Preparing', 'Prepared', 'Starting', 'CheckedIn', 'Running', 'Succeeded', 'Failed', 'Lost', 'Cancelled');

CREATE TYPE unicorn.operation_state AS ENUM ('Pending', 'Done', 'Failed', 'Cancelled');

CREATE TYPE unicorn.operation_verb AS ENUM ('Prepare', 'Start', 'Stop', 'Cleanup');

CREATE TABLE unicorn.barrier_arrival (
    attempt integer NOT NULL,
    executor_id uuid NOT NULL,
    experiment_uid uuid NOT NULL,
    meeting integer NOT NULL,
    name text NOT NULL,
    operation integer NOT NULL,
    run integer NOT NULL,
    CONSTRAINT barrier_arrival_executor_id_fkey FOREIGN KEY (executor_id) REFERENCES unicorn.executor(id) ON DELETE CASCADE,
    CONSTRAINT barrier_arrival_executor_id_run_operation_key UNIQUE (executor_id, run, operation),
    CONSTRAINT barrier_arrival_experiment_uid_fkey FOREIGN KEY (experiment_uid) REFERENCES unicorn.experiment(uid) ON DELETE CASCADE,
    CONSTRAINT barrier_arrival_pkey PRIMARY KEY (experiment_uid, attempt, name, meeting, executor_id)
);

CREATE TABLE unicorn.barrier_open (
    attempt integer NOT NULL,
    experiment_uid uuid NOT NULL,
    meeting integer NOT NULL,
    members integer NOT NULL,
    name text NOT NULL,
    CONSTRAINT barrier_open_experiment_uid_fkey FOREIGN KEY (experiment_uid) REFERENCES unicorn.experiment(uid) ON DELETE CASCADE,
    CONSTRAINT barrier_open_pkey PRIMARY KEY (experiment_uid, attempt, name, meeting)
);

CREATE TABLE unicorn.blob (
    complete boolean DEFAULT false NOT NULL,
    executor_id uuid NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    stored bigint DEFAULT 0 NOT NULL,
    CONSTRAINT blob_executor_id_fkey FOREIGN KEY (executor_id) REFERENCES unicorn.executor(id) ON DELETE CASCADE,
    CONSTRAINT blob_pkey PRIMARY KEY (executor_id, sha256)
);

CREATE TABLE unicorn.blob_part (
    content bytea NOT NULL,
    executor_id uuid NOT NULL,
    sha256 text NOT NULL,
    start bigint NOT NULL,
    CONSTRAINT blob_part_executor_id_sha256_fkey FOREIGN KEY (executor_id, sha256) REFERENCES unicorn.blob(executor_id, sha256) ON DELETE CASCADE,
    CONSTRAINT blob_part_pkey PRIMARY KEY (executor_id, sha256, start)
);

CREATE TABLE unicorn.build_log (
    content text NOT NULL,
    hash text NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    run integer NOT NULL,
    CONSTRAINT build_log_hash_fkey FOREIGN KEY (hash) REFERENCES unicorn.environment_build(hash) ON DELETE CASCADE,
    CONSTRAINT build_log_pkey PRIMARY KEY (hash, run)
);

CREATE TABLE unicorn.build_request (
    base text DEFAULT ''::text NOT NULL,
    hash text NOT NULL,
    namespace text NOT NULL,
    pull_secret text DEFAULT ''::text NOT NULL,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    requester uuid NOT NULL,
    CONSTRAINT build_request_hash_fkey FOREIGN KEY (hash) REFERENCES unicorn.environment_build(hash) ON DELETE CASCADE,
    CONSTRAINT build_request_pkey PRIMARY KEY (hash, requester)
);

CREATE TABLE unicorn.claim (
    holder text NOT NULL,
    node_uid uuid NOT NULL,
    slot integer NOT NULL,
    CONSTRAINT claim_pkey PRIMARY KEY (node_uid, slot),
    CONSTRAINT claim_slot_check CHECK ((slot >= 0))
);

CREATE TABLE unicorn.environment_build (
    due text[] DEFAULT '{}'::text[] NOT NULL,
    finished_at timestamp with time zone,
    fresh boolean DEFAULT false NOT NULL,
    hash text NOT NULL,
    honoured text[] DEFAULT '{}'::text[] NOT NULL,
    image text DEFAULT ''::text NOT NULL,
    inputs jsonb NOT NULL,
    media_type text DEFAULT ''::text NOT NULL,
    message text DEFAULT ''::text NOT NULL,
    namespace text NOT NULL,
    not_before timestamp with time zone DEFAULT now() NOT NULL,
    platform text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    report jsonb,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    run integer DEFAULT 0 NOT NULL,
    size bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone,
    state unicorn.build_state DEFAULT 'Waiting'::unicorn.build_state NOT NULL,
    step text DEFAULT ''::text NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    used_at timestamp with time zone DEFAULT now() NOT NULL,
    waits integer DEFAULT 0 NOT NULL,
    CONSTRAINT environment_build_pkey PRIMARY KEY (hash)
);

CREATE TABLE unicorn.event (
    body jsonb NOT NULL,
    boot_id text,
    executor_id uuid NOT NULL,
    kind text NOT NULL,
    late boolean DEFAULT false NOT NULL,
    mono double precision,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    run integer,
    seq bigint NOT NULL,
    task text,
    try integer,
    wall double precision,
    CONSTRAINT event_executor_id_fkey FOREIGN KEY (executor_id) REFERENCES unicorn.executor(id) ON DELETE CASCADE,
    CONSTRAINT event_pkey PRIMARY KEY (executor_id, seq)
);

CREATE TABLE unicorn.executor (
    attempt integer NOT NULL,
    blob_bytes bigint DEFAULT 0 NOT NULL,
    cancel_requested_at timestamp with time zone,
    checked_in_at timestamp with time zone,
    connector_uid uuid,
    deployment text NOT NULL,
    exit_code integer,
    experiment_uid uuid NOT NULL,
    fence bigint DEFAULT 0 NOT NULL,
    finished_at timestamp with time zone,
    gone_count integer DEFAULT 0 NOT NULL,
    gone_since timestamp with time zone,
    heard_at timestamp with time zone,
    id uuid NOT NULL,
    index integer NOT NULL,
    instance text,
    keep_alive interval NOT NULL,
    last_seq bigint DEFAULT 0 NOT NULL,
    log_bytes bigint DEFAULT 0 NOT NULL,
    message text DEFAULT ''::text NOT NULL,
    node_address text DEFAULT ''::text NOT NULL,
    node_name text DEFAULT ''::text NOT NULL,
    node_properties jsonb DEFAULT '{}'::jsonb NOT NULL,
    node_uid uuid,
    reason text DEFAULT ''::text NOT NULL,
    release_on_check_in boolean DEFAULT false NOT NULL,
    released_at timestamp with time zone,
    report_results boolean DEFAULT true NOT NULL,
    sighting text DEFAULT ''::text NOT NULL,
    sighting_message text DEFAULT ''::text NOT NULL,
    sighting_reason text DEFAULT ''::text NOT NULL,
    started boolean DEFAULT false NOT NULL,
    state unicorn.executor_state DEFAULT 'Pending'::unicorn.executor_state NOT NULL,
    CONSTRAINT executor_experiment_uid_attempt_deployment_index_key UNIQUE (experiment_uid, attempt, deployment, index),
    CONSTRAINT executor_experiment_uid_fkey FOREIGN KEY (experiment_uid) REFERENCES unicorn.experiment(uid) ON DELETE CASCADE,
    CONSTRAINT executor_pkey PRIMARY KEY (id)
) WITH (fillfactor=70);

CREATE TABLE unicorn.executor_report (
    content bytea NOT NULL,
    executor_id uuid NOT NULL,
    final boolean NOT NULL,
    log_lines bigint DEFAULT 0 NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT executor_report_executor_id_fkey FOREIGN KEY (executor_id) REFERENCES unicorn.executor(id) ON DELETE CASCADE,
    CONSTRAINT executor_report_pkey PRIMARY KEY (executor_id)
);

CREATE TABLE unicorn.experiment (
    attempt integer NOT NULL,
    completed_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone,
    message text DEFAULT ''::text NOT NULL,
    name text NOT NULL,
    namespace text NOT NULL,
    phase text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    spec jsonb NOT NULL,
    started_at timestamp with time zone,
    status jsonb DEFAULT '{}'::jsonb NOT NULL,
    uid uuid NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    user_name text NOT NULL,
    CONSTRAINT experiment_pkey PRIMARY KEY (uid)
);

CREATE TABLE unicorn.flag (
    attempt integer NOT NULL,
    experiment_uid uuid NOT NULL,
    integer bigint DEFAULT 0 NOT NULL,
    name text NOT NULL,
    text text,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT flag_experiment_uid_fkey FOREIGN KEY (experiment_uid) REFERENCES unicorn.experiment(uid) ON DELETE CASCADE,
    CONSTRAINT flag_pkey PRIMARY KEY (experiment_uid, attempt, name)
);

CREATE TABLE unicorn.flag_write (
    answer jsonb NOT NULL,
    executor_id uuid NOT NULL,
    operation integer NOT NULL,
    run integer NOT NULL,
    CONSTRAINT flag_write_executor_id_fkey FOREIGN KEY (executor_id) REFERENCES unicorn.executor(id) ON DELETE CASCADE,
    CONSTRAINT flag_write_pkey PRIMARY KEY (executor_id, run, operation)
);

CREATE TABLE unicorn.log_chunk (
    blob text,
    content text,
    executor_id uuid NOT NULL,
    late boolean DEFAULT false NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    run integer,
    seq bigint NOT NULL,
    stream text NOT NULL,
    task text,
    wall double precision,
    CONSTRAINT log_chunk_executor_id_fkey FOREIGN KEY (executor_id) REFERENCES unicorn.executor(id) ON DELETE CASCADE,
    CONSTRAINT log_chunk_pkey PRIMARY KEY (executor_id, seq)
);

CREATE TABLE unicorn.mediated_experiment (
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    error text,
    id uuid NOT NULL,
    manifest jsonb,
    name text NOT NULL,
    namespace text NOT NULL,
    orders jsonb NOT NULL,
    resource text NOT NULL,
    started_at timestamp with time zone,
    uid uuid,
    user_name text NOT NULL,
    CONSTRAINT mediated_experiment_namespace_name_key UNIQUE (namespace, name),
    CONSTRAINT mediated_experiment_pkey PRIMARY KEY (id),
    CONSTRAINT mediated_experiment_uid_key UNIQUE (uid)
);

CREATE TABLE unicorn.mediated_graph (
    experiment uuid NOT NULL,
    namespace text NOT NULL,
    sha256 text NOT NULL,
    CONSTRAINT mediated_graph_experiment_fkey FOREIGN KEY (experiment) REFERENCES unicorn.mediated_experiment(id) ON DELETE CASCADE,
    CONSTRAINT mediated_graph_namespace_sha256_fkey FOREIGN KEY (namespace, sha256) REFERENCES unicorn.serialized_graph(namespace, sha256),
    CONSTRAINT mediated_graph_pkey PRIMARY KEY (experiment, sha256)
);

CREATE TABLE unicorn.node_lease (
    acquired_at timestamp with time zone DEFAULT now() NOT NULL,
    executor_id uuid NOT NULL,
    experiment_uid uuid NOT NULL,
    node_uid uuid NOT NULL,
    slot integer NOT NULL,
    CONSTRAINT node_lease_executor_id_key UNIQUE (executor_id),
    CONSTRAINT node_lease_node_uid_slot_fkey FOREIGN KEY (node_uid, slot) REFERENCES unicorn.claim(node_uid, slot),
    CONSTRAINT node_lease_pkey PRIMARY KEY (node_uid, slot, executor_id)
);

CREATE TABLE unicorn.operation (
    connector_uid uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    executor_id uuid NOT NULL,
    experiment_uid uuid NOT NULL,
    fence bigint DEFAULT 0 NOT NULL,
    finished_at timestamp with time zone,
    message text DEFAULT ''::text NOT NULL,
    not_before timestamp with time zone DEFAULT now() NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    state unicorn.operation_state DEFAULT 'Pending'::unicorn.operation_state NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    verb unicorn.operation_verb NOT NULL,
    CONSTRAINT operation_executor_id_fkey FOREIGN KEY (executor_id) REFERENCES unicorn.executor(id) ON DELETE CASCADE,
    CONSTRAINT operation_pkey PRIMARY KEY (executor_id, verb)
);

CREATE TABLE unicorn.orphan (
    connector_uid uuid NOT NULL,
    executor_id uuid NOT NULL,
    experiment_uid uuid NOT NULL,
    message text DEFAULT ''::text NOT NULL,
    namespace text NOT NULL,
    next_try_at timestamp with time zone DEFAULT now() NOT NULL,
    node_address text DEFAULT ''::text NOT NULL,
    node_name text NOT NULL,
    node_uid uuid NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    recorded_at timestamp with time zone DEFAULT now() NOT NULL,
    slot integer NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    CONSTRAINT orphan_node_uid_slot_fkey FOREIGN KEY (node_uid, slot) REFERENCES unicorn.claim(node_uid, slot),
    CONSTRAINT orphan_pkey PRIMARY KEY (executor_id)
);

CREATE TABLE unicorn.reception (
    last_tick_at timestamp with time zone DEFAULT now() NOT NULL,
    restored_at timestamp with time zone DEFAULT now() NOT NULL,
    single boolean DEFAULT true NOT NULL,
    CONSTRAINT reception_pkey PRIMARY KEY (single),
    CONSTRAINT reception_single_check CHECK (single)
);

CREATE TABLE unicorn.restoration (
    observed_at timestamp with time zone,
    restored_at timestamp with time zone,
    single boolean DEFAULT true NOT NULL,
    CONSTRAINT restoration_pkey PRIMARY KEY (single),
    CONSTRAINT restoration_single_check CHECK (single)
);

CREATE TABLE unicorn.result (
    blob text,
    executor_id uuid NOT NULL,
    late boolean DEFAULT false NOT NULL,
    message text DEFAULT ''::text NOT NULL,
    outcome text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    results jsonb,
    CONSTRAINT result_executor_id_fkey FOREIGN KEY (executor_id) REFERENCES unicorn.executor(id) ON DELETE CASCADE,
    CONSTRAINT result_outcome_check CHECK ((outcome = ANY (ARRAY['Success'::text, 'Failure'::text]))),
    CONSTRAINT result_pkey PRIMARY KEY (executor_id)
);

CREATE TABLE unicorn.serialized_graph (
    content bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    namespace text NOT NULL,
    report_results boolean NOT NULL,
    sha256 text NOT NULL,
    stored_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT serialized_graph_check CHECK ((sha256 = encode(sha256(content), 'hex'::text))),
    CONSTRAINT serialized_graph_pkey PRIMARY KEY (namespace, sha256)
);

CREATE TABLE unicorn.snapshot (
    attempt integer NOT NULL,
    body jsonb NOT NULL,
    compiled jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deployment text NOT NULL,
    experiment_uid uuid NOT NULL,
    graph jsonb NOT NULL,
    graph_namespace text,
    graph_sha256 text,
    params jsonb DEFAULT '{}'::jsonb NOT NULL,
    position integer NOT NULL,
    CONSTRAINT snapshot_experiment_uid_fkey FOREIGN KEY (experiment_uid) REFERENCES unicorn.experiment(uid) ON DELETE CASCADE,
    CONSTRAINT snapshot_graph FOREIGN KEY (graph_namespace, graph_sha256) REFERENCES unicorn.serialized_graph(namespace, sha256),
    CONSTRAINT snapshot_graph_whole CHECK (((graph_namespace IS NULL) = (graph_sha256 IS NULL))),
    CONSTRAINT snapshot_pkey PRIMARY KEY (experiment_uid, attempt, deployment)
);

CREATE TABLE unicorn.user_account (
    access_tags text[] DEFAULT '{}'::text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    groups text[] DEFAULT '{}'::text[] NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    kubernetes_user text NOT NULL,
    method text NOT NULL,
    name text NOT NULL,
    namespace text NOT NULL,
    password_changed_at timestamp with time zone DEFAULT now() NOT NULL,
    password_hash text,
    sudo boolean DEFAULT false NOT NULL,
    CONSTRAINT user_account_check CHECK (((method = 'database'::text) = (password_hash IS NOT NULL))),
    CONSTRAINT user_account_kubernetes_user_key UNIQUE (kubernetes_user),
    CONSTRAINT user_account_name_check CHECK (((name <> ''::text) AND (length(name) <= 128))),
    CONSTRAINT user_account_name_key UNIQUE (name),
    CONSTRAINT user_account_pkey PRIMARY KEY (id)
);

CREATE TABLE unicorn.waiting (
    experiment_uid uuid NOT NULL,
    nodes uuid[] NOT NULL,
    priority integer NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT waiting_experiment_uid_fkey FOREIGN KEY (experiment_uid) REFERENCES unicorn.experiment(uid) ON DELETE CASCADE,
    CONSTRAINT waiting_pkey PRIMARY KEY (experiment_uid)
);

CREATE INDEX build_log_age ON unicorn.build_log USING btree (received_at);

CREATE INDEX build_request_by_requester ON unicorn.build_request USING btree (requester);

CREATE INDEX environment_build_open ON unicorn.environment_build USING btree (requested_at) WHERE (state = ANY (ARRAY['Waiting'::unicorn.build_state, 'Running'::unicorn.build_state]));

CREATE INDEX experiment_by_age ON unicorn.experiment USING btree (namespace, created_at DESC, uid DESC);

CREATE INDEX experiment_by_name ON unicorn.experiment USING btree (namespace, name, created_at DESC);

CREATE INDEX experiment_ended ON unicorn.experiment USING btree (completed_at) WHERE (completed_at IS NOT NULL);

CREATE INDEX log_chunk_age ON unicorn.log_chunk USING brin (received_at);

CREATE INDEX mediated_graph_by_graph ON unicorn.mediated_graph USING btree (namespace, sha256);

CREATE INDEX node_lease_by_experiment ON unicorn.node_lease USING btree (experiment_uid);

CREATE INDEX operation_by_experiment ON unicorn.operation USING btree (experiment_uid);

CREATE INDEX operation_pending ON unicorn.operation USING btree (connector_uid, not_before) WHERE (state = 'Pending'::unicorn.operation_state);

CREATE INDEX orphan_by_node ON unicorn.orphan USING btree (node_uid);

CREATE INDEX serialized_graph_age ON unicorn.serialized_graph USING btree (stored_at);

CREATE INDEX snapshot_by_graph ON unicorn.snapshot USING btree (graph_namespace, graph_sha256) WHERE (graph_sha256 IS NOT NULL);

CREATE OR REPLACE FUNCTION unicorn.begins_anew(b unicorn.environment_build, wish text[], asked_at timestamp with time zone, first boolean)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
AS $function$
    SELECT b.state = 'Cancelled'
        OR (b.state = 'Failed' AND first AND b.finished_at < asked_at AND (b.image = '' OR wish <> '{}'))
        OR (b.state IN ('Succeeded', 'Failed') AND NOT wish <@ b.honoured)
$function$
;

CREATE OR REPLACE FUNCTION unicorn.tell(channel text, experiment uuid)
 RETURNS void
 LANGUAGE sql
AS $function$ SELECT pg_notify('unicorn_' || channel, experiment::text) $function$
;
