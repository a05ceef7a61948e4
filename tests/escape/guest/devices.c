// Every device is programmed with numbers of chance, and those that access memory are sent
// everywhere.

#include "hostile.h"

#define BUS_MASTER 0xc000
#define VIRTIO_BAR(slot) (0xd0000000ull + (slot) * 0x10000)
#define FIRST_VIRTIO 2
#define LAST_VIRTIO 6
#define ECAM 0xe0000000ull

// The devices of the PCI bus, as device and function.
static const uint8_t functions[] = {
    0 << 3, 1 << 3, 1 << 3 | 1, 1 << 3 | 3, 2 << 3, 3 << 3, 4 << 3, 5 << 3, 6 << 3, 31 << 3,
};

static void configure(uint8_t function, uint8_t at, uint32_t value) {
    out32(0xcf8, 0x80000000 | function << 8 | (at & 0xfc));
    out32(0xcfc, value);
}

// Gives the devices that access memory their places.
void plug(void) {
    configure(1 << 3 | 1, 0x20, BUS_MASTER | 1);
    configure(1 << 3 | 1, 4, 7);
    configure(31 << 3, 0x10, 0xd1000008);
    configure(31 << 3, 4, 7);
    for (uint8_t slot = FIRST_VIRTIO; slot <= LAST_VIRTIO; slot++) {
        configure(slot << 3, 0x14, 0xd0800000 + slot * 0x1000);
        configure(slot << 3, 0x20, VIRTIO_BAR(slot));
        configure(slot << 3, 0x24, 0);
        configure(slot << 3, 4, 7);
    }
}

// What a write to a port would end the machine with happens now and then only.
static int ends(struct cpu *cpu, uint16_t port, uint32_t value) {
    int end = (port == 0x64 && (value & 0xf0) == 0xf0) || port == 0xcf9 ||
              (port >= 0xcf6 && port <= 0xcf9) || (port == 0x92 && (value & 1)) ||
              (port >= 0x600 && port < 0x608) || (port >= 0xf0 && port < 0xf8) || port == 0x91 ||
              port == 0x8f || port == 0x90 || (port >= 0x61 && port <= 0x63);
    return end && !once_in(cpu, 3000);
}

// Ports.
void ports(struct cpu *cpu) {
    static const uint16_t bases[] = {
        0x20,  0xa0,       0x4d0,          0x40,  0x61,  0x70,  0x80,  0x92,  0x3f8, 0x60,
        0x64,  0xb2,       0x1f0,          0x3f4, 0x170, 0x374, 0x3b0, 0x3c0, 0x3d0, 0x1ce,
        0x600, BUS_MASTER, BUS_MASTER + 8, 0xcf8, 0xcfc, 0x510, 0x514, 0x402, 0xf4,  0,
    };
    for (int i = 0; i < 40; i++) {
        uint16_t port = once_in(cpu, 8) ? chance(cpu) : PICK(cpu, bases) + below(cpu, 8);
        uint32_t value = once_in(cpu, 2) ? chance(cpu) : below(cpu, 4) << below(cpu, 8);
        uint64_t how = below(cpu, 6);
        if (how < 3 && ends(cpu, port, value)) {
            continue;
        }
        switch (how) {
        case 0: out8(port, value); break;
        case 1: out16(port, value); break;
        case 2: out32(port, value); break;
        case 3: in8(port); break;
        case 4: in16(port); break;
        default: in32(port); break;
        }
    }
}

// The configuration of PCI devices, by ports and by memory.
void configuration(struct cpu *cpu) {
    for (int i = 0; i < 24; i++) {
        uint8_t function = once_in(cpu, 8) ? chance(cpu) : PICK(cpu, functions);
        uint32_t value = once_in(cpu, 2) ? edge(cpu) : chance(cpu);
        uint8_t at = once_in(cpu, 2) ? 0x10 + below(cpu, 6) * 4 : below(cpu, 256);
        uint64_t place = ECAM + ((uint64_t)function << 12) + at;
        // The bridge could take away the firmware's memory, which hurts nobody.
        switch (below(cpu, 8)) {
        case 0: MEMORY(uint8_t, place) = value; break;
        case 1: MEMORY(uint16_t, place) = value; break;
        case 2: MEMORY(uint32_t, place & -4) = value; break;
        case 3: MEMORY(uint64_t, place + below(cpu, 0x1000)) = chance(cpu); break;
        case 4: (void)MEMORY(uint32_t, place); break;
        case 5: plug(); break;
        default: configure(function, at, value); break;
        }
    }
}

