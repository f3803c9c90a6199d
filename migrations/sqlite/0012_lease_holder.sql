-- Which server's scheduler holds a lease: one whose process was lost, and its tokens with it, takes its own invocations again
-- at once, and not those that its namesake on another server holds.
ALTER TABLE scheduler_lease ADD COLUMN handler TEXT NOT NULL DEFAULT '';
