-- Which queries each candidate's text contains.
SELECT lower(hex(c.pair_id)) AS pair_id, unnest(m.query_ids) AS query_id, m.partition, m.row
FROM _matches m JOIN _candidates c ON c.partition = m.partition AND c.row = m.row
