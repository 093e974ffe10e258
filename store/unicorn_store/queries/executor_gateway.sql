-- What the executor gateway asks. Its database role may do this and no more (migrations/*roles*).

-- name: gateway_rows
-- The rows of these executors as a gateway keeps them in mind.
SELECT x.id, x.experiment_uid, x.attempt, x.state::text AS state, x.instance, x.fence, x.started, x.keep_alive, x.last_seq,
       x.cancel_requested_at IS NOT NULL AS cancel, x.released_at IS NOT NULL AS released, e.completed_at IS NOT NULL AS over
FROM unicorn.executor x JOIN unicorn.experiment e ON e.uid = x.experiment_uid
WHERE x.id = ANY(:ids::uuid[]);

-- name: gateway_lock^
-- The same of one, locked until the end of the transaction.
SELECT x.id, x.experiment_uid, x.attempt, x.state::text AS state, x.instance, x.fence, x.started, x.keep_alive, x.last_seq,
       x.cancel_requested_at IS NOT NULL AS cancel, x.released_at IS NOT NULL AS released, e.completed_at IS NOT NULL AS over
FROM unicorn.executor x JOIN unicorn.experiment e ON e.uid = x.experiment_uid
WHERE x.id = :id
FOR NO KEY UPDATE OF x;

-- name: gateway_assignment^
-- What an executor runs: its own facts and the graph of its deployment.
SELECT x.id, x.index, x.attempt, x.deployment, x.node_name, x.node_properties, x.report_results, x.keep_alive, x.last_seq,
       e.name AS experiment, e.uid AS experiment_uid, e.namespace, s.graph, s.params
FROM unicorn.executor x
JOIN unicorn.experiment e ON e.uid = x.experiment_uid
LEFT JOIN unicorn.snapshot s ON s.experiment_uid = x.experiment_uid AND s.attempt = x.attempt AND s.deployment = x.deployment
WHERE x.id = :id;

-- name: gateway_check_in!
-- The first instance claims the row; it runs at once where nobody waits for the others.
UPDATE unicorn.executor
SET instance = :instance,
    state = CASE WHEN release_on_check_in OR state = 'Running' THEN 'Running' ELSE 'CheckedIn' END::unicorn.executor_state,
    checked_in_at = coalesce(checked_in_at, now()), heard_at = now(),
    released_at = CASE WHEN release_on_check_in THEN coalesce(released_at, now()) ELSE released_at END
WHERE id = :id;

-- name: gateway_revive
-- Lost executors that reported again, while their experiment is not final. Returns the experiments this is news for.
UPDATE unicorn.executor x
SET state = CASE WHEN x.released_at IS NOT NULL THEN 'Running' WHEN x.checked_in_at IS NOT NULL THEN 'CheckedIn'
                 ELSE 'Starting' END::unicorn.executor_state,
    reason = '', message = '', finished_at = NULL, heard_at = now()
FROM unicorn.experiment e
WHERE x.id = ANY(:ids::uuid[]) AND x.state = 'Lost' AND e.uid = x.experiment_uid AND e.completed_at IS NULL
RETURNING x.id, x.experiment_uid;

-- name: gateway_fail!
-- An executor that cannot be run.
UPDATE unicorn.executor
SET state = 'Failed', reason = :reason, message = :message, finished_at = now()
WHERE id = :id AND state IN ('CheckedIn', 'Running');

-- name: gateway_tell!
SELECT unicorn.tell(:channel, :experiment);

-- name: gateway_tick
-- All heartbeats of a process since its last tick, in one statement; `ages` are seconds before now. A row that somebody else
-- is changing at this moment is skipped: an executor is heard several times within its patience. Also: reception works.
-- Returns what the gateway keeps in mind of each row that was written.
WITH reception AS (
    UPDATE unicorn.reception
    SET restored_at = CASE WHEN last_tick_at < now() - interval '2.5 s' THEN now() ELSE restored_at END, last_tick_at = now()
), beat AS (
    SELECT x.id, b.age
    FROM unnest(:ids::uuid[], :instances::text[], :ages::float8[]) AS b (id, instance, age)
    JOIN unicorn.executor x ON x.id = b.id AND x.instance = b.instance
    FOR NO KEY UPDATE OF x SKIP LOCKED
)
UPDATE unicorn.executor x
SET heard_at = greatest(x.heard_at, now() - make_interval(secs => beat.age))
FROM beat WHERE x.id = beat.id
RETURNING x.id, x.state::text AS state, x.instance, x.fence, x.last_seq,
          x.cancel_requested_at IS NOT NULL AS cancel, x.released_at IS NOT NULL AS released;

-- name: gateway_store_batch^
-- Events that continue the stored ones, or nothing: no row comes back when they do not, or when somebody else runs.
-- log_bytes counts what came; what exceeds the quota is counted, not stored. `events` and `logs` are JSON arrays of rows.
WITH head AS (
    UPDATE unicorn.executor x
    SET last_seq = :last, log_bytes = x.log_bytes + :log_bytes, heard_at = now()
    FROM unicorn.experiment e
    WHERE x.id = :id AND x.last_seq = :before AND x.instance = :instance AND x.fence <= :fence AND e.uid = x.experiment_uid
    RETURNING x.id, x.last_seq, x.state::text AS state, x.log_bytes - :log_bytes AS log_before,
              x.cancel_requested_at IS NOT NULL AS cancel,
              x.state IN ('Succeeded', 'Failed', 'Cancelled') OR e.completed_at IS NOT NULL AS late
), events AS (
    INSERT INTO unicorn.event (executor_id, seq, kind, task, run, try, wall, mono, boot_id, late, body)
    SELECT head.id, v.seq, v.kind, v.task, v.run, v.try, v.wall, v.mono, :boot_id, head.late, v.body
    FROM head, jsonb_to_recordset(:events::jsonb) AS v
        (seq bigint, kind text, task text, run int, try int, wall float8, mono float8, body jsonb)
), logs AS (
    INSERT INTO unicorn.log_chunk (executor_id, seq, task, run, stream, wall, late, content, blob)
    SELECT head.id, v.seq, v.task, v.run, v.stream, v.wall, head.late, v.content, v.blob
    FROM head, jsonb_to_recordset(:logs::jsonb) AS v
        (seq bigint, task text, run int, stream text, wall float8, content text, blob text, upto bigint)
    WHERE head.log_before + v.upto <= :quota
)
SELECT last_seq, state, cancel, late, log_before FROM head;

-- name: gateway_complete_blobs
SELECT sha256 FROM unicorn.blob WHERE executor_id = :id AND sha256 = ANY(:digests::text[]) AND complete;

-- name: gateway_store_result$
-- True when this is the first result of the executor.
INSERT INTO unicorn.result (executor_id, outcome, reason, message, results, blob, late)
VALUES (:id, :outcome, :reason, :message, :results, :blob, :late)
ON CONFLICT DO NOTHING
RETURNING true;

-- name: gateway_finish!
UPDATE unicorn.executor
SET state = :state::text::unicorn.executor_state, reason = :reason, message = :message, finished_at = now(), heard_at = now()
WHERE id = :id;

-- name: gateway_ring_barriers!
-- A member leaves: whoever waits at a barrier of the experiment looks again. No news where there are no barriers.
SELECT unicorn.tell('flag', :experiment)
WHERE EXISTS (SELECT FROM unicorn.barrier_arrival WHERE experiment_uid = :experiment AND attempt = :attempt);
