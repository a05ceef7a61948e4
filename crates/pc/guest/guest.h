// What the parts of the guest know of each other.

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

// The processor.

static inline void out8(uint16_t port, uint8_t value) {
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value) {
    asm volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port) {
    uint8_t value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t rdtsc(void) {
    uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

// console.c: the serial port and the screen.

void console_start(void);
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Begins to listen to the serial port, once interrupts are controlled: an edge before that is lost.
void console_listen(void);
// A character that was typed; sleeps until there is one.
char console_read(void);
// The serial port has interrupted.
void console_interrupt(void);

// interrupts.c: exceptions, interrupts, timer.

// Registers, as vectors.S pushes them.
struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

#define TICKS_PER_SECOND 100
// Timer interrupts since the start.
extern volatile uint64_t ticks;
// Where to go on after an exception that is expected; 0 if none is.
extern volatile uint64_t resume;

void interrupts_start(void);

// commands.c: what can be typed.

void command(const char *line);
