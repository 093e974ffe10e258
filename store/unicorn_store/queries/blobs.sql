-- Blobs of an executor, for the executor gateway.

-- name: blob_read^
SELECT size, stored, complete FROM unicorn.blob WHERE executor_id = :id AND sha256 = :digest;

-- name: blob_reserve$
-- Room within the executor's quota; nothing comes back when there is none.
UPDATE unicorn.executor SET blob_bytes = blob_bytes + :size WHERE id = :id AND blob_bytes + :size <= :quota RETURNING true;

-- name: blob_create!
INSERT INTO unicorn.blob (executor_id, sha256, size) VALUES (:id, :digest, :size);

-- name: blob_append!
INSERT INTO unicorn.blob_part (executor_id, sha256, start, content) VALUES (:id, :digest, :start, :content);

-- name: blob_advance!
UPDATE unicorn.blob SET stored = :stored, complete = :complete WHERE executor_id = :id AND sha256 = :digest;

-- name: blob_parts
SELECT start FROM unicorn.blob_part WHERE executor_id = :id AND sha256 = :digest ORDER BY start;

-- name: blob_part$
SELECT content FROM unicorn.blob_part WHERE executor_id = :id AND sha256 = :digest AND start = :start;

-- name: blob_discard!
DELETE FROM unicorn.blob WHERE executor_id = :id AND sha256 = :digest;

-- name: blob_release!
UPDATE unicorn.executor SET blob_bytes = greatest(0, blob_bytes - :size) WHERE id = :id;
