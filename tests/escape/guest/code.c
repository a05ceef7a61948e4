// Code of chance, and code that others rewrite while it is executed.

#include "hostile.h"

// Where user code finds the memory at CODE.
#define USER 0x8000000000ull
// A slot for code; the last of each 16 are the vCPU's own.
#define SLOT 0x400

struct opcode {
    uint8_t len, bytes[4];
};

// Beginnings of instructions of operating systems.
static const struct opcode system[] = {
    {2, {0x0f, 0x00}}, {2, {0x0f, 0x01}}, {2, {0x0f, 0x02}}, {2, {0x0f, 0x03}}, {2, {0x0f, 0x05}},
    {2, {0x0f, 0x06}}, {2, {0x0f, 0x07}}, {2, {0x0f, 0x20}}, {2, {0x0f, 0x21}}, {2, {0x0f, 0x22}},
    {2, {0x0f, 0x23}}, {2, {0x0f, 0x30}}, {2, {0x0f, 0x32}}, {2, {0x0f, 0x34}}, {2, {0x0f, 0x35}},
    {2, {0x0f, 0xae}}, {2, {0x0f, 0xb2}},  {3, {0xf3, 0x0f, 0x38}}, {1, {0x8e}},
    {1, {0x8c}},       {1, {0x9c}},       {1, {0x9d}},       {1, {0xc8}},       {1, {0xc9}},
    {1, {0xca}},       {1, {0xcb}},       {1, {0xcd}},       {1, {0xcf}},       {1, {0xe4}},
    {1, {0xee}},       {2, {0xf3, 0x6c}}, {2, {0xf3, 0x6f}}, {2, {0xf3, 0xa4}}, {2, {0xf3, 0xab}},
    {2, {0xf3, 0xa6}}, {1, {0xfa}},       {1, {0xfb}},       {1, {0xff}},       {1, {0xf4}},
};

// Beginnings of instructions of programs. None locks memory: see lockable().
static const struct opcode programs[] = {
    {1, {0x01}}, {1, {0x03}}, {1, {0x11}}, {1, {0x29}}, {1, {0x33}}, {1, {0x39}}, {1, {0x50}},
    {1, {0x58}}, {1, {0x63}}, {1, {0x69}}, {1, {0x6b}}, {1, {0x72}}, {1, {0x75}}, {1, {0x81}},
    {1, {0x89}}, {1, {0x8b}}, {1, {0x8d}}, {1, {0xa4}}, {1, {0xb8}}, {1, {0xc1}},
    {1, {0xd3}}, {1, {0xd9}}, {1, {0xdd}}, {1, {0xe2}}, {1, {0xe8}}, {1, {0xeb}}, {1, {0xf7}},
    {1, {0xff}}, {2, {0x0f, 0x10}}, {2, {0x0f, 0x11}}, {2, {0x0f, 0x28}}, {2, {0x0f, 0x45}},
    {2, {0x0f, 0x58}}, {2, {0x0f, 0x84}}, {2, {0x0f, 0xa2}}, {2, {0x0f, 0xa3}}, 
     {2, {0x0f, 0xc6}}, {3, {0x66, 0x0f, 0x6f}}, {3, {0x66, 0x0f, 0x38}},
    {3, {0x66, 0x0f, 0x3a}}, {3, {0xf2, 0x0f, 0x5e}}, {3, {0xc4, 0xe2, 0x7d}},
    {3, {0xc5, 0xfd, 0x6f}},
};

// Writes `len` bytes of instructions.
static void invent(struct cpu *cpu, uint64_t at, uint64_t len, int privileged) {
    static const uint8_t prefixes[] = {0x66, 0x67, 0x64, 0x65, 0x48, 0x49, 0x4c, 0xf2, 0xf3};
    volatile uint8_t *code = (volatile uint8_t *)at, *end = code + len;
    while (code < end) {
        struct opcode op = privileged && once_in(cpu, 2) ? PICK(cpu, system) : PICK(cpu, programs);
        if (once_in(cpu, 4) && code < end) {
            *code++ = PICK(cpu, prefixes);
        }
        for (uint8_t i = 0; i < op.len && code < end; i++) {
            *code++ = op.bytes[i];
        }
        for (uint64_t more = below(cpu, 6), bytes = chance(cpu); more > 0 && code < end; more--) {
            *code++ = bytes;
            bytes >>= 8;
        }
    }
}

