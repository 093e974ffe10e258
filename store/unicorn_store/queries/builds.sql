-- name: request_builds
-- Ask for these builds, and for no others unless those are kept, each once: a row is made, or begun anew, or only used. Begun anew is one that was cancelled; one that
-- failed before `asked_at`, unless an image of before serves; and one for a token that no run was for yet. A token that meets a
-- run under way waits for its end: that run began before the token came. Without inputs it is not asked for the first time: only
-- rows that are there are used, and no failure is tried again.
-- Answers how each stands after that.
WITH wanted AS (
    SELECT given.* FROM unnest(:hashes::text[], :platforms::text[], :inputs::jsonb[], :tokens::text[], :secrets::text[])
        AS given (hash, platform, inputs, token, pull_secret)
    WHERE given.inputs IS NOT NULL OR EXISTS (SELECT FROM unicorn.environment_build b WHERE b.hash = given.hash)
), asked AS (
    INSERT INTO unicorn.environment_build AS b (hash, platform, namespace, inputs, fresh, due)
    SELECT hash, platform, :namespace, coalesce(inputs, '{}'), token <> '', array_remove(ARRAY[token], '')
    FROM wanted ORDER BY hash
    ON CONFLICT (hash) DO UPDATE SET
        used_at = now(),
        due = CASE WHEN excluded.due <@ (b.due || b.honoured) THEN b.due
                   WHEN unicorn.begins_anew(b, excluded.due, :asked_at, excluded.inputs <> '{}') OR b.state = 'Waiting' THEN b.due || excluded.due
                   ELSE b.due END,
        fresh = CASE WHEN unicorn.begins_anew(b, excluded.due, :asked_at, excluded.inputs <> '{}') THEN excluded.fresh
                     WHEN b.state = 'Waiting' THEN b.fresh OR NOT excluded.due <@ (b.due || b.honoured)
                     ELSE b.fresh END,
        inputs = CASE WHEN unicorn.begins_anew(b, excluded.due, :asked_at, excluded.inputs <> '{}') AND excluded.inputs <> '{}' THEN excluded.inputs ELSE b.inputs END,
        state = CASE WHEN unicorn.begins_anew(b, excluded.due, :asked_at, excluded.inputs <> '{}') THEN 'Waiting' ELSE b.state END,
        namespace = CASE WHEN unicorn.begins_anew(b, excluded.due, :asked_at, excluded.inputs <> '{}') THEN excluded.namespace ELSE b.namespace END,
        requested_at = CASE WHEN unicorn.begins_anew(b, excluded.due, :asked_at, excluded.inputs <> '{}') THEN now() ELSE b.requested_at END,
        not_before = CASE WHEN unicorn.begins_anew(b, excluded.due, :asked_at, excluded.inputs <> '{}') THEN now() ELSE b.not_before END,
        tries = CASE WHEN unicorn.begins_anew(b, excluded.due, :asked_at, excluded.inputs <> '{}') THEN 0 ELSE b.tries END,
        waits = CASE WHEN unicorn.begins_anew(b, excluded.due, :asked_at, excluded.inputs <> '{}') THEN 0 ELSE b.waits END
    RETURNING b.*
), forgotten AS (
    DELETE FROM unicorn.build_request WHERE NOT :keep::boolean AND requester = :requester AND hash <> ALL(:hashes::text[])
), noted AS (
    INSERT INTO unicorn.build_request AS r (hash, requester, namespace, base, pull_secret)
    SELECT hash, :requester, :namespace, coalesce(w.inputs ->> 'base', ''), w.pull_secret
    FROM asked JOIN wanted w USING (hash) WHERE state IN ('Waiting', 'Running')
    ON CONFLICT (hash, requester) DO UPDATE SET pull_secret = excluded.pull_secret, requested_at = now(),
        base = coalesce(nullif(excluded.base, ''), r.base)
)
SELECT hash, a.platform, a.state::text AS state, a.run, a.image, a.size, a.media_type, a.reason, a.message, a.step, a.report,
    a.started_at, a.finished_at, w.token <> '' AS renewal, w.token = '' OR w.token = ANY(a.honoured) AS honoured
