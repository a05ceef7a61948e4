// Where the guest has what it depends on, and what it starts from. Address bit 20 is 0 in all of
// these addresses, so that the guest goes on when it has switched that off.

#define CODE32 0x08
#define DATA 0x10
#define CODE64 0x18
#define USER32 0x23
#define USER_DATA 0x2b
#define USER64 0x33
#define TSS 0x40

#define IMAGE 0x200000
#define TRAMPOLINE 0x8000

// A block for each vCPU; the test reads what is at its start.
#define CPUS 0x280000
#define CPU_COUNT 4
#define CPU_SIZE 0x8000
#define STACK 0x6000

#define PML4 0x400000
#define PDPT 0x401000
#define DIRECTORY 0x402000
// The tables of the window, which are rewritten all the time: one PDPT, one directory, and four
// tables.
#define WINDOW_PDPT 0x406000
#define WINDOW_DIRECTORY 0x407000
#define WINDOW_TABLES 0x408000
// What user code sees.
#define USER_PDPT 0x40c000
#define USER_DIRECTORY 0x40d000
#define IDT 0x40e000
#define TABLES_END 0x40f000

// Code that is rewritten while others execute it.
#define CODE 0x600000
// What devices are given.
#define DMA 0x800000
// From here to the end of RAM nothing is needed.
#define SCRATCH 0xa00000

// PG, AM, WP, NE, ET, MP, PE.
#define CR0 0x80050033
// PAE, PGE, OSFXSR, OSXMMEXCPT, and OSXSAVE.
#define CR4 0x406a0
