-- What an executor of a serialized graph reports: base64-decoded, otherwise the bytes that it sent, never loaded by the server.
-- depends: 0002-roles
CREATE TABLE unicorn.executor_report (
    executor_id uuid PRIMARY KEY REFERENCES unicorn.executor ON DELETE CASCADE,
    content bytea NOT NULL,                   -- a pickle: [Result, [log line]]
    final boolean NOT NULL,                   -- a final one stays; before it each replaces the last
    log_lines bigint NOT NULL DEFAULT 0,      -- lines of its log that are in log_chunk
    received_at timestamptz NOT NULL DEFAULT now()
);

DO $roles$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_operator') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON unicorn.executor_report TO unicorn_operator;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_executor_gateway') THEN
        GRANT SELECT, INSERT, UPDATE ON unicorn.executor_report TO unicorn_executor_gateway;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_user_gateway') THEN
        GRANT SELECT ON unicorn.executor_report TO unicorn_user_gateway;
    END IF;
END
$roles$;
