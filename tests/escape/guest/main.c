// What each vCPU does: one attack after the other, until the machine ends. Exceptions abandon an
// attack, and vCPUs that stand still are brought back by the others.

#include "hostile.h"

extern char vectors[], gdt[];
void begin(struct cpu *cpu, uint64_t number) __attribute__((noreturn));
void recover(struct cpu *cpu) __attribute__((noreturn));
void caught(struct cpu *cpu, uint64_t vector) __attribute__((noreturn));
void interrupted(struct cpu *cpu, uint64_t vector, uint64_t cs);
void work(struct cpu *cpu) __attribute__((noreturn));

// What the timestamp counter counts in a millisecond; it need not be right.
#define MILLISECOND 1000000ull

#define APIC_BASE 0x1b
#define X2APIC 0x800

enum {
    APIC_ID = 2,
    EOI = 0xb,
    SPURIOUS = 0xf,
    ICR = 0x30,
    TIMER = 0x32,
    COUNT = 0x38,
    DIVIDE = 0x3e
};

// Writes a register of the vCPU's own APIC, wherever it is.
void apic_write(uint32_t reg, uint32_t value) {
    uint64_t base = rdmsr(APIC_BASE);
    if (base & 1 << 10) {
        wrmsr(X2APIC + reg, value);
    } else {
        MEMORY(uint32_t, (base & 0xfffff000) + reg * 16) = value;
    }
}

// Sends an interprocessor interrupt (SDM 3A 11.6.1).
static void send(uint64_t to, uint32_t what) {
    uint64_t base = rdmsr(APIC_BASE);
    if (base & 1 << 10) {
        wrmsr(X2APIC + ICR, to << 32 | what);
    } else {
        uint64_t registers = base & 0xfffff000;
        MEMORY(uint32_t, registers + 0x310) = to << 24;
        MEMORY(uint32_t, registers + 0x300) = what;
    }
}

// The timer interrupts every few milliseconds.
static void start_timer(struct cpu *cpu) {
    wrmsr(APIC_BASE, 0xfee00000 | 1 << 11 | (cpu->number == 0) << 8);
    apic_write(SPURIOUS, 0x1ff);
    apic_write(DIVIDE, 0xb);
    apic_write(TIMER, 0x20040);
    apic_write(COUNT, 2000000);
}

static void set_vectors(void) {
    for (uint64_t n = 0; n < 256; n++) {
        uint64_t at = (uint64_t)vectors + n * 16;
        // An interrupt gate with the first stack of the TSS.
        MEMORY(uint64_t, IDT + n * 16) =
            (at & 0xffff) | CODE64 << 16 | 0x8e01ull << 32 | (at & 0xffff0000) << 32;
        MEMORY(uint64_t, IDT + n * 16 + 8) = at >> 32;
    }
}

// The vCPU's TSS, which only has its stacks.
static void set_tss(struct cpu *cpu) {
    uint64_t top = (uint64_t)cpu + CPU_SIZE, tss = (uint64_t)cpu + 0x1000;
    for (uint64_t at = tss; at < tss + 0x68; at += 4) {
        MEMORY(uint32_t, at) = 0;
    }
    MEMORY(uint32_t, tss + 4) = top;     // RSP0
    MEMORY(uint32_t, tss + 0x24) = top;  // IST1
    MEMORY(uint16_t, tss + 0x66) = 0x68; // no ports for user code
    uint64_t entry = (uint64_t)gdt + TSS + cpu->number * 16;
    MEMORY(uint64_t, entry) = 0x67 | (tss & 0xffffff) << 16 | 0x89ull << 40 | (tss >> 24) << 56;
    MEMORY(uint64_t, entry + 8) = 0;
    uint16_t selector = TSS + cpu->number * 16;
    __asm__ volatile("ltr %0" ::"r"(selector));
}

// A vCPU starts, not always for the first time.
void begin(struct cpu *cpu, uint64_t number) {
    cpu->number = number;
    cpu->random ^= (config.seed + number * 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9 | 1;
    cpu->random += cpu->random == 0;
    if (number == 0) {
        set_vectors();
        MEMORY(uint64_t, PML4 + 8) = USER_PDPT | 7;
        MEMORY(uint64_t, USER_PDPT) = USER_DIRECTORY | 7;
        MEMORY(uint64_t, USER_DIRECTORY) = CODE | 0x87;
        MEMORY(uint64_t, PML4 + 256 * 8) = WINDOW_PDPT | 7;
        MEMORY(uint64_t, WINDOW_PDPT) = WINDOW_DIRECTORY | 7;
        for (uint64_t n = 0; n < 4; n++) {
            MEMORY(uint64_t, WINDOW_DIRECTORY + n * 8) = (WINDOW_TABLES + n * 0x1000) | 7;
        }
        plug();
        out8(0x21, 0xff);
        out8(0xa1, 0xff);
    }
    set_tss(cpu);
    start_timer(cpu);
    if (number == 0) {
        for (uint64_t other = 1; other < config.cpus; other++) {
            send(other, 0x4500);                    // INIT
            send(other, 0x4600 | TRAMPOLINE >> 12); // start-up
        }
    }
    recover(cpu);
}

// Others that have stood still for a while are hit: first by an NMI, then by INIT.
static void look_after(struct cpu *cpu) {
    uint64_t now = ticks();
    for (uint64_t n = 0; n < config.cpus; n++) {
        struct cpu *other = cpu_at(n);
        if (other == cpu) {
            continue;
        }
        uint64_t stood = now - cpu->seen[n].since;
        if (cpu->seen[n].progress != other->progress) {
            cpu->seen[n].progress = other->progress;
            cpu->seen[n].since = now;
        } else if (stood > 400 * MILLISECOND && n != 0) {
            cpu->seen[n].since = now;
            cpu->hit++;
            send(n, 0x4500);
            send(n, 0x4600 | TRAMPOLINE >> 12);
        } else if (stood > 100 * MILLISECOND && once_in(cpu, 16)) {
            send(n, 0x4400);
        }
    }
}

static void (*const attacks[ATTACKS])(struct cpu *) = {
    touch,  strings, tables,   ports,   configuration, registers,
    virtio, ide,     firmware, rewrite, user_code,     system_code,
};

// How often each attack is made, of 256 times.
static const uint8_t often[ATTACKS] = {72, 24, 40, 16, 8, 16, 8, 8, 4, 36, 22, 2};

void work(struct cpu *cpu) {
    cpu = (struct cpu *)((uint64_t)__builtin_frame_address(0) & -CPU_SIZE);
    for (;;) {
        __asm__ volatile("cli");
        cpu->in_code = 0;
        cpu->progress++;
        if (cpu->progress % 64 == 0) {
            look_after(cpu);
        }
        uint64_t which = 0, left = below(cpu, 256);
        while (left >= often[which]) {
            left -= often[which++];
        }
        cpu->count[which]++;
        if (once_in(cpu, 3)) {
            __asm__ volatile("sti");
        }
        attacks[which](cpu);
    }
}

// An exception or NMI ends the attack.
void caught(struct cpu *cpu, uint64_t vector) {
    if (vector == 2) {
        cpu->hit++;
        start_timer(cpu);
    } else {
        cpu->caught++;
    }
    wrmsr(0xc0000080, 0xd01);
    recover(cpu);
}

// An interrupt ends what might never end by itself.
void interrupted(struct cpu *cpu, uint64_t vector, uint64_t cs) {
    (void)vector;
    cpu->interrupted++;
    apic_write(EOI, 0);
    if (cpu->in_code || (cs & 3)) {
        recover(cpu);
    }
}
