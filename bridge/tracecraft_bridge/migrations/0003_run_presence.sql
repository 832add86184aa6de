-- Which writers of a run keep a presence: one that said `left` has not crashed, whatever others did. '' is an older note.
ALTER TABLE run_presence ADD COLUMN writer text NOT NULL DEFAULT '';
ALTER TABLE run_presence DROP CONSTRAINT run_presence_pkey;
ALTER TABLE run_presence ADD PRIMARY KEY (project, run, writer);
ALTER TABLE run_presence ALTER COLUMN writer DROP DEFAULT;
