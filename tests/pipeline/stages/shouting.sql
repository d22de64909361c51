-- shouting: texts of capital letters.
-- rows: row. measures: row, capitals (share of the letters). config: max_capitals.
SELECT rows.row, 'text_shouts' AS reason,
       json_object('capitals', capitals, 'max_capitals', max_capitals)::VARCHAR AS evidence
FROM rows JOIN measures USING (row) CROSS JOIN config
WHERE capitals > max_capitals
ORDER BY rows.row
