-- Flags and barriers of an experiment's attempt, for the executor gateway.

-- name: flag_read^
SELECT name, text, integer, version FROM unicorn.flag
WHERE experiment_uid = :experiment AND attempt = :attempt AND name = :name;

-- name: flag_read_locked^
SELECT name, text, integer, version FROM unicorn.flag
WHERE experiment_uid = :experiment AND attempt = :attempt AND name = :name
FOR UPDATE;

-- name: flag_count$
SELECT count(*) FROM unicorn.flag WHERE experiment_uid = :experiment AND attempt = :attempt;

-- name: flag_create!
-- An unwritten flag, so that there is a row to lock.
INSERT INTO unicorn.flag (experiment_uid, attempt, name, version) VALUES (:experiment, :attempt, :name, 0)
ON CONFLICT DO NOTHING;

-- name: flag_write!
UPDATE unicorn.flag SET text = :text, integer = :integer, version = :version
WHERE experiment_uid = :experiment AND attempt = :attempt AND name = :name;

-- name: flags_existing
SELECT name FROM unicorn.flag WHERE experiment_uid = :experiment AND attempt = :attempt AND name = ANY(:names::text[]);

-- name: flags_add^
-- To many flags at once, made if they are not there, for those executors that still may: they come back. A flag that would leave
-- 64 bits stays as it is, and does not come back.
WITH given AS (
    SELECT * FROM unnest(:executors::uuid[], :instances::text[], :fences::bigint[],
                         :experiments::uuid[], :attempts::int[], :names::text[], :amounts::bigint[])
        AS g (executor, instance, fence, experiment, attempt, name, amount)
), writers AS (
    SELECT DISTINCT x.id FROM unicorn.executor x
    JOIN given g ON x.id = g.executor AND x.instance = g.instance AND x.fence <= g.fence
), added AS (
    INSERT INTO unicorn.flag AS f (experiment_uid, attempt, name, integer)
    SELECT experiment, attempt, name, sum(amount) FROM given JOIN writers ON writers.id = given.executor
    GROUP BY experiment, attempt, name ORDER BY experiment, attempt, name  -- as everybody locks them
    ON CONFLICT (experiment_uid, attempt, name) DO UPDATE
    SET integer = f.integer + excluded.integer, version = f.version + 1
    WHERE f.integer::numeric + excluded.integer BETWEEN -9223372036854775808 AND 9223372036854775807
    RETURNING f.experiment_uid, f.attempt, f.name
), told AS (
    SELECT unicorn.tell('flag', experiment_uid) FROM (SELECT DISTINCT experiment_uid FROM added) AS experiments
)
SELECT ARRAY(SELECT id FROM writers) AS writers, ARRAY(SELECT (experiment_uid, attempt, name) FROM added) AS added,
       (SELECT count(*) FROM told) AS told;

-- name: flag_answer$
-- The first answer to this write of a task run.
SELECT answer FROM unicorn.flag_write WHERE executor_id = :id AND run = :run AND operation = :operation;

-- name: flag_keep_answer!
INSERT INTO unicorn.flag_write (executor_id, run, operation, answer) VALUES (:id, :run, :operation, :answer);

-- name: barrier_arrive$
-- An executor's n-th arrival belongs to the n-th meeting; a repeat belongs to the meeting of the first. The executor is locked.
WITH before AS (
    SELECT meeting FROM unicorn.barrier_arrival WHERE executor_id = :id AND run = :run AND operation = :operation
), arrived AS (
    INSERT INTO unicorn.barrier_arrival (experiment_uid, attempt, name, executor_id, meeting, run, operation)
    SELECT :experiment, :attempt, :name, :id,
           1 + (SELECT count(*) FROM unicorn.barrier_arrival a
                WHERE a.experiment_uid = :experiment AND a.attempt = :attempt AND a.name = :name AND a.executor_id = :id),
           :run, :operation
    WHERE NOT EXISTS (SELECT FROM before)
    RETURNING meeting
)
SELECT meeting FROM before UNION ALL SELECT meeting FROM arrived;

-- name: barrier_meeting$
SELECT meeting FROM unicorn.barrier_arrival
WHERE executor_id = :id AND run = :run AND operation = :operation AND name = :name;

-- name: barrier_look^
-- Who is there. Members: released and not final, plus those that arrived; a lost one leaves.
SELECT (SELECT o.members FROM unicorn.barrier_open o
        WHERE o.experiment_uid = :experiment AND o.attempt = :attempt AND o.name = :name AND o.meeting = :meeting) AS opened,
       count(a.executor_id) AS arrived,
       count(*) FILTER (WHERE a.executor_id IS NOT NULL OR (x.released_at IS NOT NULL AND x.state = 'Running')) AS members
FROM unicorn.executor x
LEFT JOIN unicorn.barrier_arrival a
    ON a.executor_id = x.id AND a.experiment_uid = :experiment AND a.attempt = :attempt AND a.name = :name AND a.meeting = :meeting
WHERE x.experiment_uid = :experiment AND x.attempt = :attempt;

-- name: barrier_open!
INSERT INTO unicorn.barrier_open (experiment_uid, attempt, name, meeting, members)
VALUES (:experiment, :attempt, :name, :meeting, :members)
ON CONFLICT DO NOTHING;
