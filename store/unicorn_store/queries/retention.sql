-- name: delete_old_logs$
-- Log chunks received before `before`, at most `batch` rows. Returns how many went.
WITH old AS (
    SELECT executor_id, seq FROM unicorn.log_chunk WHERE received_at < :before LIMIT :batch
), gone AS (
    DELETE FROM unicorn.log_chunk c USING old WHERE c.executor_id = old.executor_id AND c.seq = old.seq RETURNING 1
)
SELECT count(*) FROM gone;

-- name: delete_old_executors$
-- Executors, and with them their events, logs, blobs and results, of experiments that ended before `before`; at most `batch`.
-- One that still holds a lease or is an orphan stays.
WITH old AS (
    SELECT x.id FROM unicorn.experiment e JOIN unicorn.executor x ON x.experiment_uid = e.uid
    WHERE e.completed_at < :before
      AND NOT EXISTS (SELECT FROM unicorn.node_lease l WHERE l.executor_id = x.id)
      AND NOT EXISTS (SELECT FROM unicorn.orphan o WHERE o.executor_id = x.id)
    LIMIT :batch
), gone AS (
    DELETE FROM unicorn.executor x USING old WHERE x.id = old.id RETURNING 1
)
SELECT count(*) FROM gone;

-- name: delete_old_experiments$
-- Experiments that ended before `before` and have no executor any more; at most `batch`.
WITH old AS (
    SELECT e.uid FROM unicorn.experiment e
    WHERE e.completed_at < :before AND NOT EXISTS (SELECT FROM unicorn.executor x WHERE x.experiment_uid = e.uid)
    LIMIT :batch
), gone AS (
    DELETE FROM unicorn.experiment e USING old WHERE e.uid = old.uid RETURNING 1
)
SELECT count(*) FROM gone;

-- name: delete_unused_graphs$
-- Serialized graphs that nobody has brought since `before` and nobody refers to: no snapshot, no client's experiment, none of the
-- given ones; at most `batch`. `only`: of these namespaces, null: of all.
WITH unused AS (
    SELECT g.namespace, g.sha256 FROM unicorn.serialized_graph g
    WHERE g.stored_at < :before AND (:only::text[] IS NULL OR g.namespace = ANY(:only))
      AND NOT EXISTS (SELECT FROM unicorn.snapshot s WHERE s.graph_namespace = g.namespace AND s.graph_sha256 = g.sha256)
      AND NOT EXISTS (SELECT FROM unicorn.mediated_graph m WHERE m.namespace = g.namespace AND m.sha256 = g.sha256)
      AND NOT EXISTS (SELECT FROM unnest(:namespaces::text[], :digests::text[]) AS named (namespace, sha256)
                      WHERE named.namespace = g.namespace AND named.sha256 = g.sha256)
    LIMIT :batch
), gone AS (
    DELETE FROM unicorn.serialized_graph g USING unused u
    WHERE g.namespace = u.namespace AND g.sha256 = u.sha256 AND g.stored_at < :before
    RETURNING 1
)
SELECT count(*) FROM gone;
