-- Graphs as netunicorn's client pickled them: opaque bytes, content-addressed within a namespace, never loaded by the server.
-- depends: 0002-roles
CREATE TABLE unicorn.serialized_graph (
    namespace text NOT NULL,
    sha256 text NOT NULL,
    content bytea NOT NULL,
    report_results boolean NOT NULL,          -- as the pickle says it; read at upload
    created_at timestamptz NOT NULL DEFAULT now(),
    stored_at timestamptz NOT NULL DEFAULT now(),  -- the last time that somebody brought it
    PRIMARY KEY (namespace, sha256),
    CHECK (sha256 = encode(sha256(content), 'hex'))
);
CREATE INDEX serialized_graph_age ON unicorn.serialized_graph (stored_at);

-- A deployment's snapshot refers to its graph: it stays for as long as the record of the experiment does.
ALTER TABLE unicorn.snapshot
    ADD COLUMN graph_namespace text,
    ADD COLUMN graph_sha256 text,
    ADD CONSTRAINT snapshot_graph FOREIGN KEY (graph_namespace, graph_sha256) REFERENCES unicorn.serialized_graph,
    ADD CONSTRAINT snapshot_graph_whole CHECK ((graph_namespace IS NULL) = (graph_sha256 IS NULL));
CREATE INDEX snapshot_by_graph ON unicorn.snapshot (graph_namespace, graph_sha256) WHERE graph_sha256 IS NOT NULL;

DO $roles$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_operator') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON unicorn.serialized_graph TO unicorn_operator;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_executor_gateway') THEN
        GRANT SELECT ON unicorn.serialized_graph TO unicorn_executor_gateway;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_user_gateway') THEN
        GRANT SELECT, INSERT ON unicorn.serialized_graph TO unicorn_user_gateway;
        GRANT UPDATE (stored_at) ON unicorn.serialized_graph TO unicorn_user_gateway;
    END IF;
END
$roles$;
