// What can be typed at the prompt.

#include "guest.h"

static const char *after(const char *line, const char *word) {
    while (*word) {
        if (*line++ != *word++) {
            return NULL;
        }
    }
    if (*line && *line != ' ') {
        return NULL;
    }
    while (*line == ' ') {
        line++;
    }
    return line;
}

static void help(void) {
    print("  help         this text\n"
          "  bench        integers, memory and floating point: how fast they go\n"
          "  mandelbrot   a picture\n"
          "  time         the clock, and how long the machine has run\n"
          "  fault        a page fault, an invalid opcode and a division by zero, caught\n"
          "  exit N       ends the machine by its exit device: status 2 N + 1\n"
          "  reboot       starts the machine anew\n"
          "  poweroff     turns the machine off\n");
}

static void mandelbrot(void) {
    static const char shades[] = " .,:;+*o%@";
    for (int y = 0; y < 22; y++) {
        char line[73];
        for (int x = 0; x < 72; x++) {
            double ci = (y - 10.5) / 9.0, cr = (x - 50) / 24.0, zr = 0, zi = 0;
            int n = 0;
            for (; n < 90 && zr * zr + zi * zi < 4; n++) {
                double t = zr * zr - zi * zi + cr;
                zi = 2 * zr * zi + ci;
                zr = t;
            }
            line[x] = shades[n < 9 ? n / 2 : n < 18 ? 5 : n < 30 ? 6 : n < 60 ? 7 : n < 90 ? 8 : 9];
        }
        line[72] = 0;
        print("%s\n", line);
    }
}

// Work of one kind, done `rounds` times; what it computes keeps it from being left out.
typedef uint64_t work(uint64_t rounds);

// 8 operations a round.
static uint64_t integers(uint64_t rounds) {
    uint64_t x = 88172645463325252;
    for (uint64_t n = 0; n < rounds; n++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x += n;
        asm volatile("" : "+r"(x));
    }
    return x;
}

// 64 KiB are read and written a round.
static uint64_t memory(uint64_t rounds) {
    static uint64_t words[8192];
    for (uint64_t n = 0; n < rounds; n++) {
        for (size_t i = 0; i < 8192; i++) {
            words[i] += n ^ i;
        }
        asm volatile("" : : : "memory");
    }
    return words[0];
}

// 8 operations a round.
static uint64_t floats(uint64_t rounds) {
    double a = 1, b = 2, c = 3, d = 4;
    for (uint64_t n = 0; n < rounds; n++) {
        a = a * 0.999 + 0.5;
        b = b * 0.998 + 0.25;
        c = c * 0.997 + 0.125;
        d = d * 0.996 + 0.0625;
        asm volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d));
    }
    return a + b + c + d;
}

// Does work for half a second; how much of it was done in a second.
static uint64_t per_second(work *work, uint64_t chunk) {
    uint64_t start = ticks, rounds = 0;
    while (ticks == start) {
    }
    start = ticks;
    while (ticks - start < TICKS_PER_SECOND / 2) {
        work(chunk);
        rounds += chunk;
    }
    return rounds * TICKS_PER_SECOND / (ticks - start);
}

static void bench(void) {
    uint64_t start = ticks;
    while (ticks == start) {
    }
    start = ticks;
    uint64_t tsc = rdtsc();
    while (ticks - start < TICKS_PER_SECOND / 5) {
        asm volatile("hlt");
    }
    print("  time-stamp counter  %6lu MHz\n", (rdtsc() - tsc) * 5 / 1000000);
    print("  integers            %6lu million operations per second\n",
          per_second(integers, 10000) * 8 / 1000000);
    print("  memory              %6lu MiB per second, read and written\n",
          per_second(memory, 1) / 16);
    print("  floating point      %6lu million operations per second\n",
          per_second(floats, 10000) * 8 / 1000000);
}

static uint8_t cmos(uint8_t at) {
    out8(0x70, at);
    return in8(0x71);
}

// A field of the clock, which counts in BCD (status register B, bit 2 is 0) or in binary.
static uint64_t clock_field(uint8_t at) {
    uint8_t value = cmos(at);
    return cmos(0x0b) & 4 ? value : (value >> 4) * 10 + (value & 15);
}

static void show_time(void) {
    // While an update is in progress the fields do not fit each other.
    while (cmos(0x0a) & 0x80) {
    }
    print("  20%02lu-%02lu-%02lu %02lu:%02lu:%02lu by the clock, ", clock_field(9), clock_field(8),
          clock_field(7), clock_field(4), clock_field(2), clock_field(0));
    uint64_t now = ticks;
    print("%lu.%02lu seconds (%lu timer interrupts) since the start\n", now / 100, now % 100, now);
}

// Each says beforehand where to go on.
static void fault(void) {
    asm volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; mov $0x50000000, %%rcx; mov (%%rcx), %%rax; 1:"
                 : "=m"(resume) : : "rax", "rcx", "memory");
    asm volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; ud2; 1:"
                 : "=m"(resume) : : "rax", "memory");
    asm volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx; 1:"
                 : "=m"(resume) : : "rax", "rcx", "rdx", "memory");
    print("All three were caught, and the guest goes on.\n");
}

static void leave(const char *number) {
    uint8_t value = 0;
    for (; *number >= '0' && *number <= '9'; number++) {
        value = value * 10 + *number - '0';
    }
    out8(0xf4, value);
    print("There is no exit device.\n");
}

void command(const char *line) {
    const char *rest;
    while (*line == ' ') {
        line++;
    }
    if (!*line) {
        return;
    }
    if (after(line, "help")) {
        help();
    } else if (after(line, "bench")) {
        bench();
    } else if (after(line, "mandelbrot")) {
        mandelbrot();
    } else if (after(line, "time")) {
        show_time();
    } else if (after(line, "fault")) {
        fault();
    } else if ((rest = after(line, "exit"))) {
        leave(rest);
    } else if (after(line, "reboot")) {
        out8(0x64, 0xfe); // the keyboard controller pulses the processor's reset pin
    } else if (after(line, "poweroff")) {
        out16(0x604, 1 << 13); // ACPI's PM1 control register: SLP_EN, with the SLP_TYP of S5, 0
    } else {
        print("`%s` is no command: `help` lists them.\n", line);
    }
}
