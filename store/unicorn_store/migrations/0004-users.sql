-- Those who log in to the user API. Who they are to Kubernetes, and what they may there, is RBAC's to say.
-- depends: 0002-roles
CREATE TABLE unicorn.user_account (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),      -- the subject of its tokens: a name used again is somebody else
    name text NOT NULL UNIQUE CHECK (name <> '' AND length(name) <= 128),
    method text NOT NULL,                               -- who knows the password: database | ldap | …
    password_hash text,                                 -- bcrypt
    kubernetes_user text NOT NULL UNIQUE,
    namespace text NOT NULL,                            -- home: where the mediator puts its experiments
    groups text[] NOT NULL DEFAULT '{}',
    access_tags text[] NOT NULL DEFAULT '{}',
    sudo boolean NOT NULL DEFAULT false,
    generation int NOT NULL DEFAULT 1,                  -- stands in its tokens: raising it revokes them all
    created_at timestamptz NOT NULL DEFAULT now(),
    password_changed_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((method = 'database') = (password_hash IS NOT NULL))
);

DO $roles$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_user_gateway') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON unicorn.user_account TO unicorn_user_gateway;
    END IF;
END
$roles$;
