-- What the operator reads and writes about experiments: one statement a purpose.

-- name: read_attempt
-- How an attempt stands, with its executors, their leases and operations in the order of their deployments; one row without
-- an id where it has none. Reception counts as restored just now while no gateway ticks.
SELECT standing.*, e.*
FROM (
    SELECT
        EXISTS (SELECT FROM unicorn.snapshot WHERE experiment_uid = :uid AND attempt = :attempt) AS snapshot,
        EXISTS (SELECT FROM unicorn.waiting WHERE experiment_uid = :uid) AS queued,
        (SELECT CASE WHEN now() - last_tick_at > interval '2.5 seconds' THEN now() ELSE restored_at END FROM unicorn.reception)
            AS reception_restored,
        (SELECT restored_at IS NOT NULL AND (observed_at IS NULL OR observed_at < restored_at) FROM unicorn.restoration)
            AS paused
) standing
LEFT JOIN (
    SELECT
        e.id, e.deployment, e.index, e.keep_alive, e.state::text AS state, e.reason, e.message, e.node_uid, e.node_name,
        e.connector_uid, e.report_results, e.cancel_requested_at, e.checked_in_at, e.released_at, e.heard_at,
        e.sighting, e.sighting_reason, e.sighting_message, e.exit_code, e.gone_since, e.gone_count,
        l.executor_id IS NOT NULL AS leased, o.executor_id IS NOT NULL AS orphaned,
        coalesce((s.body ->> 'cleanup')::boolean, true) AS cleanup,
        coalesce(s.body #>> '{environment,agent}' = 'Netunicorn', false) AS netunicorn,
        array(
            SELECT (p.verb::text, p.state::text, p.created_at, p.reason, p.message)
            FROM unicorn.operation p WHERE p.executor_id = e.id
        ) AS operations,
        s.position
    FROM unicorn.executor e
    JOIN unicorn.snapshot s USING (experiment_uid, attempt, deployment)
    LEFT JOIN unicorn.node_lease l ON l.executor_id = e.id
    LEFT JOIN unicorn.orphan o ON o.executor_id = e.id
    WHERE e.experiment_uid = :uid AND e.attempt = :attempt
) e ON true
ORDER BY e.position, e.index;

-- name: read_recorded_spec$
-- The spec with which this attempt (null: the last one) began; null before that.
SELECT spec FROM unicorn.experiment x
WHERE uid = :uid AND attempt = coalesce(:attempt, attempt)
  AND EXISTS (SELECT FROM unicorn.snapshot s WHERE s.experiment_uid = x.uid AND s.attempt = x.attempt);

-- name: read_deployments
-- What the deployments of an attempt are, their graphs aside.
SELECT deployment, body
FROM unicorn.snapshot WHERE experiment_uid = :uid AND attempt = :attempt ORDER BY position;

-- name: record_experiment!
-- Mirrors the custom resource; a new attempt opens the record again.
INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)
VALUES (:uid, :namespace, :name, :user_name, :attempt, 'Pending', :spec, :created_at)
ON CONFLICT (uid) DO UPDATE SET attempt = excluded.attempt, spec = excluded.spec, user_name = excluded.user_name,
    completed_at = CASE WHEN unicorn.experiment.attempt < excluded.attempt THEN NULL ELSE unicorn.experiment.completed_at END,
    updated_at = now();

-- name: record_snapshot*!
-- What a deployment of this attempt runs. Taken once: a repeated step changes nothing.
INSERT INTO unicorn.snapshot (experiment_uid, attempt, deployment, position, graph, params, body, graph_namespace, graph_sha256)
VALUES (:uid, :attempt, :deployment, :position, :graph, :params, :body, :graph_namespace, :graph_sha256)
ON CONFLICT DO NOTHING;

-- name: mirror_status!
-- The status as it was written to the custom resource; a final one closes the record.
INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, reason, message, spec, status, created_at,
    started_at, completed_at)
VALUES (:uid, :namespace, :name, :user_name, :attempt, :phase, :reason, :message, :spec, :status, :created_at,
    :started_at, :completed_at)
