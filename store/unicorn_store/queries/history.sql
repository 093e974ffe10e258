-- Pages of the records of one namespace, for those who read them over HTTP: each list by a key that no later row gets in front of.

-- name: history_experiments
-- Newest first, after the given moment and uid. A filter that is null asks for all.
SELECT uid, namespace, name, user_name, attempt, phase, reason, message, created_at, started_at, completed_at, deleted_at
FROM unicorn.experiment
WHERE namespace = :namespace
  AND (:name::text IS NULL OR name = :name)
  AND (:user_name::text IS NULL OR user_name = :user_name)
  AND (:phases::text[] IS NULL OR phase = ANY(:phases))
  AND (:search::text IS NULL OR strpos(lower(name), lower(:search)) > 0 OR strpos(lower(message), lower(:search)) > 0)
  AND (:since::timestamptz IS NULL OR created_at >= :since)
  AND (:until::timestamptz IS NULL OR created_at < :until)
  AND (:deleted::boolean IS NULL OR (deleted_at IS NOT NULL) = :deleted)
  AND (:created::timestamptz IS NULL OR (created_at, uid) < (:created, :uid::uuid))
ORDER BY created_at DESC, uid DESC
LIMIT :limit;

-- name: history_experiment^
-- By uid, or the newest of that name.
SELECT uid, namespace, name, user_name, attempt, phase, reason, message, created_at, started_at, completed_at, deleted_at, spec, status
FROM unicorn.experiment
WHERE namespace = :namespace AND (uid = :uid::uuid OR name = :name::text)
ORDER BY (uid = :uid::uuid) DESC NULLS LAST, created_at DESC, uid DESC
LIMIT 1;

-- name: history_executors
-- Those of an attempt in the deployments' order, after the given place.
SELECT x.id, x.experiment_uid, x.attempt, x.deployment, x.index, x.node_name, x.state::text AS state, x.reason, x.message,
       x.checked_in_at, x.released_at, x.heard_at, x.finished_at, x.cancel_requested_at, x.exit_code, x.last_seq, x.log_bytes,
       coalesce(s.position, -1) AS position
FROM unicorn.executor x
LEFT JOIN unicorn.snapshot s ON s.experiment_uid = x.experiment_uid AND s.attempt = x.attempt AND s.deployment = x.deployment
WHERE x.experiment_uid = :uid AND x.attempt = :attempt
  AND (:states::text[] IS NULL OR x.state::text = ANY(:states))
  AND (:deployment::text IS NULL OR x.deployment = :deployment)
  AND (:node::text IS NULL OR x.node_name = :node)
  AND (coalesce(s.position, -1), x.deployment, x.index) > (:position::int, :after::text, :index::int)
ORDER BY coalesce(s.position, -1), x.deployment, x.index
LIMIT :limit;

-- name: history_executor^
-- One of an experiment, of whatever attempt.
SELECT x.id, x.experiment_uid, x.attempt, x.deployment, x.index, x.node_name, x.state::text AS state, x.reason, x.message,
       x.checked_in_at, x.released_at, x.heard_at, x.finished_at, x.cancel_requested_at, x.exit_code, x.last_seq, x.log_bytes,
       -1 AS position
FROM unicorn.executor x WHERE x.id = :id AND x.experiment_uid = :uid;

-- name: history_is_final$
-- Whether nothing that counts will come from this executor any more.
SELECT x.state IN ('Succeeded', 'Failed', 'Cancelled') OR e.completed_at IS NOT NULL
FROM unicorn.executor x JOIN unicorn.experiment e ON e.uid = x.experiment_uid WHERE x.id = :id;

-- name: history_task_runs
-- Each try with its end, where that is known, by the number of its first event.
SELECT s.seq, s.task, s.run, s.try, s.wall AS started, f.wall AS finished,
       CASE WHEN f.boot_id IS NOT DISTINCT FROM s.boot_id THEN f.mono - s.mono END AS seconds, f.body
