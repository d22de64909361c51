-- How many pairs have a text of how many words, with the words of all of them.
-- column words_up_to_50: Words of the text, parted by white space; 50 stands for more, too.
-- column pairs: How many pairs of the dataset.
-- column words: Words of all of them.
SELECT least(len(regexp_extract_all(text, '\S+')), 50) AS words_up_to_50, count(*) AS pairs,
       sum(len(regexp_extract_all(text, '\S+')))::BIGINT AS words
FROM pairs GROUP BY ALL ORDER BY 1
