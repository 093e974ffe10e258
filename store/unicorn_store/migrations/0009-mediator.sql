-- What netunicorn's client asked the mediator for: under the client's own name, in the client's order.
-- depends: 0006-serialized-graphs
CREATE TABLE unicorn.mediated_experiment (
    id uuid PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,                       -- any that a user may give; free again when the row goes
    user_name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    resource text NOT NULL,                   -- metadata.name of its Experiment
    uid uuid UNIQUE,                          -- of that Experiment; null: not made yet, or there is none
    manifest jsonb,                           -- what is still to be made; null: all is made, or there is nothing to make
    orders jsonb NOT NULL,                    -- the deployments as they were sent, graphs by digest
    error text,                               -- why it never became an Experiment
    started_at timestamptz,                   -- start and end of one without an Experiment
    ended_at timestamptz,
    UNIQUE (namespace, name)
);

-- The graphs of its deployments stay while the client may ask for them, also those that no snapshot refers to.
CREATE TABLE unicorn.mediated_graph (
    experiment uuid NOT NULL REFERENCES unicorn.mediated_experiment ON DELETE CASCADE,
    namespace text NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (experiment, sha256),
    FOREIGN KEY (namespace, sha256) REFERENCES unicorn.serialized_graph
);
CREATE INDEX mediated_graph_by_graph ON unicorn.mediated_graph (namespace, sha256);

DO $roles$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_operator') THEN
        GRANT SELECT, DELETE ON unicorn.mediated_experiment, unicorn.mediated_graph TO unicorn_operator;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_user_gateway') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON unicorn.mediated_experiment TO unicorn_user_gateway;
        GRANT SELECT, INSERT ON unicorn.mediated_graph TO unicorn_user_gateway;
        GRANT SELECT, INSERT, UPDATE ON unicorn.flag TO unicorn_user_gateway;
    END IF;
END
$roles$;
