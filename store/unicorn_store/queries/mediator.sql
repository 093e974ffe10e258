-- What the mediator, for netunicorn's client, keeps and reads.

-- name: mediator_claim$
-- The name is taken by this row from now on; null when another row has it.
INSERT INTO unicorn.mediated_experiment (id, namespace, name, user_name, resource, manifest, orders, error, ended_at)
VALUES (:id, :namespace, :name, :user_name, :resource, :manifest, :orders, :error,
        CASE WHEN :error::text IS NOT NULL THEN now() END)
ON CONFLICT (namespace, name) DO NOTHING
RETURNING id;

-- name: mediator_keep_graphs!
INSERT INTO unicorn.mediated_graph (experiment, namespace, sha256)
SELECT :id, :namespace, digest FROM unnest(:digests::text[]) AS digest;

-- name: mediator_by_name^
SELECT *, now() - created_at AS age FROM unicorn.mediated_experiment WHERE namespace = :namespace AND name = :name;

-- name: mediator_of_namespace
-- Oldest first, without what each one orders.
SELECT id, namespace, name, user_name, created_at, resource, uid, manifest IS NOT NULL AS unmade, error, started_at, ended_at
FROM unicorn.mediated_experiment WHERE namespace = :namespace ORDER BY created_at, id;

-- name: mediator_made$
-- Its Experiment, and all that belongs to it, exists. Null when it was forgotten or ended meanwhile.
UPDATE unicorn.mediated_experiment SET uid = :uid, manifest = NULL
WHERE id = :id AND (manifest IS NOT NULL OR uid = :uid)
RETURNING true;

-- name: mediator_end$
-- One without an Experiment: READY until it is started or cancelled, then at its end. True when it was not there yet.
UPDATE unicorn.mediated_experiment
SET started_at = CASE WHEN :started THEN now() END, ended_at = now(), manifest = NULL
WHERE id = :id AND ended_at IS NULL AND uid IS NULL
RETURNING true;

-- name: mediator_forget!
-- The name is free again.
DELETE FROM unicorn.mediated_experiment WHERE id = :id;

-- name: mediator_forget_deleted$
-- Those whose Experiments are gone, at most `batch`. Returns how many went.
WITH gone AS (
    DELETE FROM unicorn.mediated_experiment WHERE id IN (
        SELECT m.id FROM unicorn.mediated_experiment m JOIN unicorn.experiment e ON e.uid = m.uid
        WHERE e.deleted_at < :before LIMIT :batch)
    RETURNING 1
)
SELECT count(*) FROM gone;

-- name: mediator_graph_sizes
SELECT sha256, octet_length(content) AS size FROM unicorn.serialized_graph
WHERE namespace = :namespace AND sha256 = ANY(:digests::text[]);

-- name: mediator_graphs
SELECT sha256, content FROM unicorn.serialized_graph WHERE namespace = :namespace AND sha256 = ANY(:digests::text[]);

-- name: mediator_executors
-- The executors of an attempt in the deployments' order; `report_bytes`: of what each has reported, null if nothing.
SELECT x.id, x.deployment, x.index, x.node_name, x.node_properties, x.connector_uid, x.state::text AS state, x.reason, x.message,
       x.started OR x.state IN ('Prepared', 'Starting', 'CheckedIn', 'Running', 'Succeeded')
           OR EXISTS (SELECT FROM unicorn.operation p WHERE p.executor_id = x.id AND p.verb = 'Prepare' AND p.state = 'Done')
           AS prepared,
       octet_length(r.content) AS report_bytes, coalesce(r.final, false) AS final
FROM unicorn.executor x
LEFT JOIN unicorn.snapshot s ON s.experiment_uid = x.experiment_uid AND s.attempt = x.attempt AND s.deployment = x.deployment
LEFT JOIN unicorn.executor_report r ON r.executor_id = x.id
WHERE x.experiment_uid = :uid AND x.attempt = :attempt
ORDER BY s.position, x.deployment, x.index;

-- name: mediator_snapshots
-- What the deployments of an attempt run: for experiments that were not made by netunicorn's client.
SELECT deployment, graph_sha256, body FROM unicorn.snapshot
WHERE experiment_uid = :uid AND attempt = :attempt ORDER BY position;

-- name: mediator_cancellable
-- Of these executors, those of experiments of this namespace.
SELECT x.id, x.experiment_uid, e.name AS experiment,
       x.state IN ('Succeeded', 'Failed', 'Lost', 'Cancelled') OR e.completed_at IS NOT NULL AS ended
FROM unicorn.executor x JOIN unicorn.experiment e ON e.uid = x.experiment_uid
WHERE x.id = ANY(:ids::uuid[]) AND e.namespace = :namespace AND e.deleted_at IS NULL;

-- name: mediator_cancel_executors!
-- Their user wants them to end. The operator and the gateways hear of it.
WITH touched AS (
    UPDATE unicorn.executor SET cancel_requested_at = coalesce(cancel_requested_at, now())
    WHERE id = ANY(:ids::uuid[])
    RETURNING experiment_uid
)
SELECT unicorn.tell('executor', experiment_uid), unicorn.tell('experiment', experiment_uid)
FROM (SELECT DISTINCT experiment_uid FROM touched) AS told;

-- name: mediator_attempt$
-- The attempt that the records know; null: nothing of the experiment is recorded yet.
SELECT attempt FROM unicorn.experiment WHERE uid = :uid;

-- name: mediator_tell_flag!
SELECT unicorn.tell('flag', :experiment);

-- name: mediator_claims
-- Who has slots of which nodes: a user, or an experiment, then with its namespace.
SELECT c.node_uid, c.slot, c.holder, e.user_name, e.namespace
FROM unicorn.claim c LEFT JOIN unicorn.experiment e ON c.holder = 'experiment:' || e.uid::text;

-- name: mediator_locks
-- The nodes that experiments of this namespace use.
SELECT DISTINCT x.node_name, e.user_name, x.connector_uid
FROM unicorn.node_lease l
JOIN unicorn.executor x ON x.id = l.executor_id
JOIN unicorn.experiment e ON e.uid = l.experiment_uid
WHERE e.namespace = :namespace
ORDER BY x.node_name, e.user_name;

-- name: mediator_recent
-- Experiments of a namespace with the names of their nodes; `since` null: those that are not final.
SELECT e.uid, e.name, e.user_name, e.phase, e.spec ->> 'desiredState' AS desired, e.message, e.created_at, e.started_at,
       coalesce(m.name, e.name) AS shown,
       ARRAY(SELECT x.node_name FROM unicorn.executor x
             WHERE x.experiment_uid = e.uid AND x.attempt = e.attempt AND x.node_name <> '' ORDER BY x.deployment, x.index) AS nodes
FROM unicorn.experiment e LEFT JOIN unicorn.mediated_experiment m ON m.uid = e.uid
WHERE e.namespace = :namespace AND e.deleted_at IS NULL
  AND CASE WHEN :since::timestamptz IS NULL THEN e.completed_at IS NULL ELSE e.created_at > :since END
ORDER BY e.started_at DESC NULLS LAST, e.created_at DESC
LIMIT 1000;