ON CONFLICT (uid) DO UPDATE SET attempt = excluded.attempt, phase = excluded.phase, reason = excluded.reason,
    message = excluded.message, status = excluded.status, started_at = excluded.started_at,
    completed_at = excluded.completed_at, updated_at = now();

-- name: record_deletion!
UPDATE unicorn.experiment SET deleted_at = coalesce(deleted_at, now()), updated_at = now() WHERE uid = :uid;

-- name: lock_allocation!
-- One allocation at a time; the lock goes with the transaction.
SELECT pg_advisory_xact_lock(hashtext('unicorn.allocation'));

-- name: read_claims
-- The claimed slots of these nodes. Where an orphan may still run, it has the slot, also before the one whose it was.
SELECT node_uid, array_agg(slot ORDER BY slot) AS slots,
    array_agg(coalesce('orphan:' || o.executor, holder) ORDER BY slot) AS holders
FROM unicorn.claim LEFT JOIN (
    SELECT node_uid, slot, min(executor_id::text) AS executor FROM unicorn.orphan
    WHERE node_uid = ANY(:nodes::uuid[]) GROUP BY node_uid, slot
) o USING (node_uid, slot)
WHERE node_uid = ANY(:nodes::uuid[]) GROUP BY node_uid;

-- name: count_ahead$
-- How many that wait for one of these nodes come first: higher priority, then earlier.
SELECT count(*) FROM unicorn.waiting
WHERE experiment_uid <> :uid AND nodes && :nodes::uuid[]
  AND (priority > :priority OR (priority = :priority AND (since, experiment_uid) < (:since, :uid)));

-- name: first_ahead^
SELECT e.namespace, e.name FROM unicorn.waiting w JOIN unicorn.experiment e ON e.uid = w.experiment_uid
WHERE w.experiment_uid <> :uid AND w.nodes && :nodes::uuid[]
  AND (w.priority > :priority OR (w.priority = :priority AND (w.since, w.experiment_uid) < (:since, :uid)))
ORDER BY w.priority DESC, w.since LIMIT 1;

-- name: describe_holder$
-- Who has a slot, for people.
SELECT coalesce((SELECT 'experiment ' || namespace || '/' || name FROM unicorn.experiment
                 WHERE 'experiment:' || uid::text = :holder),
                regexp_replace(:holder, '^orphan:', 'an executor that was not shown to be gone: '));

-- name: wait_for_nodes!
INSERT INTO unicorn.waiting (experiment_uid, priority, since, nodes) VALUES (:uid, :priority, :since, :nodes)
ON CONFLICT (experiment_uid) DO UPDATE SET priority = excluded.priority, nodes = excluded.nodes;

-- name: stands_in_queue$
SELECT EXISTS (SELECT FROM unicorn.waiting WHERE experiment_uid = :uid);

-- name: leave_queue!
DELETE FROM unicorn.waiting WHERE experiment_uid = :uid;

-- name: read_waiting
-- Those that wait for one of these nodes, first come first.
SELECT w.experiment_uid FROM unicorn.waiting w WHERE w.nodes && :nodes::uuid[] ORDER BY w.priority DESC, w.since;

-- name: read_all_waiting
SELECT experiment_uid FROM unicorn.waiting ORDER BY priority DESC, since;

-- name: insert_claims!
-- A slot that is the holder's own already is shared; `count_foreign_claims` tells whether one is somebody else's.
INSERT INTO unicorn.claim (node_uid, slot, holder)
SELECT * FROM unnest(:nodes::uuid[], :slots::int[], array_fill(:holder::text, ARRAY[cardinality(:slots::int[])]))
ON CONFLICT DO NOTHING;

-- name: count_foreign_claims$
-- Of these slots, which are locked, those that somebody else or an orphan has, or whose claim went just before.
SELECT count(*) FROM unnest(:nodes::uuid[], :slots::int[]) AS mine (node_uid, slot)
LEFT JOIN unicorn.claim c USING (node_uid, slot)
WHERE c.holder IS DISTINCT FROM :holder
   OR EXISTS (SELECT FROM unicorn.orphan o WHERE o.node_uid = mine.node_uid AND o.slot = mine.slot);

