-- How many pairs have a text of how many words, with the words of all of them.
SELECT least(len(regexp_extract_all(text, '\S+')), 50) AS words_up_to_50, count(*) AS pairs,
       sum(len(regexp_extract_all(text, '\S+')))::BIGINT AS words
FROM pairs GROUP BY ALL ORDER BY 1
