-- Who may do what: a group role for each kind of process. Login roles are made, and put into them, by whoever installs.
-- Roles belong to the whole server: they may be there already, or be made by another database's migration at this moment,
-- or we may not be allowed to make them. Then whatever role exists is granted its rights.
-- depends: 0001-initial
DO $roles$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['unicorn_operator', 'unicorn_executor_gateway', 'unicorn_user_gateway'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN RAISE NOTICE 'role % is not there and may not be made: skipped', name;
        END;
    END LOOP;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_operator') THEN
        GRANT USAGE ON SCHEMA unicorn TO unicorn_operator;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA unicorn TO unicorn_operator;
    END IF;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_executor_gateway') THEN
        GRANT USAGE ON SCHEMA unicorn TO unicorn_executor_gateway;
        GRANT SELECT ON unicorn.experiment, unicorn.snapshot, unicorn.executor, unicorn.reception TO unicorn_executor_gateway;
        GRANT UPDATE (state, reason, message, instance, checked_in_at, released_at, heard_at, finished_at,
                      last_seq, log_bytes, blob_bytes) ON unicorn.executor TO unicorn_executor_gateway;
        GRANT UPDATE (last_tick_at, restored_at) ON unicorn.reception TO unicorn_executor_gateway;
        GRANT SELECT, INSERT ON unicorn.event, unicorn.log_chunk, unicorn.result, unicorn.flag_write,
            unicorn.barrier_arrival, unicorn.barrier_open TO unicorn_executor_gateway;
        GRANT SELECT, INSERT, UPDATE ON unicorn.flag TO unicorn_executor_gateway;
        GRANT SELECT, INSERT, UPDATE, DELETE ON unicorn.blob, unicorn.blob_part TO unicorn_executor_gateway;
    END IF;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'unicorn_user_gateway') THEN
        GRANT USAGE ON SCHEMA unicorn TO unicorn_user_gateway;
        GRANT SELECT ON ALL TABLES IN SCHEMA unicorn TO unicorn_user_gateway;
        GRANT UPDATE (cancel_requested_at) ON unicorn.executor TO unicorn_user_gateway;
    END IF;
END
$roles$;
