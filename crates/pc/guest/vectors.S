# Where interrupts and exceptions arrive: 48 entries, each of which says which it is.

    .text
    .code64
    .globl vectors64
    .balign 16
vectors64:
    .set vector, 0
    .rept 48
    .balign 16
    # Some exceptions push an error code (SDM 3A, table 6-1); the others get a zero.
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
    push $0
    .endif
    push $vector
    jmp common
    .set vector, vector + 1
    .endr

# Saves what `interrupt` may change, as its `struct frame` has it.
common:
    push %rax
    push %rbx
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %rbp
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    cld
    mov %rsp, %rdi
    mov %rsp, %rbx
    sub $512, %rsp
    and $~15, %rsp
    fxsave64 (%rsp)
    call interrupt
    fxrstor64 (%rsp)
    mov %rbx, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rbp
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rbx
    pop %rax
    add $16, %rsp
    iretq
