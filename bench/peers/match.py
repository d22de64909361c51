"""MetaCLIP's matching rule on pyahocorasick, in the peer's own environment: QUERIES TEXTS RESULT (JSON) ROUNDS."""

import json
import resource
import sys
import time
from pathlib import Path

import ahocorasick


def spaced(text: str) -> str:
    """Return a text as MetaCLIP's substr_matching.py takes it: these marks get spaces around them; tabs and newlines
    become spaces.
    """
    text = " " + text + " "
    for mark in (",", ".", ";", ":", "?", "!", "`"):
        text = text.replace(mark, f" {mark} ")
    return text.replace("\t", " ").replace("\n", " ")


def main() -> None:
    queries_path, texts_path, result_path = map(Path, sys.argv[1:4])
    queries = json.loads(queries_path.read_text(encoding="utf-8"))
    texts = json.loads(texts_path.read_text(encoding="utf-8"))
    began = time.process_time()
    automaton = ahocorasick.Automaton()
    for number, query in enumerate(queries):
        automaton.add_word(f" {query} ", number)
    automaton.make_automaton()
    built = time.process_time()
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    seconds = []
    for _ in range(int(sys.argv[4])):
        start = time.process_time()
        query_ids = [sorted({number for _, number in automaton.iter(spaced(text))}) for text in texts]
        seconds.append(time.process_time() - start)
    result_path.write_text(json.dumps(query_ids), encoding="utf-8")
    print(json.dumps({"build_seconds": built - began, "seconds": min(seconds), "megabytes": megabytes}))


main()
