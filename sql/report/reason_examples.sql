-- Some rows that were dropped for each reason of each stage, chosen by a hash of the pair.
-- $most: how many of a reason
SELECT stage, reason, text, url, evidence FROM dropped
QUALIFY row_number() OVER (PARTITION BY stage, reason ORDER BY md5(pair_id), archive, "offset", ordinal) <= $most
ORDER BY stage, reason, md5(pair_id), archive, "offset", ordinal
