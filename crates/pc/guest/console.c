// The serial port (16550) and the screen (VGA text) as one console.

#include "guest.h"

#define COM1 0x3f8
#define COLUMNS 80
#define ROWS 25

static uint64_t *const screen = (uint64_t *)0xb8000;

// What the screen shows, so that nothing is read from it: a character and its colour each.
static union {
    uint16_t cells[ROWS][COLUMNS];
    uint64_t words[ROWS * COLUMNS / 4];
} shown;
// The steps on the way to long mode have filled three rows.
static int row = 3, column;

// What was typed and not read yet.
static char typed[256];
static volatile uint8_t typed_end, typed_start;

static void serial_write(char c) {
    while (!(in8(COM1 + 5) & 0x20)) {
    }
    out8(COM1, c);
}

static void screen_write(char c) {
    if (c == '\r') {
        column = 0;
    } else if (c == '\b') {
        column -= column > 0;
    } else if (c != '\n') {
        shown.cells[row][column] = 0x0700 | (uint8_t)c;
        ((volatile uint16_t *)screen)[row * COLUMNS + column] = shown.cells[row][column];
        column++;
    }
    if (c == '\n' || column == COLUMNS) {
        column = 0;
        row++;
    }
    if (row == ROWS) {
        row--;
        for (int n = 0; n < ROWS * COLUMNS / 4; n++) {
            uint64_t below = n + COLUMNS / 4 < ROWS * COLUMNS / 4 ? shown.words[n + COLUMNS / 4]
                                                                  : 0x0720072007200720;
            shown.words[n] = below;
            ((volatile uint64_t *)screen)[n] = below;
        }
    }
    // The cursor: CRT controller registers 0Eh and 0Fh.
    uint16_t at = row * COLUMNS + column;
    out8(0x3d4, 0x0e);
    out8(0x3d5, at >> 8);
    out8(0x3d4, 0x0f);
    out8(0x3d5, at & 0xff);
}

static void write(char c) {
    if (c == '\n') {
        write('\r');
    }
    serial_write(c);
    screen_write(c);
}

static void print_number(uint64_t number, unsigned base, int width, char fill) {
    char digits[20];
    int count = 0;
    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    for (; width > count; width--) {
        write(fill);
    }
    while (count) {
        write(digits[--count]);
    }
}

// Knows %c, %s, %lu and %lx, the numbers with a width and leading zeros.
void print(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    for (; *format; format++) {
        if (*format != '%') {
            write(*format);
            continue;
        }
        char fill = *++format == '0' ? '0' : ' ';
        int width = 0;
        for (; *format >= '0' && *format <= '9'; format++) {
            width = width * 10 + *format - '0';
        }
        if (*format == 'l') {
            format++;
            print_number(va_arg(arguments, uint64_t), *format == 'x' ? 16 : 10, width, fill);
        } else if (*format == 'c') {
            write(va_arg(arguments, int));
        } else {
            for (const char *text = va_arg(arguments, const char *); *text; text++) {
                write(*text);
            }
        }
    }
    va_end(arguments);
}

void console_interrupt(void) {
    while (in8(COM1 + 5) & 1) {
        char c = in8(COM1);
        // What nobody reads in time is lost.
        if ((uint8_t)(typed_end + 1) != typed_start) {
            typed[typed_end++] = c;
        }
    }
}

char console_read(void) {
    for (;;) {
        // STI takes effect after the HLT has begun: no interrupt is missed between the two.
        asm volatile("cli" : : : "memory");
        if (typed_start != typed_end) {
            asm volatile("sti" : : : "memory");
            return typed[typed_start++];
        }
        asm volatile("sti; hlt" : : : "memory");
    }
}

void console_start(void) {
    for (int n = 0; n < ROWS * COLUMNS / 4; n++) {
        shown.words[n] = screen[n];
    }
}

void console_listen(void) {
    // Interrupt when something was received. If that has happened already, the interrupt rises now.
    out8(COM1 + 1, 1);
}
