/* How many primes there are below a limit: the sieve of Eratosthenes, a number of times. */
#include "system.h"

enum { LIMIT = 1 << 17 };
static u8 composite[LIMIT];

static void program(const char *argument) {
    u64 primes = 0;
    for (u32 round = rounds(argument); round; round--) {
        for (u32 i = 0; i < LIMIT; i++)
            composite[i] = 0;
        for (u32 i = 2; i < LIMIT; i++) {
            if (composite[i])
                continue;
            primes++;
            for (u64 j = (u64)i * i; j < LIMIT; j += i)
                composite[j] = 1;
        }
    }
    hexadecimal(primes);
}
