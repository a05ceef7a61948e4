// Accesses of all kinds at all addresses where something begins or ends.

#include "hostile.h"

#define WINDOW 0xffff800000000000ull

// Physical addresses where something begins, or ends just before.
static const uint64_t edges[] = {
    0x0,           0x1000,         0x9f000,         0xa0000,      0xb8000,
    0xbf000,       0xc0000,        0xc4000,         0xdf000,      0xe0000,
    0xef000,       0xf0000,        0xff000,         0x100000,     0xbffff000,
    0xc0000000,    0xd0000000,     0xd0010000,      0xd0100000,   0xd0110000,
    0xdffff000,    0xe0000000,     0xe00ff000,      0xe0100000,   0xfebff000,
    0xfec00000,    0xfec01000,     0xfed00000,      0xfed01000,   0xfee00000,
    0xfee01000,    0xfffe0000,     0xffff0000,      0xfffff000,   0x100000000,
    0x13ffff000,   0x200000000,    0x7ffffff000,    0x8000000000, 0xfffffff000,
    0x10000000000, 0x3ffffffff000, 0xffffffffff000,
};

// The address of a page at an edge, or of RAM that is not needed.
uint64_t edge(struct cpu *cpu) {
    uint64_t low = config.memory < 0xc0000000 ? config.memory : 0xc0000000;
    switch (below(cpu, 8)) {
    case 0:
    case 1: return low - 0x2000 + below(cpu, 4) * 0x1000;
    case 2: return SCRATCH + (chance(cpu) % (low - SCRATCH) & -0x1000);
    case 3:
        if (config.memory > 0xc0000000) {
            return 0x100000000 + config.memory - 0xc0000000 - 0x2000 + below(cpu, 4) * 0x1000;
        }
        return chance(cpu) & 0xffffff000;
    default: return PICK(cpu, edges);
    }
}

// A place in a page, near its end for the most part.
static uint64_t offset(struct cpu *cpu) {
    switch (below(cpu, 4)) {
    case 0: return below(cpu, 0x1000);
    case 1: return below(cpu, 0x40) * 16;
    default: return 0x1000 - 1 - below(cpu, 0x28);
    }
}

// What the page tables say of a page.
static uint64_t page(struct cpu *cpu, uint64_t address) {
    uint64_t flags = 3 | (chance(cpu) & 0x1fc);
    if (once_in(cpu, 32)) {
        flags = chance(cpu) & 0xfff;
    }
    return address | flags | (once_in(cpu, 8) ? 1ull << 63 : 0);
}

