-- The history of a namespace, newest first.
-- depends: 0001-initial
CREATE INDEX experiment_by_age ON unicorn.experiment (namespace, created_at DESC, uid DESC);
