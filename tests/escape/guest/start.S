# From reset, from a multiboot loader and from a start-up IPI to long mode, and where interrupts and
# exceptions arrive. (SDM 3A, 10.8.5 "IA-32e mode", and 6.14 "Exception and interrupt handling in
# 64-bit mode".)

#include "layout.h"

#define ROM 0xffff0000

    .section .header, "a"
header:
    .long 0x1badb002            # magic
    .long 0x10003               # addresses follow; modules at pages, memory information
    .long -(0x1badb002 + 0x10003)
    .long header, image, image_end, bss_end, start

# What the test writes there for each run, at 32 bytes from the start.
    .globl config
config:
    .quad 1                     # the seed
    .quad 17 << 20              # bytes of RAM
    .quad 1                     # vCPUs

# Where the reset vector leads, at 64 bytes from the start: the test makes a ROM of 64 KiB that
# begins with the image and ends with the vector.
    .org 64
    .code16
    cli
    cld
    in $0x92, %al               # A20
    or $2, %al
    and $0xfe, %al
    out %al, $0x92
    lgdtl %cs:rom_gdt_pointer - IMAGE
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $CODE32, $ROM - IMAGE + 1f
    .code32
1:  mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $ROM, %esi
    mov $image, %edi
    mov $0x10000 / 4, %ecx
    rep movsl
    mov $start, %eax
    jmp *%eax

    .text
# The first vCPU, in protected mode without paging.
    .globl start
start:
    cli
    cld
    lgdt gdt_pointer
    ljmp $CODE32, $1f
1:  mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss

    # All of the tables to zero, then 4 GiB one to one, in pages of 2 MiB.
    mov $PML4, %edi
    mov $(TABLES_END - PML4) / 4, %ecx
    xor %eax, %eax
    rep stosl
    mov $CPUS, %edi
    mov $bss_end, %ecx
    sub %edi, %ecx
    rep stosb
    movl $PDPT + 7, PML4
    mov $PDPT, %edi
    mov $DIRECTORY + 7, %eax
    mov $4, %ecx
2:  mov %eax, (%edi)
    add $8, %edi
    add $0x1000, %eax
    loop 2b
    mov $DIRECTORY, %edi
    mov $0x83, %eax
    mov $2048, %ecx
3:  mov %eax, (%edi)
    add $8, %edi
    add $0x200000, %eax
    loop 3b

    # What other vCPUs execute first.
    mov $trampoline, %esi
    mov $TRAMPOLINE, %edi
    mov $trampoline_end - trampoline, %ecx
    rep movsb
    jmp long_mode

# A vCPU after its start-up IPI.
    .code16
trampoline:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ds
    lgdtl TRAMPOLINE + 2f - trampoline
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $CODE32, $long_mode
    .balign 4
2:  .word gdt_pointer - gdt - 1
    .long gdt
trampoline_end:

    .code32
long_mode:
    mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    mov $PML4, %eax
    mov %eax, %cr3
    mov $CR4, %eax
    mov %eax, %cr4
    mov $0xc0000080, %ecx       # EFER: SCE, LME, NXE
    mov $0x901, %eax
    xor %edx, %edx
    wrmsr
    mov $CR0, %eax
    mov %eax, %cr0
    ljmp $CODE64, $1f
    .code64
1:  mov $1, %eax                # The vCPU's number is its APIC's.
    cpuid
    shr $24, %ebx
    and $CPU_COUNT - 1, %ebx
    imul $CPU_SIZE, %rbx, %rdi
    add $CPUS, %rdi
    lea STACK(%rdi), %rsp
    mov %ebx, %esi
    call begin
    ud2

# The tables and registers on which the guest itself depends, as they should be; the work goes on
# with the next attack of the vCPU whose block is in RDI.
    .globl recover
recover:
    lea STACK(%rdi), %rsp
    mov $PML4, %eax
    mov %rax, %cr3
    mov $CR4, %eax
    mov %rax, %cr4
    mov $CR0, %eax
    mov %rax, %cr0
    lgdt gdt_pointer
    lidt idt_pointer
    mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    xor %eax, %eax
    mov %rax, %dr7
    lldt %ax
    fninit
    ldmxcsr mxcsr
    cld
    # Only IRET lets NMIs in again.
    mov %rsp, %rax
    pushq $DATA
    push %rax
    pushq $2
    pushq $CODE64
    pushq $work
    iretq

mxcsr:
    .long 0x1f80

# At the vectors: RSP is in the block of the vCPU, which is so large and lies so that its address is
# found from that.
    .balign 16
    .globl vectors
vectors:
    .set vector, 0
    .rept 256
    .balign 16
    push $vector
    .if vector < 32
    jmp exception
    .else
    jmp interrupt
    .endif
    .set vector, vector + 1
    .endr

# Nothing of what was going on is left.
exception:
    pop %rsi
    movzbl %sil, %esi
    mov %rsp, %rdi
    and $-CPU_SIZE, %rdi
    lea STACK(%rdi), %rsp
    cld
    call caught
    ud2

# The interrupted attack goes on, unless it takes too long.
interrupt:
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    cld
    mov %rsp, %rdi
    and $-CPU_SIZE, %rdi
    movzbl 72(%rsp), %esi
    mov 88(%rsp), %rdx          # CS
    call interrupted
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    add $8, %rsp
    iretq

    .balign 8
    .globl gdt
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    # CODE32
    .quad 0x00cf93000000ffff    # DATA
    .quad 0x00af9b000000ffff    # CODE64
    .quad 0x00cffb000000ffff    # USER32
    .quad 0x00cff3000000ffff    # USER_DATA
    .quad 0x00affb000000ffff    # USER64
    .quad 0x000f9b000000ffff    # 16-bit code
    .fill 2 * CPU_COUNT, 8, 0   # a TSS for each vCPU
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt, 0
rom_gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long ROM - IMAGE + gdt
idt_pointer:
    .word 0xfff
    .long IDT, 0