// Calls code of a few additions that ends by a return, while everybody writes others of these over
// it.
void rewrite(struct cpu *cpu) {
    // Each is as long as the others: add to eax, subtract, exchange and more, and returns.
    static const uint64_t pieces[] = {
        0x9000000001c08348, 0x9090900000010548, 0x9090909090c3ff48, 0x90c88949c1894890,
        0x909090909090c3c3, 0x90909090c0ff02eb, 0x9090909090f0894c, 0x9090909090c3c031,
    };
    uint64_t page = CODE + 0x100000 + below(cpu, 8) * 0x1000;
    for (int i = 0; i < 32; i++) {
        uint64_t at = page + below(cpu, 24) * 8;
        MEMORY(uint64_t, at) = PICK(cpu, pieces);
        if (once_in(cpu, 8)) {
            MEMORY(uint64_t, at + 3) = PICK(cpu, pieces);
        }
        MEMORY(uint64_t, page + 256) = 0xc3c3c3c3c3c3c3c3;
        uint64_t begin = once_in(cpu, 4) ? USER + page - CODE : page;
        cpu->in_code = 1;
        for (int times = 0; times < 40; times++) {
            __asm__ volatile("call *%0"
                             :
                             : "r"(begin)
                             : "rax", "rcx", "rdx", "rsi", "rdi", "rbx", "r8", "r9", "r10", "r11",
                               "memory", "cc");
        }
    }
}

// Leaves for code at `rip`, with registers of chance.
static void leave(struct cpu *cpu, uint64_t rip, uint64_t rsp, uint64_t cs, uint64_t ss,
                  uint64_t flags) __attribute__((noreturn));
static void leave(struct cpu *cpu, uint64_t rip, uint64_t rsp, uint64_t cs, uint64_t ss,
                  uint64_t flags) {
    uint64_t values[16];
    for (int i = 0; i < 16; i++) {
        values[i] = once_in(cpu, 2) ? target(cpu) : USER + 0x40000 + below(cpu, 0x1000);
    }
    cpu->in_code = 1;
    __asm__ volatile(
        "pushq %[ss]; pushq %[rsp]; pushq %[flags]; pushq %[cs]; pushq %[rip];"
        "mov (%[values]), %%rax; mov 8(%[values]), %%rbx; mov 16(%[values]), %%rcx;"
        "mov 24(%[values]), %%rdx; mov 32(%[values]), %%rsi; mov 40(%[values]), %%rdi;"
        "mov 48(%[values]), %%r8; mov 56(%[values]), %%r9; mov 64(%[values]), %%r11;"
        "mov 72(%[values]), %%r12; mov 80(%[values]), %%r13; mov 88(%[values]), %%rbp;"
        "iretq" ::[ss] "r"(ss),
        [rsp] "r"(rsp), [flags] "r"(flags), [cs] "r"(cs), [rip] "r"(rip), [values] "r"(values)
        : "memory");
    __builtin_unreachable();
}

// User code of chance, in 64-bit and in compatibility mode.
void user_code(struct cpu *cpu) {
    uint64_t slot = CODE + 0x10000 + (cpu->number * 16 + below(cpu, 16)) * SLOT;
    if (!once_in(cpu, 3)) {
        invent(cpu, slot, SLOT, once_in(cpu, 4));
    }
    uint64_t cs = once_in(cpu, 3) ? USER32 : USER64;
    uint64_t rip = slot - CODE + (cs == USER64 ? USER : 0);
    if (cs == USER32) {
        // Below 4 GiB nothing is for users, but for what the directory says of CODE itself.
        MEMORY(uint64_t, DIRECTORY + (CODE >> 21) * 8) = CODE | 0x87;
        rip = slot;
    }
    leave(cpu, rip, USER + 0x48000, cs, USER_DATA, 0x202 | (chance(cpu) & 0x40dd5));
}

// System code of chance. Few machines live long after it.
void system_code(struct cpu *cpu) {
    uint64_t slot = CODE + 0x20000 + (cpu->number * 16 + below(cpu, 16)) * SLOT;
    invent(cpu, slot, SLOT, 1);
    leave(cpu, slot, CODE + 0x48000 + cpu->number * 0x4000, CODE64, DATA,
          0x202 | (chance(cpu) & 0x40dd5));
}
