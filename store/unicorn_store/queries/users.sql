-- Accounts of the user API.

-- name: users_add^
-- None when the name, or the Kubernetes user, is taken.
INSERT INTO unicorn.user_account (name, method, password_hash, kubernetes_user, namespace, groups, access_tags, sudo)
VALUES (:name, :method, :password_hash, :kubernetes_user, :namespace, :groups::text[], :access_tags::text[], :sudo)
ON CONFLICT DO NOTHING
RETURNING *;

-- name: users_meet^
-- An account whose password somebody else knows, as that one describes it now. None when the name belongs to another method.
INSERT INTO unicorn.user_account AS a (name, method, kubernetes_user, namespace, groups, access_tags, sudo, password_changed_at)
VALUES (:name, :method, :kubernetes_user, :namespace, :groups::text[], :access_tags::text[], :sudo,
        coalesce(:password_changed::timestamptz, 'epoch'))
ON CONFLICT (name) DO UPDATE
    SET groups = excluded.groups, access_tags = excluded.access_tags, sudo = excluded.sudo,
        generation = a.generation + (excluded.password_changed_at > a.password_changed_at)::int,
        password_changed_at = greatest(a.password_changed_at, excluded.password_changed_at)
    WHERE a.method = excluded.method
RETURNING *;

-- name: users_by_name^
SELECT * FROM unicorn.user_account WHERE name = :name;

-- name: users_by_id^
SELECT * FROM unicorn.user_account WHERE id = :id;

-- name: users_list
SELECT * FROM unicorn.user_account ORDER BY name;

-- name: users_set_password^
-- All tokens end with the password.
UPDATE unicorn.user_account SET password_hash = :password_hash, password_changed_at = now(), generation = generation + 1
WHERE name = :name AND method = 'database'
RETURNING *;

-- name: users_revoke^
UPDATE unicorn.user_account SET generation = generation + 1 WHERE name = :name RETURNING *;

-- name: users_change^
-- Null leaves a field as it is.
UPDATE unicorn.user_account
SET namespace = coalesce(:namespace, namespace), groups = coalesce(:groups::text[], groups),
    access_tags = coalesce(:access_tags::text[], access_tags), sudo = coalesce(:sudo, sudo)
WHERE name = :name
RETURNING *;

-- name: users_remove^
DELETE FROM unicorn.user_account WHERE name = :name RETURNING *;