-- name: insert_executors!
INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, node_uid, node_name, node_address, node_properties,
    connector_uid, state, reason, message, keep_alive, report_results, release_on_check_in, finished_at)
SELECT id, :uid, :attempt, deployment, index, node_uid, node_name, node_address, node_properties, connector_uid,
    state::unicorn.executor_state, reason, message, keep_alive, report_results, release_on_check_in,
    CASE WHEN state = 'Failed' THEN now() END
FROM unnest(:ids::uuid[], :deployments::text[], :indexes::int[], :nodes::uuid[], :node_names::text[], :addresses::text[],
    :properties::jsonb[], :connectors::uuid[], :states::text[], :reasons::text[], :messages::text[], :keep_alives::interval[],
    :report::boolean[], :release::boolean[])
  AS given (id, deployment, index, node_uid, node_name, node_address, node_properties, connector_uid, state, reason, message,
    keep_alive, report_results, release_on_check_in)
ON CONFLICT DO NOTHING;

-- name: insert_leases!
INSERT INTO unicorn.node_lease (node_uid, slot, executor_id, experiment_uid)
SELECT node_uid, slot, executor_id, :uid
FROM unnest(:nodes::uuid[], :slots::int[], :ids::uuid[]) AS given (node_uid, slot, executor_id)
ON CONFLICT DO NOTHING;

-- name: operate_prepare!
WITH touched AS (
    UPDATE unicorn.executor SET state = 'Preparing' WHERE id = ANY(:ids::uuid[]) AND state = 'Pending'
    RETURNING id, experiment_uid, connector_uid
)
INSERT INTO unicorn.operation (executor_id, verb, experiment_uid, connector_uid)
SELECT id, 'Prepare', experiment_uid, connector_uid FROM touched ON CONFLICT DO NOTHING;

