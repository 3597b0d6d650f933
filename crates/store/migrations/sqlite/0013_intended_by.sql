-- When an attempt was intended, by whichever of its keeper's clock and the server's said more; `intended_at` is by the other
-- one. Without it both said the same.
ALTER TABLE attempt ADD COLUMN intended_by INTEGER;
