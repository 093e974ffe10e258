-- What is left of experiments for those who read it: outcomes, results, logs, events. Read only; long lists in pages by key.

-- name: records_of_experiments
-- Newest first, after the given moment and uid. `namespace` and `name` may be null: all.
SELECT uid, namespace, name, user_name, attempt, phase, reason, message, created_at, started_at, completed_at, deleted_at, status
FROM unicorn.experiment
WHERE (:namespace::text IS NULL OR namespace = :namespace) AND (:name::text IS NULL OR name = :name)
  AND (:created::timestamptz IS NULL OR (created_at, uid) < (:created, :uid::uuid))
ORDER BY created_at DESC, uid DESC
LIMIT :limit;

-- name: records_experiment^
SELECT uid, namespace, name, user_name, attempt, phase, reason, message, created_at, started_at, completed_at, deleted_at, status
FROM unicorn.experiment WHERE uid = :uid;

-- name: records_of_executors
-- Those of an attempt in the deployments' order, after the given place, each with what it reported at the end (not a late report).
SELECT x.id, x.deployment, coalesce(s.position, -1) AS position, x.index, x.node_name, x.state::text AS state, x.reason, x.message,
       x.released_at, x.finished_at, x.exit_code, x.last_seq, x.log_bytes, r.outcome, r.results, r.blob,
       ARRAY(SELECT v.task FROM unicorn.event v WHERE v.executor_id = x.id AND v.task IS NOT NULL
             GROUP BY v.task ORDER BY min(v.seq)) AS tasks
FROM unicorn.executor x
LEFT JOIN unicorn.snapshot s ON s.experiment_uid = x.experiment_uid AND s.attempt = x.attempt AND s.deployment = x.deployment
LEFT JOIN unicorn.result r ON r.executor_id = x.id AND NOT r.late
WHERE x.experiment_uid = :uid AND x.attempt = :attempt
  AND (coalesce(s.position, -1), x.deployment, x.index) > (:position::int, :deployment::text, :index::int)
ORDER BY coalesce(s.position, -1), x.deployment, x.index
LIMIT :limit;

-- name: records_of_events
SELECT seq, kind, task, run, try, wall, mono, boot_id, received_at, late, body
FROM unicorn.event WHERE executor_id = :id AND seq > :after
ORDER BY seq LIMIT :limit;

-- name: records_of_logs
SELECT seq, task, run, stream, wall, received_at, late, content, blob
FROM unicorn.log_chunk WHERE executor_id = :id AND seq > :after
ORDER BY seq LIMIT :limit;

-- name: records_of_progress
-- Of each executor of an attempt: how many task runs have ended, and which tasks run now.
SELECT x.id, x.deployment, x.index, x.node_name, x.state::text AS state,
       count(v.seq) FILTER (WHERE v.kind = 'TaskFinished') AS finished,
       coalesce(array_agg(v.task ORDER BY v.seq) FILTER (WHERE v.kind = 'TaskStarted' AND NOT EXISTS (
           SELECT FROM unicorn.event f
           WHERE f.executor_id = v.executor_id AND f.kind = 'TaskFinished' AND f.run = v.run AND f.seq > v.seq)), '{}') AS running
FROM unicorn.executor x
LEFT JOIN unicorn.event v ON v.executor_id = x.id AND v.task IS NOT NULL
LEFT JOIN unicorn.snapshot s ON s.experiment_uid = x.experiment_uid AND s.attempt = x.attempt AND s.deployment = x.deployment
WHERE x.experiment_uid = :uid AND x.attempt = :attempt
GROUP BY x.id, s.position
ORDER BY s.position, x.deployment, x.index;
