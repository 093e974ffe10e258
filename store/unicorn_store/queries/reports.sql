-- Reports of executors that run serialized graphs: opaque bytes.

-- name: report_put$
-- Replaces the one before; a final one stays. True when it was stored.
INSERT INTO unicorn.executor_report (executor_id, content, final, log_lines)
VALUES (:id, :content, :final, :log_lines)
ON CONFLICT (executor_id) DO UPDATE
SET content = excluded.content, final = excluded.final, log_lines = greatest(executor_report.log_lines, excluded.log_lines),
    received_at = now()
WHERE NOT executor_report.final
RETURNING true;

-- name: report_from_blob$
-- The final report is what an executor has uploaded as a blob. True when it was stored.
INSERT INTO unicorn.executor_report (executor_id, content, final)
SELECT :id, string_agg(content, ''::bytea ORDER BY start), true
FROM unicorn.blob_part WHERE executor_id = :id AND sha256 = :digest HAVING count(*) > 0
ON CONFLICT (executor_id) DO UPDATE SET content = excluded.content, final = true, received_at = now()
WHERE NOT executor_report.final
RETURNING true;

-- name: reports_read
SELECT executor_id, content, final, received_at FROM unicorn.executor_report WHERE executor_id = ANY(:ids::uuid[]);

-- name: report_standing^
-- What is known of an executor's report without its bytes.
SELECT final, log_lines FROM unicorn.executor_report WHERE executor_id = :id;
