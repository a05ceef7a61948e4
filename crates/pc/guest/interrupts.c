// Exceptions, interrupt controllers (8259) and timer (8254).

#include "guest.h"

#define CODE64 0x28
#define VECTORS 48
// The vector of interrupt 0; those below are the processor's own.
#define FIRST_IRQ 32
#define TIMER_HZ 1193182

#define PIC1 0x20
#define PIC2 0xa0
#define END_OF_INTERRUPT 0x20

volatile uint64_t ticks, resume;

// An interrupt gate (SDM 3A, 6.14.1).
static struct {
    uint16_t offset_low, selector;
    uint16_t kind;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
} idt[VECTORS];

extern char vectors64[];

static const char *name(uint64_t vector) {
    switch (vector) {
    case 0:
        return "#DE, divide error";
    case 3:
        return "#BP, breakpoint";
    case 6:
        return "#UD, invalid opcode";
    case 13:
        return "#GP, general protection";
    case 14:
        return "#PF, page fault";
    default:
        return "exception";
    }
}

static void exception(struct frame *f) {
    uint64_t cr2;
    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    print("%s (vector %lu) at %lx, error code %lx\n", name(f->vector), f->vector, f->rip, f->error);
    print("  rax=%016lx rbx=%016lx rcx=%016lx\n", f->rax, f->rbx, f->rcx);
    print("  rdx=%016lx rsi=%016lx rdi=%016lx\n", f->rdx, f->rsi, f->rdi);
    print("  rbp=%016lx rsp=%016lx rflags=%08lx", f->rbp, f->rsp, f->rflags);
    if (f->vector == 14) {
        print(" cr2=%lx", cr2);
    }
    print("\n");
    if (!resume) {
        print("This was not expected: the machine stops.\n");
        out8(0xf4, 0x7f);
        for (;;) {
            asm volatile("cli; hlt");
        }
    }
    f->rip = resume;
    resume = 0;
}

// Called by vectors.S with interrupts off.
void interrupt(struct frame *f) {
    if (f->vector < FIRST_IRQ) {
        exception(f);
        return;
    }
    uint64_t irq = f->vector - FIRST_IRQ;
    if (irq == 0) {
        ticks++;
    } else if (irq == 4) {
        console_interrupt();
    }
    if (irq >= 8) {
        out8(PIC2, END_OF_INTERRUPT);
    }
    out8(PIC1, END_OF_INTERRUPT);
}

void interrupts_start(void) {
    for (int n = 0; n < VECTORS; n++) {
        uint64_t at = (uint64_t)vectors64 + 16 * n;
        idt[n].offset_low = at;
        idt[n].selector = CODE64;
        idt[n].kind = 0x8e00; // present, interrupt gate
        idt[n].offset_middle = at >> 16;
        idt[n].offset_high = at >> 32;
    }
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = {sizeof idt - 1, (uint64_t)idt};
    asm volatile("lidt %0" : : "m"(pointer));

    // ICW1 to ICW4: cascaded, vectors from 32 and 40, the second on input 2, 8086 mode.
    out8(PIC1, 0x11);
    out8(PIC2, 0x11);
    out8(PIC1 + 1, FIRST_IRQ);
    out8(PIC2 + 1, FIRST_IRQ + 8);
    out8(PIC1 + 1, 1 << 2);
    out8(PIC2 + 1, 2);
    out8(PIC1 + 1, 1);
    out8(PIC2 + 1, 1);
    // All are masked but the timer and the serial port.
    out8(PIC1 + 1, (uint8_t) ~(1 << 0 | 1 << 4));
    out8(PIC2 + 1, 0xff);

    // Counter 0, both bytes, mode 2: one pulse each time the divisor is counted down.
    uint16_t divisor = (TIMER_HZ + TICKS_PER_SECOND / 2) / TICKS_PER_SECOND;
    out8(0x43, 0x34);
    out8(0x40, divisor & 0xff);
    out8(0x40, divisor >> 8);
    asm volatile("sti");
}
