-- Source files, those that could not be read to their end first: one row a file, with the columns of `sources`.
-- $most: how many
SELECT * FROM sources ORDER BY error IS NULL, file LIMIT $most