// Registers in memory: interrupt controllers, timers, the display, and the windows of PCI devices.
void registers(struct cpu *cpu) {
    static const uint64_t bases[] = {
        0xfec00000, 0xfed00000, 0xfee00000, 0xa0000,    0xb8000,
        0xd0800000, 0xd0804000, 0xd1000000, 0xd1ff0000,
    };
    for (int i = 0; i < 32; i++) {
        uint64_t at = PICK(cpu, bases), value = once_in(cpu, 2) ? edge(cpu) : chance(cpu);
        at += once_in(cpu, 4) ? below(cpu, 0x8000) : below(cpu, 0x40) * 16;
        if (once_in(cpu, 4)) {
            at = VIRTIO_BAR(FIRST_VIRTIO + below(cpu, 5)) + below(cpu, 4) * 0x1000 +
                 below(cpu, 0x60);
        }
        // The command register of the APIC resets processors now and then only.
        if (at >= 0xfee00300 && at < 0xfee00310 && (value & 0x700) >= 0x500 && !once_in(cpu, 64)) {
            continue;
        }
        switch (below(cpu, 7)) {
        case 0: MEMORY(uint8_t, at) = value; break;
        case 1: MEMORY(uint16_t, at) = value; break;
        case 2: MEMORY(uint64_t, at) = value; break;
        case 3: (void)MEMORY(uint32_t, at); break;
        case 4: (void)MEMORY(uint64_t, at); break;
        default: MEMORY(uint32_t, at & -4) = value; break;
        }
    }
    // Storms of interrupts blow for a while.
    if (once_in(cpu, 2)) {
        MEMORY(uint32_t, 0xfed00010) = 0;
        for (uint32_t pin = 0; pin < 24; pin++) {
            MEMORY(uint32_t, 0xfec00000) = 0x10 + pin * 2;
            MEMORY(uint32_t, 0xfec00010) = 0x10000;
        }
    }
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
}

// Where a device is sent: memory that is there, for the most part.
static uint64_t place(struct cpu *cpu) {
    switch (below(cpu, 4)) {
    case 0: return edge(cpu) + below(cpu, 0x1000);
    case 1: return edge(cpu) + 0x1000 - below(cpu, 0x40);
    default: return DMA + (below(cpu, 0x80000) & -16);
    }
}

static uint32_t length(struct cpu *cpu) {
    static const uint32_t lengths[] = {0,    1,       16,        512,        513,
                                       4096, 0x10000, 0x1000000, 0x7fffffff, 0xffffffff};
    return PICK(cpu, lengths);
}

