-- Whoever waits for a build has named its base in their own way, and may pull it from there with credentials of their own.
-- depends: 0009-mediator
ALTER TABLE unicorn.build_request ADD COLUMN base text NOT NULL DEFAULT '';  -- repository@digest; empty: as the build's inputs say

-- How often it was put off for what is no fault of the builder's: `tries` counts those alone, and ends.
ALTER TABLE unicorn.environment_build ADD COLUMN waits int NOT NULL DEFAULT 0;
