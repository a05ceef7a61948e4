"""A script interpreter at work: dictionaries, classes, generators, strings."""
import sys

n = int(sys.argv[1]) if len(sys.argv) > 1 else 80000


class Counter:
    def __init__(self):
        self.seen = {}

    def add(self, word):
        self.seen[word] = self.seen.get(word, 0) + 1


counter = Counter()
for i in range(n):
    counter.add("w%d" % (i * 7919 % 997))


def primes(limit):
    found = []
    for candidate in range(2, limit):
        if all(candidate % p for p in found if p * p <= candidate):
            found.append(candidate)
            yield candidate


text = " ".join(sorted(counter.seen, key=lambda w: (counter.seen[w], w)))
print(len(text), sum(primes(n // 20)), sum(ord(c) for c in text) % 1000003)