static void invalidate(uint64_t va) { __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory"); }

// A virtual address where there is something: some pages of the window are given a meaning for it,
// or the address is that of the memory itself.
uint64_t target(struct cpu *cpu) {
    uint64_t first = edge(cpu);
    if (once_in(cpu, 4) && first < 0xfffff000) {
        return first + offset(cpu);
    }
    uint64_t at = (cpu->number << 9) + below(cpu, 510);
    uint64_t second = once_in(cpu, 2) ? first + 0x1000 : edge(cpu);
    MEMORY(uint64_t, WINDOW_TABLES + at * 8) = page(cpu, first);
    MEMORY(uint64_t, WINDOW_TABLES + at * 8 + 8) = page(cpu, second);
    uint64_t va = WINDOW + (at << 12);
    if (!once_in(cpu, 16)) {
        invalidate(va);
        invalidate(va + 0x1000);
    }
    return va + offset(cpu);
}

// An address for a locked access of up to 8 bytes. Across lines of the cache it would lock the
// host's bus, which some hosts punish by seconds; across pages it does not.
static uint64_t lockable(uint64_t at) {
    uint64_t in_line = at & 63, in_page = at & 0xfff;
    return in_line > 56 && in_page <= 0xff8 ? at & -8 : at;
}

// The code at the address may do anything.
#define AT(what)                                                                                   \
    __asm__ volatile(what                                                                          \
                     : "+S"(at), "+a"(a), "+d"(d), "+b"(b), "+c"(c)::"memory", "cc", "rdi", "r8",  \
                       "r9", "r10", "r11", "r12", "r13", "r14", "r15")

#define LOCKED(what)                                                                               \
    do {                                                                                           \
        at = lockable(at);                                                                         \
        AT(what);                                                                                  \
    } while (0)

// One access.
void touch(struct cpu *cpu) {
    for (int i = 0; i < 24; i++) {
        uint64_t at = target(cpu);
        uint64_t a = chance(cpu), b = chance(cpu), c = chance(cpu), d = chance(cpu);
        switch (below(cpu, 64)) {
        case 0: AT("movb (%0), %%al"); break;
        case 1: AT("movw (%0), %%ax"); break;
        case 2: AT("movl (%0), %%eax"); break;
        case 3: AT("movq (%0), %%rax"); break;
        case 4: AT("movb %%al, (%0)"); break;
        case 5: AT("movw %%ax, (%0)"); break;
        case 6: AT("movl %%eax, (%0)"); break;
        case 7: AT("movq %%rax, (%0)"); break;
        case 8: AT("movups (%0), %%xmm0"); break;
        case 9: AT("movups %%xmm0, (%0)"); break;
        case 10: AT("and $-16, %0; movaps (%0), %%xmm0"); break;
        case 11: AT("and $-16, %0; movaps %%xmm0, (%0)"); break;
        case 12: AT("vmovups (%0), %%ymm0"); break;
        case 13: AT("vmovups %%ymm0, (%0)"); break;
        case 14: LOCKED("lock xaddb %%al, (%0)"); break;
        case 15: LOCKED("lock xaddw %%ax, (%0)"); break;
        case 16: LOCKED("lock xaddl %%eax, (%0)"); break;
        case 17: LOCKED("lock xaddq %%rax, (%0)"); break;
        case 18: LOCKED("lock cmpxchgb %%dl, (%0)"); break;
        case 19: LOCKED("lock cmpxchgl %%edx, (%0)"); break;
        case 20: LOCKED("lock cmpxchgq %%rdx, (%0)"); break;
        case 21: LOCKED("lock cmpxchg8b (%0)"); break;
        case 22: AT("and $-16, %0; lock cmpxchg16b (%0)"); break;
        case 23: LOCKED("xchgq %%rax, (%0)"); break;
        case 24: LOCKED("xchgb %%al, (%0)"); break;
        case 25: AT("and $-8, %0; movslq %%eax, %%rax; lock btsq %%rax, (%0)"); break;
        case 26: AT("and $-8, %0; lock btcl %%eax, (%0)"); break;
        case 27: AT("btrw %%ax, (%0)"); break;
        case 28: LOCKED("lock incq (%0)"); break;
        case 29: LOCKED("lock negl (%0)"); break;
        case 30: LOCKED("lock andw %%ax, (%0)"); break;
        case 31: AT("addq %%rax, (%0)"); break;
        case 32: AT("sbbb (%0), %%al"); break;
        case 33: AT("and $-16, %0; fxsave64 (%0)"); break;
        case 34: AT("and $-16, %0; fxrstor64 (%0); fninit"); break;
        case 35: AT("and $-64, %0; mov $7, %%eax; xor %%edx, %%edx; xsave64 (%0)"); break;
        case 36: AT("and $-64, %0; mov $7, %%eax; xor %%edx, %%edx; xrstor64 (%0)"); break;
        case 37: AT("fldt (%0); fstp %%st(0)"); break;
        case 38: AT("fldpi; fstpt (%0)"); break;
        case 39: AT("fldpi; fbstp (%0)"); break;
        case 40: AT("fnsave (%0)"); break;
        case 41: AT("frstor (%0); fninit"); break;
        case 42: AT("fnstenv (%0); fninit"); break;
        case 43: AT("sgdt (%0)"); break;
        case 44: AT("sidt (%0)"); break;
        case 45: AT("clflush (%0)"); break;
        case 46: AT("prefetchw (%0); prefetcht0 (%0)"); break;
        case 47: AT("movnti %%rax, (%0)"); break;
        case 48: AT("and $-16, %0; movntdq %%xmm0, (%0)"); break;
        case 49: AT("mov %0, %%rdi; maskmovdqu %%xmm1, %%xmm0"); break;
        case 50:
            AT("mov %%rsp, %%rbx; mov %0, %%rsp; push %%rax; pop %%rax; mov %%rbx, %%rsp");
            break;
        case 51: AT("mov %%rsp, %%rbx; mov %0, %%rsp; pushfw; popfw; mov %%rbx, %%rsp; cld"); break;
        case 52:
            AT("mov %%rsp, %%rbx; mov %0, %%rsp; push %%fs; pop %%fs; mov %%rbx, %%rsp");
            break;
        case 53:
            AT("mov %%rsp, %%rbx; mov %%rbp, %%rcx; mov %0, %%rsp; mov %0, %%rbp; enter $64, $31;"
               "mov %%rbx, %%rsp; mov %%rcx, %%rbp");
            break;
        case 54: AT("mov %%rsp, %%rbx; mov %0, %%rsp; call 1f; 1: mov %%rbx, %%rsp"); break;
        case 55: AT("lfs (%0), %%eax"); break;
        case 56: AT("pextrq $1, %%xmm0, (%0)"); break;
        case 57: AT("movbe %%rax, (%0); crc32q (%0), %%rax"); break;
        case 58: AT("stmxcsr (%0)"); break;
        case 59: AT("verr (%0); lar (%0), %%eax; lsl (%0), %%eax"); break;
        case 60: AT("lsl (%0), %%rax; str (%0); sldt (%0); smsw (%0)"); break;
        case 61: AT("invlpg (%0)"); break;
        case 62:
            cpu->in_code = 1;
            AT("sti; call *%0");
            break;
        default: AT("pcmpestri $0x18, (%0), %%xmm0; movdqu (%0), %%xmm1"); break;
        }
    }
}

#define STRING(what)                                                                               \
    __asm__ volatile(what "; cld"                                                                  \
                     : "+S"(from), "+D"(to), "+c"(count)                                           \
                     : "a"(a), "d"(port)                                                           \
                     : "memory", "cc")

// Long accesses, which begin or end at an edge.
void strings(struct cpu *cpu) {
    static const uint64_t counts[] = {0, 1, 7, 64, 513, 4096, 5000, 40000};
    static const uint16_t from_ports[] = {0x1f0, 0x170, 0x3f8, 0x60, 0x71,
                                          0xcfc, 0x511, 0x3d5, 0x402};
    uint64_t from = target(cpu), to = target(cpu), count = PICK(cpu, counts), a = chance(cpu);
    uint64_t port = PICK(cpu, from_ports);
    if (once_in(cpu, 64)) {
        count = chance(cpu);
        cpu->in_code = 1;
        __asm__ volatile("sti");
    }
    if (once_in(cpu, 4)) {
        to = from + below(cpu, 64) - 32;
    }
    if (once_in(cpu, 4)) {
        __asm__ volatile("std");
    }
    switch (below(cpu, 18)) {
    case 0: STRING("rep movsb"); break;
    case 1: STRING("rep movsw"); break;
    case 2: STRING("rep movsl"); break;
    case 3: STRING("rep movsq"); break;
    case 4: STRING("rep stosb"); break;
    case 5: STRING("rep stosw"); break;
    case 6: STRING("rep stosl"); break;
    case 7: STRING("rep stosq"); break;
    case 8: STRING("rep lodsb"); break;
    case 9: STRING("rep lodsq"); break;
    case 10: STRING("repe cmpsb"); break;
    case 11: STRING("repne cmpsl"); break;
    case 12: STRING("repne scasb"); break;
    case 13: STRING("repe scasq"); break;
    case 14: STRING("rep insb"); break;
    case 15: STRING("rep insl"); break;
    case 16: STRING("rep outsb"); break;
    default: STRING("rep outsl"); break;
    }
}

// The window's tables become something else, at any level, while others look through it.
void tables(struct cpu *cpu) {
    for (int i = 0; i < 16; i++) {
        uint64_t any = (below(cpu, 4) << 9) + below(cpu, 512);
        switch (below(cpu, 12)) {
        case 0: // a large page, or a table anywhere
            MEMORY(uint64_t, WINDOW_DIRECTORY + below(cpu, 512) * 8) =
                page(cpu, edge(cpu)) | (once_in(cpu, 2) ? 0x80 : 0);
            break;
        case 1:
            MEMORY(uint64_t, WINDOW_PDPT + (1 + below(cpu, 511)) * 8) = page(cpu, edge(cpu));
            break;
        case 2: // a directory that contains itself
            MEMORY(uint64_t, WINDOW_DIRECTORY + (4 + below(cpu, 508)) * 8) =
                PICK(cpu, ((uint64_t[]){WINDOW_DIRECTORY, WINDOW_PDPT, PML4})) |
                (chance(cpu) & 0x1ff);
            break;
        case 3: { // as it was
            uint64_t n = below(cpu, 4);
            MEMORY(uint64_t, WINDOW_DIRECTORY + n * 8) = (WINDOW_TABLES + n * 0x1000) | 7;
            break;
        }
        case 4: {
            uint64_t old = MEMORY(uint64_t, WINDOW_TABLES + any * 8);
            __asm__ volatile("lock btcq %1, %0"
                             : "+m"(MEMORY(uint64_t, WINDOW_TABLES + any * 8))
                             : "r"(old % 12));
            break;
        }
        case 5: MEMORY(uint64_t, WINDOW_TABLES + any * 8) = chance(cpu); break;
        case 6: __asm__ volatile("mov %0, %%cr3" ::"r"((uint64_t)PML4) : "memory"); break;
        case 7: // global pages off and on
            __asm__ volatile("mov %0, %%cr4; mov %1, %%cr4" ::"r"((uint64_t)(CR4 & ~0x80)),
                             "r"((uint64_t)CR4)
                             : "memory");
            break;
        case 8: // supervisor accesses need not heed what is read only
            __asm__ volatile("mov %0, %%cr0" ::"r"((uint64_t)(CR0 ^ (once_in(cpu, 2) << 16)))
                             : "memory");
            break;
        case 9:
            MEMORY(uint64_t, PML4 + (257 + below(cpu, 200)) * 8) = page(cpu, edge(cpu));
            (void)MEMORY(uint64_t, (257 + below(cpu, 200)) << 39 | 0xffff000000000000 |
                                       (chance(cpu) & 0x7ffffffff8));
            break;
        default: {
            uint64_t va = WINDOW + (any << 12) + offset(cpu);
            invalidate(va);
            (void)MEMORY(uint64_t, va);
            break;
        }
        }
    }
}