FROM unicorn.event s
LEFT JOIN LATERAL (
    SELECT wall, mono, boot_id, body FROM unicorn.event f
    WHERE f.executor_id = s.executor_id AND f.seq > s.seq AND f.kind = 'TaskFinished' AND f.run = s.run AND f.try = s.try
    ORDER BY f.seq LIMIT 1
) f ON true
WHERE s.executor_id = :id AND s.kind = 'TaskStarted' AND s.seq > :after AND (:task::text IS NULL OR s.task = :task)
ORDER BY s.seq LIMIT :limit;

-- name: history_events
SELECT seq, kind, task, run, try, wall, mono, boot_id, received_at, late, body
FROM unicorn.event
WHERE executor_id = :id AND seq > :after AND (:kinds::text[] IS NULL OR kind = ANY(:kinds)) AND (:task::text IS NULL OR task = :task)
ORDER BY seq LIMIT :limit;

-- name: history_logs
SELECT seq, task, run, stream, wall, received_at, late, content, blob
FROM unicorn.log_chunk
WHERE executor_id = :id AND seq > :after AND (:task::text IS NULL OR task = :task)
  AND (:streams::text[] IS NULL OR stream = ANY(:streams))
ORDER BY seq LIMIT :limit;

-- name: history_log_tail$
-- The number after which the last `count` chunks begin.
SELECT coalesce(min(seq), 1) - 1 FROM (
    SELECT seq FROM unicorn.log_chunk
    WHERE executor_id = :id AND (:task::text IS NULL OR task = :task) AND (:streams::text[] IS NULL OR stream = ANY(:streams))
    ORDER BY seq DESC LIMIT :count
) AS last;

-- name: history_result^
-- What an executor reported at its end, and the size of what netunicorn's client would get.
SELECT r.outcome, r.reason, r.message, r.results, r.blob, r.late, r.received_at
FROM unicorn.result r WHERE r.executor_id = :id;

-- name: history_report^
SELECT octet_length(content) AS size, final, received_at FROM unicorn.executor_report WHERE executor_id = :id;

-- name: history_report_part$
SELECT substring(content FROM :start::int FOR :length::int) FROM unicorn.executor_report WHERE executor_id = :id;

-- name: history_blob^
SELECT size, complete FROM unicorn.blob WHERE executor_id = :id AND sha256 = :digest;

-- name: history_results
-- The reports of an attempt's executors, in the deployments' order, after the given place: at most `limit`, and of results at
-- most `bytes`, but one report at least. Results as text: nobody here looks into them.
WITH page AS (
    SELECT x.id, x.deployment, x.index, x.node_name, x.state::text AS state, r.outcome, r.reason, r.message,
           r.results::text AS results, r.blob, r.late, r.received_at, coalesce(s.position, -1) AS position
    FROM unicorn.executor x
    JOIN unicorn.result r ON r.executor_id = x.id
    LEFT JOIN unicorn.snapshot s ON s.experiment_uid = x.experiment_uid AND s.attempt = x.attempt AND s.deployment = x.deployment
    WHERE x.experiment_uid = :uid AND x.attempt = :attempt
      AND (coalesce(s.position, -1), x.deployment, x.index) > (:position::int, :after::text, :index::int)
    ORDER BY coalesce(s.position, -1), x.deployment, x.index
    LIMIT :limit
), sized AS (
    SELECT page.*, row_number() OVER places AS number, sum(coalesce(octet_length(results), 0)) OVER places AS so_far
    FROM page WINDOW places AS (ORDER BY position, deployment, index)
)
SELECT id, deployment, index, node_name, state, outcome, reason, message, results, blob, late, received_at, position
FROM sized WHERE number = 1 OR so_far <= :bytes
ORDER BY position, deployment, index;

-- name: history_flags
SELECT name, text, integer, version FROM unicorn.flag
WHERE experiment_uid = :uid AND attempt = :attempt AND name > :after AND version > 0
ORDER BY name LIMIT :limit;
