-- How slots are given back: steps of the transactions in leases.py. Whoever takes leases or orphans away locks the claims of
-- their slots first, in the order of their keys, so that of two that give back one slot the later sees what the earlier left.

-- name: lock_slots!
SELECT FROM unicorn.claim c JOIN unnest(:nodes::uuid[], :slots::int[]) AS mine (node_uid, slot) USING (node_uid, slot)
ORDER BY node_uid, slot FOR UPDATE OF c;

-- name: lock_leased_slots!
-- Those that these executors lease.
SELECT FROM unicorn.claim c
WHERE (c.node_uid, c.slot) IN (SELECT l.node_uid, l.slot FROM unicorn.node_lease l WHERE l.executor_id = ANY(:ids::uuid[]))
ORDER BY c.node_uid, c.slot FOR UPDATE OF c;

-- name: lock_orphaned_slots!
-- Those that these orphans keep.
SELECT FROM unicorn.claim c
WHERE (c.node_uid, c.slot) IN (SELECT o.node_uid, o.slot FROM unicorn.orphan o WHERE o.executor_id = ANY(:ids::uuid[]))
ORDER BY c.node_uid, c.slot FOR UPDATE OF c;

-- name: lock_unreferenced_slots
-- Those that are claimed for nobody.
SELECT c.node_uid, c.slot FROM unicorn.claim c
WHERE NOT EXISTS (SELECT FROM unicorn.node_lease l WHERE l.node_uid = c.node_uid AND l.slot = c.slot)
  AND NOT EXISTS (SELECT FROM unicorn.orphan o WHERE o.node_uid = c.node_uid AND o.slot = c.slot)
ORDER BY c.node_uid, c.slot FOR UPDATE OF c;

-- name: delete_leases
DELETE FROM unicorn.node_lease WHERE executor_id = ANY(:ids::uuid[]) RETURNING node_uid, slot;

-- name: delete_unreferenced_claims
-- Of these slots those to which no lease and no orphan refers. A statement of its own: it sees what others did while we waited.
DELETE FROM unicorn.claim c USING unnest(:nodes::uuid[], :slots::int[]) AS given (node_uid, slot)
WHERE c.node_uid = given.node_uid AND c.slot = given.slot
  AND NOT EXISTS (SELECT FROM unicorn.node_lease l WHERE l.node_uid = c.node_uid AND l.slot = c.slot)
  AND NOT EXISTS (SELECT FROM unicorn.orphan o WHERE o.node_uid = c.node_uid AND o.slot = c.slot)
RETURNING c.node_uid;

-- name: move_leases_to_orphans!
-- The slots stay claimed, the experiment may end.
WITH gone AS (
    DELETE FROM unicorn.node_lease WHERE executor_id = ANY(:ids::uuid[]) RETURNING node_uid, slot, executor_id
)
INSERT INTO unicorn.orphan (executor_id, experiment_uid, namespace, node_uid, slot, node_name, node_address, connector_uid, reason)
SELECT e.id, e.experiment_uid, x.namespace, g.node_uid, g.slot, e.node_name, e.node_address, e.connector_uid, :reason
FROM gone g JOIN unicorn.executor e ON e.id = g.executor_id JOIN unicorn.experiment x ON x.uid = e.experiment_uid
ON CONFLICT (executor_id) DO NOTHING;

-- name: delete_orphans
-- Forget these; answers the slots that they kept.
DELETE FROM unicorn.orphan WHERE executor_id = ANY(:ids::uuid[]) RETURNING executor_id, node_uid, slot;

-- name: cancel_every_operation!
-- Nothing more is done for these executors by operations; what is orphaned goes on being stopped as an orphan.
UPDATE unicorn.operation SET state = 'Cancelled', finished_at = now() WHERE executor_id = ANY(:ids::uuid[]) AND state = 'Pending';

-- name: close_abandoned!
-- The record of an experiment whose resource is gone: it is over, waits for nothing, and nothing more is begun for it.
WITH closed AS (
    UPDATE unicorn.experiment SET deleted_at = coalesce(deleted_at, now()), completed_at = coalesce(completed_at, now()),
        phase = CASE WHEN completed_at IS NULL THEN 'Cancelled' ELSE phase END,
        reason = CASE WHEN completed_at IS NULL THEN 'ResourceGone' ELSE reason END
    WHERE uid = :uid
), unqueued AS (
    DELETE FROM unicorn.waiting WHERE experiment_uid = :uid
), broken_off AS (
    UPDATE unicorn.operation SET state = 'Cancelled', finished_at = now() WHERE experiment_uid = :uid AND state = 'Pending'
)
UPDATE unicorn.executor SET state = 'Cancelled', reason = 'ResourceGone', finished_at = now()
WHERE experiment_uid = :uid AND state NOT IN ('Succeeded', 'Failed', 'Cancelled', 'Lost');

-- name: leases_of_experiment
SELECT executor_id FROM unicorn.node_lease WHERE experiment_uid = :uid;

-- name: leases_of_old_attempts
-- Of attempts that are over, as a restored database may have them.
SELECT l.executor_id FROM unicorn.node_lease l JOIN unicorn.executor e ON e.id = l.executor_id
JOIN unicorn.experiment x ON x.uid = l.experiment_uid WHERE e.attempt < x.attempt;

-- name: orphans_on_node
-- With the connectors that they could be stopped through.
SELECT executor_id, connector_uid FROM unicorn.orphan WHERE node_uid = :node_uid;
