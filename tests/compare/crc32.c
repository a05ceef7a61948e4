/* Integer: table-driven CRC-32 of a generated buffer. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t table[256];
static uint8_t buffer[1 << 16];

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 500;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        table[i] = c;
    }
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof buffer; i++) {
        x = x * 1664525u + 1013904223u;
        buffer[i] = x >> 24;
    }
    uint32_t crc = ~0u;
    for (int r = 0; r < rounds; r++)
        for (size_t i = 0; i < sizeof buffer; i++)
            crc = table[(crc ^ buffer[i]) & 255] ^ crc >> 8;
    printf("%08x\n", ~crc);
}
