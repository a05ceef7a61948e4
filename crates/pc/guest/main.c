// What the guest does in long mode: the devices are set up, and commands obeyed.

#include "guest.h"

extern uint32_t multiboot_magic, multiboot_information;

// The command line that the loader hands over, or an empty one.
static const char *command_line(void) {
    const uint32_t *information = (const uint32_t *)(uint64_t)multiboot_information;
    if (multiboot_magic != 0x2badb002 || !(information[0] & 1 << 2)) {
        return "";
    }
    return (const char *)(uint64_t)information[4];
}

static void read_line(char *line, size_t room) {
    size_t len = 0;
    for (;;) {
        char c = console_read();
        if (c == '\r' || c == '\n') {
            line[len] = 0;
            print("\n");
            return;
        }
        if ((c == '\b' || c == 0x7f) && len > 0) {
            len--;
            print("\b \b");
        } else if (c >= ' ' && c <= '~' && len + 1 < room) {
            line[len++] = c;
            print("%c", c);
        }
    }
}

void main(void) {
    console_start();
    print("  long mode: 64-bit code, the first GiB mapped by pages of 2 MiB\n");
    interrupts_start();
    console_listen();
    print("  interrupts: 8259s, an 8254 at %lu Hz, a 16550\n", (uint64_t)TICKS_PER_SECOND);
    print("  command line: %s\n", command_line());
    print("Type `help`, or `poweroff` to leave.\n");
    for (;;) {
        char line[77];
        print("> ");
        read_line(line, sizeof line);
        command(line);
    }
}
