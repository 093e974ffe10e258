-- Images that are built: one row for one platform of one content, whoever asks for it.
-- depends: 0002-roles
CREATE TYPE unicorn.build_state AS ENUM ('Waiting', 'Running', 'Succeeded', 'Failed', 'Cancelled');

-- The hash is of all that decides the image (the base's digest, the commands, the files' contents, the agent, the platform).
-- A run is a Job or a process: claimed by the step from Waiting to Running, which raises `run`, and found again by hash and run.
CREATE TABLE unicorn.environment_build (
    hash text PRIMARY KEY,
    platform text NOT NULL,
    namespace text NOT NULL,                  -- that asked for the run under way or to come: fairness counts by it
    inputs jsonb NOT NULL,                    -- all that the hash is of
    state unicorn.build_state NOT NULL DEFAULT 'Waiting',
    run int NOT NULL DEFAULT 0,
    tries int NOT NULL DEFAULT 0,             -- of this asking, that failed for no fault of the content
    fresh boolean NOT NULL DEFAULT false,     -- without any cache
    due text[] NOT NULL DEFAULT '{}',         -- rebuild: NAMESPACE/TOKEN that the run to come, or under way, is for
    honoured text[] NOT NULL DEFAULT '{}',    -- and those of runs that have ended; the last 100
    image text NOT NULL DEFAULT '',           -- repository@digest of the last success; stays during another run
    size bigint NOT NULL DEFAULT 0,           -- of its manifest
    media_type text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',          -- why it failed, or is tried again
    message text NOT NULL DEFAULT '',
    step text NOT NULL DEFAULT '',            -- how far the run is: "3/7 title"
    report jsonb,                             -- what the last run said at its end
    requested_at timestamptz NOT NULL DEFAULT now(),
    not_before timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    used_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX environment_build_open ON unicorn.environment_build (requested_at) WHERE state IN ('Waiting', 'Running');

-- Who waits for it: a build that nobody waits for any more is ended.
CREATE TABLE unicorn.build_request (
    hash text NOT NULL REFERENCES unicorn.environment_build ON DELETE CASCADE,
    requester uuid NOT NULL,                  -- of an Experiment or Environment
    namespace text NOT NULL,
    pull_secret text NOT NULL DEFAULT '',     -- name of the Secret in that namespace with which its base is pulled
    requested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hash, requester)
);
CREATE INDEX build_request_by_requester ON unicorn.build_request (requester);

-- All that a run has said; of a very long one its beginning and its end.
CREATE TABLE unicorn.build_log (
    hash text NOT NULL REFERENCES unicorn.environment_build ON DELETE CASCADE,
    run int NOT NULL,
    content text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hash, run)
);
CREATE INDEX build_log_age ON unicorn.build_log (received_at);

-- Whether a build that somebody asks for now begins once more. `wish`: their token, NAMESPACE/TOKEN, or nothing. `first`: they
-- have not asked before.
CREATE FUNCTION unicorn.begins_anew(b unicorn.environment_build, wish text[], asked_at timestamptz, first boolean) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT b.state = 'Cancelled'
        OR (b.state = 'Failed' AND first AND b.finished_at < asked_at AND (b.image = '' OR wish <> '{}'))
        OR (b.state IN ('Succeeded', 'Failed') AND NOT wish <@ b.honoured)
$$;

-- What an attempt's images are, once they are known: {"builds": {platform: hash}, "images": {platform: repository@digest}}.
ALTER TABLE unicorn.snapshot ADD COLUMN compiled jsonb NOT NULL DEFAULT '{}';

DO $roles$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_operator') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON unicorn.environment_build, unicorn.build_request, unicorn.build_log
            TO unicorn_operator;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_user_gateway') THEN
        GRANT SELECT ON unicorn.environment_build, unicorn.build_request, unicorn.build_log TO unicorn_user_gateway;
    END IF;
END
$roles$;
