-- name: leases_by_node
-- Of each node in use: how many leases, and up to five of the experiments that hold them.
SELECT l.node_uid, count(*)::int AS used,
       (array_agg(DISTINCT coalesce(e.namespace || '/' || e.name, l.experiment_uid::text)))[1 : 5] AS holders
FROM unicorn.node_lease l LEFT JOIN unicorn.experiment e ON e.uid = l.experiment_uid
GROUP BY l.node_uid;

-- name: orphans_by_node
-- Of each node with orphans: how many, on how many slots, and why the first of them became one.
SELECT node_uid, count(*)::int AS orphans, count(DISTINCT slot)::int AS slots, (array_agg(executor_id::text ORDER BY recorded_at))[1 : 5] AS executors,
       (array_agg(message ORDER BY recorded_at))[1] AS message
FROM unicorn.orphan GROUP BY node_uid;

-- name: experiments_on_connector
-- The experiments that hold a lease on a node of this connector.
SELECT DISTINCT l.experiment_uid FROM unicorn.node_lease l JOIN unicorn.executor x ON x.id = l.executor_id
WHERE x.connector_uid = :connector_uid;

-- name: experiments_on_node
-- The experiments that hold a lease on this node.
SELECT DISTINCT experiment_uid FROM unicorn.node_lease WHERE node_uid = :node_uid;

-- name: tell_waiting_for_node!
-- Wake the experiments that wait for this node.
SELECT unicorn.tell('experiment', experiment_uid) FROM unicorn.waiting WHERE :node_uid = ANY(nodes);
