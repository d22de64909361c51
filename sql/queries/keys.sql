-- A key of 64 bits of each query, whatever its capitals.
-- Tables: counts (query).
SELECT ('0x' || md5(lower(query))[1:16])::UBIGINT AS key FROM counts
