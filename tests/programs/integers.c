// Integer arithmetic of every width: wrapping, division, shifts, rotates, 128 bits, bit counting, checksums.
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint64_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* A number of up to 64 bits, most often fewer. */
static uint64_t small(unsigned most) {
    uint64_t x = next();
    return x >> (next() & most);
}
static unsigned __int128 pair(uint64_t high) { return (unsigned __int128)high << 64 | next(); }

#define WIDTH(bits)                                                                     \
    static uint64_t width##bits(void) {                                                 \
        uint64_t sum = 0;                                                               \
        for (int i = 0; i < 2000; i++) {                                                \
            uint##bits##_t a = next(), b = small(31), c = next() % bits;                \
            int##bits##_t sa = a, sb = b;                                               \
            if (i % 50 == 0) a = 0, sa = -1;                                            \
            uint##bits##_t rotated = c ? a << c | a >> (bits - c) : a;                  \
            sum = sum * 31 + (uint##bits##_t)(a + b) + (uint##bits##_t)(a - b);         \
            sum = sum * 31 + (uint##bits##_t)((uint64_t)a * b) + rotated;               \
            sum = sum * 31 + (uint##bits##_t)(a << c) + (a >> c) + (sa >> c);           \
            if (b) sum = sum * 31 + a / b + a % b;                                      \
            if (sb != 0 && sb != -1) sum = sum * 31 + sa / sb + sa % sb;                \
            sum += (a < b) + 2 * (sa < sb) + 4 * (a == b) + 8 * (sa >= sb);             \
            int##bits##_t r;                                                            \
            sum += 16 * __builtin_add_overflow(sa, sb, &r);                             \
            sum += 32 * __builtin_sub_overflow(sa, sb, &r);                             \
            sum += 64 * __builtin_mul_overflow(sa, sb, &r);                             \
        }                                                                               \
        return sum;                                                                     \
    }
WIDTH(8)
WIDTH(16)
WIDTH(32)
WIDTH(64)

static uint64_t wide(void) {
    unsigned __int128 sum = 0;
    for (int i = 0; i < 2000; i++) {
        unsigned __int128 a = pair(next());
        unsigned __int128 b = pair(small(63));
        __int128 sa = a, sb = b;
        if (i % 3 == 0) b >>= 64, sb = b;
        sum = sum * 1000003 + a * b + (a + b) - (a ^ b);
        if (b) sum += a / b + a % b;
        if (sb && sb != -1) sum += sa / sb + sa % sb;
        sum += (a << (i % 128)) + (sa >> (i % 128)) + (a < b) + (sa < sb);
    }
    return (uint64_t)sum ^ (uint64_t)(sum >> 64);
}

static uint64_t bits(void) {
    uint64_t sum = 0;
    for (int i = 0; i < 5000; i++) {
        uint64_t a = small(63);
        if (!a) continue;
        sum = sum * 31 + __builtin_popcountll(a) + __builtin_clzll(a) + __builtin_ctzll(a);
        sum = sum * 31 + __builtin_parityll(a) + __builtin_ffsll(a) + __builtin_bswap64(a);
        sum = sum * 31 + __builtin_bswap32(a) + __builtin_bswap16(a);
        a |= 1ull << (next() & 63);
        a &= ~(1ull << (next() & 63));
        a ^= 1ull << (next() & 63);
        sum += a + (a >> (next() & 63) & 1);
    }
    return sum;
}

static uint32_t crc32(const void *data, size_t length) {
    uint32_t crc = ~0u;
    for (const uint8_t *p = data; length--; p++) {
        crc ^= *p;
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (0xedb88320 & -(crc & 1));
    }
    return ~crc;
}

static uint32_t k[64];
static uint32_t rotr(uint32_t x, int n) { return x >> n | x << (32 - n); }
static void sha256(const uint8_t *data, size_t length, uint32_t h[8]) {
    uint8_t block[64];
    uint64_t total = length * 8;
    int done = 0, padded = 0;
    while (!done) {
        size_t n = length < 64 ? length : 64;
        memset(block, 0, 64);
        memcpy(block, data, n);
        data += n, length -= n;
        if (n < 64) {
            if (!padded) block[n] = 0x80, padded = 1;
            if (n < 56) {
                for (int i = 0; i < 8; i++) block[56 + i] = total >> (56 - 8 * i);
                done = 1;
            }
        }
        uint32_t w[64], v[8];
        for (int i = 0; i < 16; i++)
            w[i] = block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
        for (int i = 16; i < 64; i++)
            w[i] = w[i - 16] + (rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
                   (rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10);
        memcpy(v, h, sizeof v);
        for (int i = 0; i < 64; i++) {
            uint32_t t1 = v[7] + (rotr(v[4], 6) ^ rotr(v[4], 11) ^ rotr(v[4], 25)) +
                          ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
            uint32_t t2 = (rotr(v[0], 2) ^ rotr(v[0], 13) ^ rotr(v[0], 22)) +
                          ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
            memmove(v + 1, v, 7 * sizeof *v);
            v[4] += t1, v[0] = t1 + t2;
        }
        for (int i = 0; i < 8; i++) h[i] += v[i];
    }
}

/* The first 32 bits of the fractional part of a root of `prime`, by bisection in integers. */
static uint32_t root(unsigned prime, int cube) {
    unsigned __int128 low = 0, high = (unsigned __int128)1 << 40;
    while (high - low > 1) {
        unsigned __int128 middle = (low + high) / 2, power = middle * middle;
        int more = cube ? power / ((uint64_t)1 << 32) * middle > (unsigned __int128)prime << 64
                        : power > (unsigned __int128)prime << 64;
        if (more) high = middle;
        else low = middle;
    }
    return (uint32_t)low;
}

int main(void) {
    printf("8 %016" PRIx64 "\n", width8());
    printf("16 %016" PRIx64 "\n", width16());
    printf("32 %016" PRIx64 "\n", width32());
    printf("64 %016" PRIx64 "\n", width64());
    printf("128 %016" PRIx64 "\n", wide());
    printf("bits %016" PRIx64 "\n", bits());
    static uint8_t data[100000];
    for (size_t i = 0; i < sizeof data; i++) data[i] = next();
    printf("crc32 %08x %08x\n", crc32("123456789", 9), crc32(data, sizeof data));
    uint32_t h[8];
    int primes = 0;
    for (unsigned n = 2; primes < 64; n++) {
        int prime = 1;
        for (unsigned d = 2; d * d <= n; d++) prime &= n % d != 0;
        if (!prime) continue;
        if (primes < 8) h[primes] = root(n, 0);
        k[primes++] = root(n, 1);
    }
    uint32_t state[8];
    memcpy(state, h, sizeof h);
    sha256((const uint8_t *)"abc", 3, state);
    for (int i = 0; i < 8; i++) printf("%08x", state[i]);
    memcpy(state, h, sizeof h);
    sha256(data, sizeof data, state);
    putchar('\n');
    for (int i = 0; i < 8; i++) printf("%08x", state[i]);
    putchar('\n');
    return 0;
}
