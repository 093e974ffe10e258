-- Serialized graphs: opaque bytes by (namespace, sha256).

-- name: graphs_touch!
-- Those of these that are there count as brought anew; not each time, so that equal deployments do not queue for a row.
UPDATE unicorn.serialized_graph SET stored_at = now()
WHERE namespace = :namespace AND sha256 = ANY(:digests::text[]) AND stored_at < now() - interval '1 hour';

-- name: graphs_there
-- Which of these are there, and stay there until the end of the transaction.
SELECT sha256 FROM unicorn.serialized_graph WHERE namespace = :namespace AND sha256 = ANY(:digests::text[]) FOR KEY SHARE;

-- name: graphs_insert!
-- New ones; whoever waits for a graph of this namespace is told.
WITH made AS (
    INSERT INTO unicorn.serialized_graph (namespace, sha256, content, report_results)
    SELECT :namespace, digest, content, report_results
    FROM unnest(:digests::text[], :contents::bytea[], :reports::boolean[]) AS given (digest, content, report_results)
    ON CONFLICT (namespace, sha256) DO UPDATE SET stored_at = now()
    RETURNING namespace
)
SELECT pg_notify('unicorn_graph', namespace) FROM made LIMIT 1;

-- name: graphs_report_results
-- Of those that are there: whether they report results.
SELECT sha256, report_results FROM unicorn.serialized_graph WHERE namespace = :namespace AND sha256 = ANY(:digests::text[]);

-- name: graphs_read$
SELECT content FROM unicorn.serialized_graph WHERE namespace = :namespace AND sha256 = :digest;

-- name: graphs_of_executor$
-- What this executor runs; null where its deployment has no serialized graph.
SELECT g.content FROM unicorn.executor x
JOIN unicorn.snapshot s ON (s.experiment_uid, s.attempt, s.deployment) = (x.experiment_uid, x.attempt, x.deployment)
JOIN unicorn.serialized_graph g ON (g.namespace, g.sha256) = (s.graph_namespace, s.graph_sha256)
WHERE x.id = :id;