// A device of the virtio kind: set up as it should be or nearly so, with descriptors that lead
// everywhere (Virtual I/O Device 1.1, 2.6 and 4.1.4).
void virtio(struct cpu *cpu) {
    uint64_t slot = FIRST_VIRTIO + below(cpu, 5);
    uint64_t bar = VIRTIO_BAR(slot);
    plug();
    MEMORY(uint8_t, bar + 0x14) = 0;
    MEMORY(uint8_t, bar + 0x14) = 3;
    MEMORY(uint32_t, bar + 8) = 0;
    MEMORY(uint32_t, bar) = 0;
    MEMORY(uint32_t, bar + 0xc) = MEMORY(uint32_t, bar + 4) & chance(cpu);
    MEMORY(uint32_t, bar + 8) = 1;
    MEMORY(uint32_t, bar + 0xc) = 1;
    MEMORY(uint8_t, bar + 0x14) = 0xb;
    // Each vCPU has its own place for rings; each queue has 16 KiB of it.
    uint64_t rings = DMA + 0x80000 + cpu->number * 0x10000, size = 1 << below(cpu, 9);
    for (uint64_t queue = 0; queue < 3; queue++) {
        uint64_t ring = rings + queue * 0x4000;
        MEMORY(uint16_t, bar + 0x16) = queue;
        MEMORY(uint16_t, bar + 0x18) = once_in(cpu, 8) ? chance(cpu) : size;
        MEMORY(uint64_t, bar + 0x20) = once_in(cpu, 12) ? place(cpu) & -16 : ring;
        MEMORY(uint64_t, bar + 0x28) = once_in(cpu, 12) ? place(cpu) & -2 : ring + 0x1000;
        MEMORY(uint64_t, bar + 0x30) = once_in(cpu, 12) ? place(cpu) & -4 : ring + 0x2000;
        MEMORY(uint16_t, bar + 0x1a) = below(cpu, 4);
        MEMORY(uint16_t, bar + 0x1c) = 1;
        for (uint64_t n = 0; n < 256; n++) {
            uint64_t at = ring + n * 16;
            MEMORY(uint64_t, at) = place(cpu);
            MEMORY(uint32_t, at + 8) = length(cpu);
            MEMORY(uint16_t, at + 12) =
                once_in(cpu, 16) ? chance(cpu) : below(cpu, once_in(cpu, 8) ? 8 : 4);
            MEMORY(uint16_t, at + 14) = once_in(cpu, 16) ? chance(cpu) : (n + 1) % size;
            MEMORY(uint16_t, ring + 0x1004 + n * 2) =
                once_in(cpu, 16) ? chance(cpu) : below(cpu, size);
        }
        // A disk's request, now and then: type and sector, data, status.
        for (uint64_t n = 0; n + 3 < size; n += 3) {
            uint64_t at = ring + n * 16, header = rings + 0xc000 + (n & 0xff) * 16;
            static const uint32_t kinds[] = {0, 0, 1, 1, 4, 8, 11, 13, 0x7fffffff};
            MEMORY(uint32_t, header) = PICK(cpu, kinds);
            MEMORY(uint64_t, header + 8) = once_in(cpu, 8) ? chance(cpu) : below(cpu, 0x900);
            if (once_in(cpu, 2)) {
                MEMORY(uint64_t, at) = header;
                MEMORY(uint32_t, at + 8) = 16;
                MEMORY(uint32_t, at + 12) = 1 | (n + 1) << 16;
                MEMORY(uint32_t, at + 24) = once_in(cpu, 2) ? 512u << below(cpu, 9) : length(cpu);
                MEMORY(uint32_t, at + 28) = 1 | below(cpu, 2) << 1 | (n + 2) << 16;
                MEMORY(uint64_t, at + 32) = place(cpu);
                MEMORY(uint32_t, at + 40) = 1 + below(cpu, 2);
                MEMORY(uint32_t, at + 44) = 2;
            }
        }
        MEMORY(uint16_t, ring + 0x1000) = below(cpu, 2);
        MEMORY(uint16_t, ring + 0x1002) = once_in(cpu, 8) ? chance(cpu) : below(cpu, size + 1);
    }
    MEMORY(uint8_t, bar + 0x14) = 0xf;
    for (uint64_t queue = 0; queue < 3; queue++) {
        MEMORY(uint16_t, bar + 0x3000 + queue * 4) = queue;
    }
    // The rings change while the device looks at them.
    for (uint64_t i = below(cpu, 2000); i > 0; i--) {
        uint64_t at = rings + below(cpu, 3) * 0x4000 + below(cpu, 256) * 16;
        MEMORY(uint64_t, at) = place(cpu);
        MEMORY(uint32_t, at + 8) = length(cpu);
        if (once_in(cpu, 64)) {
            MEMORY(uint16_t, rings + below(cpu, 3) * 0x4000 + 0x1002) += below(cpu, 8);
            MEMORY(uint16_t, bar + 0x3000 + below(cpu, 4) * 4) = 0;
        }
    }
    if (once_in(cpu, 2)) {
        MEMORY(uint8_t, bar + 0x14) = 0;
    }
}

