-- The era whose comparison of logs raised a ticket: those of one era are one question.
ALTER TABLE ticket ADD COLUMN era INTEGER;