FROM asked a JOIN wanted w USING (hash);

-- name: read_builds
-- How these stand, for one who does not ask for them.
SELECT hash, platform, state::text AS state, run, image, size, media_type, reason, message, step, report, started_at, finished_at,
    false AS renewal, true AS honoured
FROM unicorn.environment_build WHERE hash = ANY(:hashes::text[]);

-- name: withdraw_requests!
-- This one waits for nothing any more.
DELETE FROM unicorn.build_request WHERE requester = :requester;

-- name: read_open_builds
-- What is to be run or runs, the oldest first; with the newest of those who wait for it, as (requester, namespace, base,
-- pull secret, whether it asked just now). Who asks again is new again: their base was found just now.
SELECT b.hash, b.platform, b.namespace, b.state::text AS state, b.run, b.tries, b.waits, b.fresh, b.image, b.reason, b.message, b.step,
    b.requested_at, b.not_before, b.started_at,
    array(SELECT jsonb_array_elements_text(b.inputs -> 'layers')) AS layers,
    array(SELECT (r.requester, r.namespace, r.base, r.pull_secret, now() - r.requested_at < interval '10 seconds')
          FROM unicorn.build_request r
          WHERE r.hash = b.hash ORDER BY r.requested_at DESC, r.requester LIMIT 1000) AS requests
FROM unicorn.environment_build b WHERE b.state IN ('Waiting', 'Running') ORDER BY b.requested_at, b.hash;

-- name: read_build_inputs$
SELECT inputs FROM unicorn.environment_build WHERE hash = :hash;

-- name: claim_build$
-- From Waiting to Running, for one who asks: the number of the run; null for everybody else.
UPDATE unicorn.environment_build SET state = 'Running', run = run + 1, started_at = now(), finished_at = NULL, step = '',
    reason = '', message = '', report = NULL
WHERE hash = :hash AND state = 'Waiting' RETURNING run;

-- name: note_progress!
-- How far a run is, and what holds it up.
UPDATE unicorn.environment_build SET step = :step, reason = :reason, message = :message
WHERE hash = :hash AND run = :run AND state = 'Running';

-- name: finish_build$
-- The end of a run: Succeeded with its image, Failed or Cancelled. An image of before stays. Whether it was still under way.
UPDATE unicorn.environment_build SET reason = :reason, message = :message, report = :report, finished_at = now(), fresh = false,
    state = CASE WHEN :state::text = 'Cancelled' AND image <> '' THEN 'Succeeded' ELSE :state::text::unicorn.build_state END,
    honoured = CASE WHEN :state::text = 'Cancelled' THEN honoured
                    ELSE (honoured || due)[greatest(cardinality(honoured || due) - 99, 1) : ] END,
    due = '{}',
    image = CASE WHEN :image::text <> '' THEN :image ELSE image END,
    size = CASE WHEN :image::text <> '' THEN :size ELSE size END,
    media_type = CASE WHEN :image::text <> '' THEN :media_type ELSE media_type END
WHERE hash = :hash AND run = :run AND state = 'Running' RETURNING true;

-- name: postpone_build!
-- A run that came to nothing for no fault of the content: again, later. `broken`: by a fault of the builder's.
UPDATE unicorn.environment_build SET state = 'Waiting', tries = tries + :broken::boolean::int, waits = waits + (NOT :broken)::int, not_before = now() + :delay, reason = :reason,
    message = :message, report = :report, finished_at = now()
WHERE hash = :hash AND run = :run AND state = 'Running';

-- name: restart_build!
-- Its Job or process is gone without a word: the same run begins once more.
UPDATE unicorn.environment_build SET tries = tries + 1, started_at = now(), step = '' WHERE hash = :hash AND run = :run AND state = 'Running';