// A drive of the IDE controller, with a table of regions anywhere (ATA/ATAPI-6, and Programming
// Interface for Bus Master IDE Controller).
void ide(struct cpu *cpu) {
    static const uint8_t commands[] = {0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39,
                                       0x40, 0xa0, 0xa1, 0xc4, 0xc5, 0xc6, 0xc8, 0xca,
                                       0xe7, 0xea, 0xec, 0xef, 0x08, 0x90, 0xf5, 0x06};
    static const uint8_t packets[] = {0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x2b,
                                      0x43, 0x46, 0x4a, 0x5a, 0xa8, 0xbe, 0xbd, 0x51};
    uint64_t channel = below(cpu, 2);
    uint16_t base = channel ? 0x170 : 0x1f0, control = channel ? 0x376 : 0x3f6;
    uint16_t master = BUS_MASTER + channel * 8;
    uint64_t table = DMA + 0xc0000 + cpu->number * 0x10000 + (once_in(cpu, 4) ? 0xfff0 : 0);
    plug();
    for (uint64_t n = 0; n < 64; n++) {
        MEMORY(uint32_t, table + n * 8) = place(cpu);
        MEMORY(uint32_t, table + n * 8 + 4) = length(cpu) & 0xffff;
    }
    MEMORY(uint32_t, table + below(cpu, 64) * 8 + 4) |= 0x80000000;
    out8(master, 0);
    out8(master + 2, 6);
    out32(master + 4, once_in(cpu, 8) ? place(cpu) : table);
    out8(control, once_in(cpu, 16) ? 4 : 2);
    out8(control, 2);
    out8(base + 6, 0xe0 | below(cpu, 2) << 4 | below(cpu, 16));
    for (uint16_t reg = 1; reg < 6; reg++) {
        out8(base + reg, once_in(cpu, 4) ? chance(cpu) : below(cpu, 3));
    }
    uint8_t command = once_in(cpu, 8) ? chance(cpu) : PICK(cpu, commands);
    out8(base + 7, command);
    for (int wait = 0; wait < 50 && (in8(control) & 0x80); wait++) {
    }
    if (command == 0xa0) {
        out16(base, PICK(cpu, packets) | (chance(cpu) & 0xff00));
        for (int i = 0; i < 5; i++) {
            out16(base, once_in(cpu, 2) ? chance(cpu) : below(cpu, 3) << 8);
        }
    }
    out8(master, 1 | below(cpu, 2) << 3);
    for (uint64_t i = below(cpu, 600); i > 0; i--) {
        switch (below(cpu, 4)) {
        case 0: in16(base); break;
        case 1: out32(base, i); break;
        case 2: in8(base + 7); break;
        default: MEMORY(uint32_t, table + below(cpu, 64) * 8) = place(cpu); break;
        }
    }
    if (once_in(cpu, 2)) {
        out8(master, 0);
    }
}

// The firmware configuration device, where there is one: it copies items anywhere.
void firmware(struct cpu *cpu) {
    for (int i = 0; i < 8; i++) {
        uint64_t request = once_in(cpu, 4) ? place(cpu) : DMA + 0x7f000 + cpu->number * 0x40;
        if (request < SCRATCH && request >= DMA) {
            uint32_t item = once_in(cpu, 2) ? below(cpu, 0x30) : chance(cpu);
            MEMORY(uint32_t, request) = __builtin_bswap32(item << 16 | below(cpu, 32));
            MEMORY(uint32_t, request + 4) = __builtin_bswap32(length(cpu));
            MEMORY(uint64_t, request + 8) = __builtin_bswap64(place(cpu));
        }
        out32(0x514, __builtin_bswap32(request >> 32));
        out32(0x518, __builtin_bswap32(request));
        out16(0x510, chance(cpu));
        in32(0x511);
    }
}
