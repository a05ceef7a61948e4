/* Integer: an open-addressing hash table of 64-bit keys. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 1 << 16 };
static uint64_t keys[SLOTS];
static uint32_t counts[SLOTS];

static uint64_t mix(uint64_t x) {
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

int main(int argc, char **argv) {
    long operations = argc > 1 ? atol(argv[1]) : 8000000;
    uint64_t x = 88172645463325252u;
    for (long i = 0; i < operations; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t key = (x & 0x7fff) + 1;
        size_t slot = mix(key) % SLOTS;
        while (keys[slot] && keys[slot] != key)
            slot = (slot + 1) % SLOTS;
        keys[slot] = key;
        counts[slot]++;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < SLOTS; i++)
        sum += keys[i] * counts[i];
    printf("%016llx\n", (unsigned long long)sum);
}