-- name: operate_start!
-- Each start raises the fence: above what it was, and above anything that an earlier state of this database gave out.
WITH touched AS (
    UPDATE unicorn.executor
    SET state = 'Starting', started = true,
        fence = greatest(fence + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
    WHERE id = ANY(:ids::uuid[]) AND state = 'Prepared'
    RETURNING id, experiment_uid, connector_uid, fence
)
INSERT INTO unicorn.operation (executor_id, verb, experiment_uid, connector_uid, fence)
SELECT id, 'Start', experiment_uid, connector_uid, fence FROM touched ON CONFLICT DO NOTHING;

-- name: operate_end!
-- Stop and cleanup: whatever state the executor has. One that is being stopped and checks in only now has nothing to run.
WITH held AS (
    UPDATE unicorn.executor SET release_on_check_in = false
    WHERE id = ANY(:ids::uuid[]) AND :verb::text = 'Stop' AND release_on_check_in AND checked_in_at IS NULL
)
INSERT INTO unicorn.operation (executor_id, verb, experiment_uid, connector_uid, fence)
SELECT id, :verb::text::unicorn.operation_verb, experiment_uid, connector_uid, fence
FROM unicorn.executor WHERE id = ANY(:ids::uuid[]) AND connector_uid IS NOT NULL
ON CONFLICT DO NOTHING;

-- name: cancel_operations!
UPDATE unicorn.operation SET state = 'Cancelled', finished_at = now()
WHERE executor_id = ANY(:ids::uuid[]) AND verb::text = ANY(:verbs::text[]) AND state = 'Pending';

-- name: settle!
-- Final stays final; a Lost one may still be given another end.
WITH touched AS (
    UPDATE unicorn.executor SET state = :state::text::unicorn.executor_state, reason = :reason, message = :message,
        finished_at = now()
    WHERE id = ANY(:ids::uuid[]) AND state NOT IN ('Succeeded', 'Failed', 'Cancelled')
    RETURNING experiment_uid
)
SELECT unicorn.tell('executor', experiment_uid) FROM (SELECT DISTINCT experiment_uid FROM touched) AS told;

-- name: release!
WITH touched AS (
    UPDATE unicorn.executor SET state = 'Running', released_at = now()
    WHERE id = ANY(:ids::uuid[]) AND state = 'CheckedIn'
    RETURNING experiment_uid
)
SELECT unicorn.tell('executor', experiment_uid) FROM (SELECT DISTINCT experiment_uid FROM touched) AS told;

-- name: read_due_operations
-- What may be run now, oldest first, with all that an order needs except secrets. A spec may be large: it is read once for all.
WITH due AS MATERIALIZED (
    SELECT * FROM unicorn.operation
    WHERE state = 'Pending' AND not_before <= now()
      AND NOT EXISTS (SELECT FROM unnest(:busy::uuid[]) AS busy (id) WHERE busy.id = executor_id)
    ORDER BY created_at LIMIT :limit
), concerned AS MATERIALIZED (
    SELECT uid, namespace, name, spec -> 'deadlines' AS deadlines FROM unicorn.experiment
    WHERE uid IN (SELECT experiment_uid FROM due)
)
SELECT p.executor_id, p.verb::text AS verb, p.fence, p.tries, p.connector_uid, p.experiment_uid, x.namespace, x.name AS experiment,
    e.attempt, e.deployment, e.index, e.keep_alive, e.node_uid, e.node_name, e.node_address, e.node_properties, s.body, s.compiled,
    x.deadlines
FROM due p
JOIN unicorn.executor e ON e.id = p.executor_id
JOIN concerned x ON x.uid = p.experiment_uid
JOIN unicorn.snapshot s ON (s.experiment_uid, s.attempt, s.deployment) = (e.experiment_uid, e.attempt, e.deployment)
ORDER BY p.created_at;

-- name: read_cancelled_operations
-- Which of these nobody wants any more.
SELECT executor_id, verb::text AS verb FROM unicorn.operation WHERE executor_id = ANY(:ids::uuid[]) AND state = 'Cancelled';

-- name: finish_operations
-- Done; the cleanup of those that are clean as well. A prepared executor is Prepared. Operations that were cancelled meanwhile stay
-- so. Answers the experiments concerned.
WITH done AS (
    UPDATE unicorn.operation SET state = 'Done', finished_at = now(), tries = tries + 1, reason = '', message = ''
    WHERE (executor_id, verb::text) IN (SELECT * FROM unnest(:ids::uuid[], :verbs::text[])) AND state = 'Pending'
    RETURNING executor_id, verb, experiment_uid, connector_uid, fence
), cleaned AS (
    INSERT INTO unicorn.operation (executor_id, verb, experiment_uid, connector_uid, fence, state, finished_at)
    SELECT executor_id, 'Cleanup', experiment_uid, connector_uid, fence, 'Done', now()
    FROM done WHERE executor_id = ANY(:clean::uuid[]) AND verb = 'Stop'
    ON CONFLICT DO NOTHING
), prepared AS (
    UPDATE unicorn.executor e SET state = 'Prepared' FROM done d
    WHERE d.executor_id = e.id AND d.verb = 'Prepare' AND e.state = 'Preparing'
)
SELECT DISTINCT experiment_uid FROM done;

-- name: fail_operations
-- For good: the executor of a failed prepare or start is Failed.
WITH failed AS (
    UPDATE unicorn.operation p SET state = 'Failed', finished_at = now(), tries = tries + 1, reason = g.reason, message = g.message
    FROM unnest(:ids::uuid[], :verbs::text[], :reasons::text[], :messages::text[]) AS g (executor_id, verb, reason, message)
    WHERE p.executor_id = g.executor_id AND p.verb::text = g.verb AND p.state = 'Pending'
    RETURNING p.executor_id, p.verb, p.experiment_uid, p.reason, p.message
), ended AS (
    UPDATE unicorn.executor e SET state = 'Failed', reason = f.reason, message = f.message, finished_at = now()
    FROM failed f
    WHERE f.executor_id = e.id AND f.verb IN ('Prepare', 'Start') AND e.state NOT IN ('Succeeded', 'Failed', 'Cancelled', 'Running')
)
SELECT DISTINCT experiment_uid FROM failed;

-- name: postpone_operations
-- Try again later. Answers the experiments concerned: the reason is shown.
UPDATE unicorn.operation p SET tries = p.tries + 1, not_before = now() + g.delay, reason = g.reason, message = g.message
FROM unnest(:ids::uuid[], :verbs::text[], :reasons::text[], :messages::text[], :delays::interval[])
    AS g (executor_id, verb, reason, message, delay)
WHERE p.executor_id = g.executor_id AND p.verb::text = g.verb AND p.state = 'Pending'
RETURNING p.experiment_uid;

-- name: read_watched_executors
-- What observation must look at: leased executors that may have an agent, and orphans.
SELECT e.id, e.experiment_uid, e.connector_uid, e.node_name, e.node_address, e.node_properties, e.sighting, e.gone_count,
    e.exit_code, e.sighting_reason, e.state::text AS state
FROM unicorn.executor e JOIN unicorn.node_lease l ON l.executor_id = e.id
WHERE e.started AND e.state IN ('Starting', 'CheckedIn', 'Running', 'Lost')
  AND EXISTS (SELECT FROM unicorn.operation p WHERE p.executor_id = e.id AND p.verb = 'Start' AND p.state = 'Done');

-- name: read_owners
-- What we know of executors that a connector found.
SELECT e.id, e.experiment_uid, x.namespace, l.executor_id IS NOT NULL AS leased, o.executor_id IS NOT NULL AS orphaned
FROM unicorn.executor e JOIN unicorn.experiment x ON x.uid = e.experiment_uid
LEFT JOIN unicorn.node_lease l ON l.executor_id = e.id LEFT JOIN unicorn.orphan o ON o.executor_id = e.id
WHERE e.id = ANY(:ids::uuid[]);

-- name: record_sightings
-- What connectors said. Gone twice in a row is what the planner believes. Answers the experiments for which something changed.
UPDATE unicorn.executor e SET sighting = g.sighting, sighting_reason = g.reason, sighting_message = g.message,
    exit_code = g.exit_code,
    gone_since = CASE WHEN g.sighting IN ('Exited', 'Absent') THEN coalesce(e.gone_since, now()) END,
    gone_count = CASE WHEN g.sighting IN ('Exited', 'Absent') THEN least(e.gone_count + 1, 1000) ELSE 0 END
FROM unnest(:ids::uuid[], :sightings::text[], :reasons::text[], :messages::text[], :codes::int[])
    AS g (id, sighting, reason, message, exit_code)
WHERE e.id = g.id
  AND (e.sighting, e.sighting_reason, e.sighting_message) IS DISTINCT FROM (g.sighting, g.reason, g.message)
   OR e.id = g.id AND g.sighting IN ('Exited', 'Absent') AND e.gone_count < 2
RETURNING e.experiment_uid, e.sighting;

-- name: read_orphans
-- Those that are to be stopped now, except at connectors that are busy with others.
SELECT executor_id, experiment_uid, namespace, node_uid, node_name, node_address, connector_uid, tries
FROM unicorn.orphan WHERE next_try_at <= now() AND connector_uid <> ALL(:busy::uuid[]) ORDER BY next_try_at LIMIT :limit;

-- name: postpone_orphans!
UPDATE unicorn.orphan o SET tries = o.tries + 1, reason = g.reason, message = g.message, next_try_at = now() + g.delay
FROM unnest(:ids::uuid[], :reasons::text[], :messages::text[], :delays::interval[]) AS g (id, reason, message, delay)
WHERE o.executor_id = g.id;

-- name: read_leftovers
-- For the janitor: experiments that the records call alive or that hold leases, with when they were last written.
SELECT DISTINCT x.uid, x.namespace, x.name, x.updated_at
FROM unicorn.experiment x LEFT JOIN unicorn.node_lease l ON l.experiment_uid = x.uid
WHERE x.deleted_at IS NULL OR l.executor_id IS NOT NULL;

-- name: read_restoration^
SELECT restored_at, observed_at FROM unicorn.restoration;

-- name: mark_restored!
UPDATE unicorn.restoration SET restored_at = now(), observed_at = NULL;

-- name: mark_observed!
UPDATE unicorn.restoration SET observed_at = now() WHERE restored_at IS NOT NULL AND observed_at IS NULL;
