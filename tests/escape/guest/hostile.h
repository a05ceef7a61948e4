// A guest that tries everything, from all of its vCPUs at once: what the parts share.

#ifndef HOSTILE_H
#define HOSTILE_H

#include "layout.h"
#include <stddef.h>
#include <stdint.h>

// What the test has written into the image.
struct config {
    uint64_t seed;
    uint64_t memory;
    uint64_t cpus;
};
extern struct config config;

#define ATTACKS 12

// A vCPU. The test reads the first fields.
struct cpu {
    uint64_t count[ATTACKS];
    uint64_t caught;      // exceptions
    uint64_t interrupted; // interrupts
    uint64_t hit;         // by others, because it stood still
    uint64_t number;
    uint64_t random;
    uint64_t progress;
    uint64_t in_code; // it executes what it may never come back from
    struct {
        uint64_t progress, since;
    } seen[CPU_COUNT];
};

static inline struct cpu *cpu_at(uint64_t number) {
    return (struct cpu *)(CPUS + number * CPU_SIZE);
}

// Numbers of chance (xorshift64).
static inline uint64_t chance(struct cpu *cpu) {
    uint64_t x = cpu->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return cpu->random = x;
}

static inline uint64_t below(struct cpu *cpu, uint64_t n) { return (chance(cpu) >> 16) % n; }

static inline int once_in(struct cpu *cpu, uint64_t n) { return below(cpu, n) == 0; }

#define PICK(cpu, list) ((list)[below(cpu, sizeof(list) / sizeof((list)[0]))])

static inline uint64_t ticks(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static inline void out8(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value) {
    __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value) {
    __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint16_t in16(uint16_t port) {
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t in32(uint16_t port) {
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t rdmsr(uint32_t number) {
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
    return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t number, uint64_t value) {
    __asm__ volatile("wrmsr" ::"c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

#define MEMORY(type, address) (*(volatile type *)(address))

// memory.c
uint64_t edge(struct cpu *cpu);
uint64_t target(struct cpu *cpu);
void touch(struct cpu *cpu);
void strings(struct cpu *cpu);
void tables(struct cpu *cpu);

// devices.c
void apic_write(uint32_t reg, uint32_t value);
void plug(void);
void ports(struct cpu *cpu);
void configuration(struct cpu *cpu);
void registers(struct cpu *cpu);
void virtio(struct cpu *cpu);
void ide(struct cpu *cpu);
void firmware(struct cpu *cpu);

// code.c
void rewrite(struct cpu *cpu);
void user_code(struct cpu *cpu);
void system_code(struct cpu *cpu);

#endif
