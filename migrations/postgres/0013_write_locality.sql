-- What an iteration inserts has growing ids, so that its rows and their entries in most indexes are neighbours. Entries at random
-- places cost a page each: a commit of a few hundred jobs then writes hundreds of pages more, the more the larger the table is.

-- Nothing is looked up by a dataset's uuid.
DROP INDEX dataset_uuid;

-- Only the results of jobs that ended well are used again.
DROP INDEX job_equivalent;
CREATE INDEX job_equivalent ON job (user_id, equivalence_key) WHERE equivalence_key IS NOT NULL AND state = 'ok';

-- What a history's states and size are counted from, without reading its rows.
CREATE INDEX hda_census ON history_dataset_association
    (history_id, dataset_id, id, deleted, purged, copied_from_history_dataset_association_id);
