-- Which of some images' addresses a model thinks unsafe to look at.
-- $urls: the addresses; $most: the probability above which
SELECT DISTINCT url FROM images WHERE nsfw_probability > $most AND url IN (SELECT unnest($urls))
