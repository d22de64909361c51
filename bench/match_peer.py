"""MetaCLIP's matching rule on pyahocorasick, in the peer's own environment: QUERIES TEXTS RESULT (text files, JSON out)."""

import json
import sys
import time

import ahocorasick


def spaced(text: str) -> str:
    """MetaCLIP's substr_matching.py: these marks get spaces around them; tabs and newlines become spaces."""
    text = " " + text + " "
    for mark in (",", ".", ";", ":", "?", "!", "`"):
        text = text.replace(mark, f" {mark} ")
    return text.replace("\t", " ").replace("\n", " ")


def main() -> None:
    queries_path, texts_path, result_path = sys.argv[1:]
    with open(queries_path, encoding="utf-8") as file:
        queries = json.load(file)
    with open(texts_path, encoding="utf-8") as file:
        texts = json.load(file)
    began = time.process_time()
    automaton = ahocorasick.Automaton()
    for number, query in enumerate(queries):
        automaton.add_word(f" {query} ", number)
    automaton.make_automaton()
    built = time.process_time()
    found = [sorted({number for _, number in automaton.iter(spaced(text))}) for text in texts]
    ended = time.process_time()
    with open(result_path, "w", encoding="utf-8") as file:
        json.dump(found, file)
    print(json.dumps({"build_seconds": built - began, "seconds": ended - built}))


main()