-- name: cancel_waiting_build$
-- Nobody waits for it any more, and it has not begun.
UPDATE unicorn.environment_build SET state = CASE WHEN image <> '' THEN 'Succeeded'::unicorn.build_state ELSE 'Cancelled' END,
    reason = '', message = '', fresh = false, due = '{}', finished_at = now()
WHERE hash = :hash AND state = 'Waiting' RETURNING true;

-- name: forget_requests!
-- These do not wait for it any more; without requesters: nobody does, its end is known.
DELETE FROM unicorn.build_request WHERE hash = :hash AND (:requesters::uuid[] IS NULL OR requester = ANY(:requesters));

-- name: delete_build!
-- Nobody can run it any more: it was asked for by an operator with another agent. Who waits asks for another.
DELETE FROM unicorn.environment_build WHERE hash = :hash;

-- name: forget_image!
-- The registry has it no more: build it again when it is asked for.
-- A run under way goes on; after a renewal that failed there is nothing left that could serve.
UPDATE unicorn.environment_build SET image = '',
    state = CASE WHEN state IN ('Succeeded', 'Failed') THEN 'Cancelled' ELSE state END
WHERE hash = :hash AND image = :image;

-- name: store_build_log!
INSERT INTO unicorn.build_log (hash, run, content) VALUES (:hash, :run, :content)
ON CONFLICT (hash, run) DO UPDATE SET content = excluded.content, received_at = now();

-- name: forget_old_logs!
-- All but the last few of a build that is tried again and again.
DELETE FROM unicorn.build_log WHERE hash = :hash
    AND run NOT IN (SELECT run FROM unicorn.build_log WHERE hash = :hash ORDER BY run DESC LIMIT :keep);

-- name: read_build_log^
-- Of a run; of the last one for a negative number. `hash`: or how it begins, if no other build's begins so.
SELECT run, content, received_at FROM unicorn.build_log
WHERE hash IN (SELECT min(hash) FROM unicorn.environment_build WHERE starts_with(hash, :hash) HAVING count(*) = 1)
  AND (:run::int < 0 OR run = :run)
ORDER BY run DESC LIMIT 1;

-- name: read_compiled
-- What is known of an attempt's images, by deployment.
SELECT deployment, body, compiled FROM unicorn.snapshot WHERE experiment_uid = :uid AND attempt = :attempt ORDER BY position;

-- name: note_compiled!
-- Images are chosen once: what an attempt runs does not change under its feet.
UPDATE unicorn.snapshot SET compiled = :compiled
WHERE experiment_uid = :uid AND attempt = :attempt AND deployment = :deployment AND NOT compiled ? 'images';

-- name: delete_old_build_logs$
WITH old AS (
    SELECT hash, run FROM unicorn.build_log WHERE received_at < :before LIMIT :batch
), gone AS (
    DELETE FROM unicorn.build_log l USING old WHERE l.hash = old.hash AND l.run = old.run RETURNING 1
)
SELECT count(*) FROM gone;

-- name: delete_old_builds$
-- Builds that nobody has used since `before`. Their images stay in the registry; who asks for one again builds it again.
WITH old AS (
    SELECT hash FROM unicorn.environment_build WHERE used_at < :before AND state NOT IN ('Waiting', 'Running') LIMIT :batch
), gone AS (
    DELETE FROM unicorn.environment_build b USING old WHERE b.hash = old.hash RETURNING 1
)
SELECT count(*) FROM gone;

-- name: delete_old_failures$
-- Builds without an image that nobody has asked for since `before`.
WITH old AS (
    SELECT hash FROM unicorn.environment_build
    WHERE used_at < :before AND state IN ('Failed', 'Cancelled') AND image = '' LIMIT :batch
), gone AS (
    DELETE FROM unicorn.environment_build b USING old WHERE b.hash = old.hash RETURNING 1
)
SELECT count(*) FROM gone;
