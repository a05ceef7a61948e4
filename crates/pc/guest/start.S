# From where a multiboot loader leaves the processor, through real mode, to long mode and `main`.
# (Multiboot Specification 0.6.96, 3.2; SDM 3A, 10.9 "Mode switching" and 10.8.5 "IA-32e mode".)

#define CODE32 0x08
#define DATA32 0x10
#define CODE16 0x18
#define DATA16 0x20
#define CODE64 0x28

#define COM1 0x3f8
#define SCREEN 0xb8000
#define ROW 160

# Where real-mode code runs: below 64 KiB. It lies elsewhere in the file.
#define REAL 0x7000
#define LOW(label) (REAL + (label) - real)

    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002            # magic
    .long 3                     # modules at pages, memory information
    .long -(0x1badb002 + 3)     # the sum is 0

    .text
    .code32
    .globl start
start:
    cli
    cld
    mov $stack_end, %esp
    mov %eax, multiboot_magic
    mov %ebx, multiboot_information
    lgdt gdt_pointer
    ljmp $CODE32, $1f
1:  mov $DATA32, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss

    # The serial port: 115200 baud, 8 bits, no parity, no interrupts yet. Its FIFOs are left as
    # they are, since changing them would lose what has been typed.
    mov $setup, %esi
    mov $(setup_end - setup) / 4, %ecx
2:  movw (%esi), %dx
    movb 2(%esi), %al
    out %al, %dx
    add $4, %esi
    loop 2b

    mov $SCREEN, %edi
    mov $(ROW / 4) * 25, %ecx
    mov $0x07200720, %eax       # spaces, light grey on black
    rep stosl
    mov $SCREEN, %edi
    mov $title, %esi
    call print
    mov $SCREEN + ROW, %edi
    mov $protected, %esi
    call print

    mov $real, %esi
    mov $REAL, %edi
    mov $real_end - real, %ecx
    rep movsb
    ljmp $CODE16, $REAL

# The text at ESI to the screen at EDI and to the serial port.
print:
    lodsb
    test %al, %al
    jz 3f
    mov %al, %bl
    cmp $' ', %al
    jb 1f
    mov $0x07, %ah
    stosw
1:  mov $COM1 + 5, %dx          # wait for an empty transmitter
2:  in %dx, %al
    test $0x20, %al
    jz 2b
    mov $COM1, %dx
    mov %bl, %al
    out %al, %dx
    jmp print
3:  ret

# Back from real mode; on to long mode.
protected_again:
    mov $DATA32, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $stack_end, %esp
    mov $0x80000001, %eax       # CPUID: is there a long mode?
    cpuid
    bt $29, %edx
    jc 1f
    mov $SCREEN + 3 * ROW, %edi
    mov $no_long_mode, %esi
    call print
    hlt

    # 1 GiB, one to one, in pages of 2 MiB: present, writable, large.
1:  movl $pdpt + 3, pml4
    movl $directory + 3, pdpt
    mov $directory, %edi
    mov $0x83, %eax
    mov $512, %ecx
2:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    loop 2b

    mov $pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x620, %eax             # PAE, and SSE: OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0xc0000080, %ecx       # EFER.LME
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    and $~0x4, %eax             # no EM
    or $0x80010002, %eax        # PG, WP, MP
    mov %eax, %cr0
    ljmp $CODE64, $1f
    .code64
1:  mov $0, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $stack_end, %rsp
    call main
1:  hlt
    jmp 1b

    .section .rodata
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    # CODE32
    .quad 0x00cf93000000ffff    # DATA32
    .quad 0x00009b000000ffff    # CODE16
    .quad 0x000093000000ffff    # DATA16
    .quad 0x00af9b000000ffff    # CODE64
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

setup:                          # port, value
    .word COM1 + 1, 0           # no interrupts
    .word COM1 + 3, 0x80        # the divisor:
    .word COM1 + 0, 1           # 115200 baud
    .word COM1 + 1, 0
    .word COM1 + 3, 3           # 8 bits
    .word COM1 + 4, 0x0b        # DTR, RTS, and OUT2, which lets interrupts through
setup_end:

title:
    .asciz "\r\nMynah's bare-metal guest: an example of code without an operating system\r\n"
protected:
    .asciz "  protected mode: 32-bit code, flat segments, started by a multiboot loader\r\n"
no_long_mode:
    .asciz "  this processor has no long mode\r\n"

    .section .rodata
    .code16
real:
    mov $DATA16, %ax            # segments with the limits of real mode
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov %cr0, %eax
    and $~1, %al                # no PE
    mov %eax, %cr0
    ljmp $0, $LOW(1f)
1:  xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $REAL, %sp
    lidt LOW(vectors)
    movw $LOW(service), 4 * 0x80     # offset and segment of INT 80h
    movw $0, 4 * 0x80 + 2
    mov $LOW(real_text), %si
    int $0x80
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $CODE32, $protected_again

# INT 80h: the text at DS:SI to the screen's third row and to the serial port.
service:
    mov $SCREEN >> 4, %ax
    mov %ax, %es
    mov $2 * ROW, %di
1:  lodsb
    test %al, %al
    jz 4f
    mov %al, %bl
    cmp $' ', %al
    jb 2f
    mov $0x07, %ah
    stosw
2:  mov $COM1 + 5, %dx
3:  in %dx, %al
    test $0x20, %al
    jz 3b
    mov $COM1, %dx
    mov %bl, %al
    out %al, %dx
    jmp 1b
4:  iret

vectors:                        # real mode's interrupt vectors: 256, from 0
    .word 0x3ff
    .long 0
real_text:
    .asciz "  real mode: 16-bit code, which prints this by its own INT 80h\r\n"
real_end:

    .bss
    .globl multiboot_magic, multiboot_information
multiboot_magic: .skip 4
multiboot_information: .skip 4
    .balign 4096
pml4: .skip 4096
pdpt: .skip 4096
directory: .skip 4096
    .skip 16384
    .balign 16
stack_end:
