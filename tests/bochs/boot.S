# Boot sector: from 16 bits to 64 bits with AVX-512 switched on, then the guest.
#
# After the "bochs" recipe of the project's shared folder. The guest follows the boot sector on the disk; it is read
# by the disk's ports, so it may have any size, to 2 MiB, where it is linked. It is called with the number of its
# sectors, which the test writes to `sectors`, and ends the emulator when it returns.
.code16
.global _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    in $0x92, %al               # A20
    or $2, %al
    out %al, $0x92
    mov $0x1000, %edi           # page tables at 0x1000: 128 pages of 2 MiB, each where it is
    mov %edi, %cr3
    xor %eax, %eax
    mov $3072, %ecx
    cld
    rep stosl
    movl $0x2003, 0x1000
    movl $0x3003, 0x2000
    mov $0x3000, %di
    mov $0x83, %eax
    mov $128, %cx
1:  mov %eax, (%di)
    add $0x200000, %eax
    add $8, %di
    loop 1b
    mov %cr4, %eax
    or $0x40620, %eax           # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
    mov %eax, %cr4
    mov $0xc0000080, %ecx       # long mode
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    and $0xfffffffb, %eax
    or $0x80000003, %eax
    mov %eax, %cr0
    lgdt gdtr
    ljmp $8, $long_mode

.code64
long_mode:
    mov $16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x90000, %rsp
    xor %ecx, %ecx
    mov $0xe7, %eax             # x87, SSE, AVX, masks and both halves of the 512-bit registers
    xor %edx, %edx
    xsetbv
    mov $0x200000, %edi
    mov $1, %ebx
2:  cmp sectors, %ebx
    ja 5f
3:  mov $0x1f7, %dx             # until the disk is not busy
    in %dx, %al
    test $0x80, %al
    jnz 3b
    mov $0x1f2, %dx             # one sector
    mov $1, %al
    out %al, %dx
    mov %ebx, %eax              # its number, 28 bits
    inc %dx
    out %al, %dx
    shr $8, %eax
    inc %dx
    out %al, %dx
    shr $8, %eax
    inc %dx
    out %al, %dx
    shr $8, %eax
    or $0xe0, %al
    inc %dx
    out %al, %dx
    mov $0x20, %al              # read
    inc %dx
    out %al, %dx
4:  in %dx, %al                 # until the data is there
    and $0x88, %al
    cmp $8, %al
    jne 4b
    mov $0x1f0, %dx
    mov $256, %ecx
    rep insw
    inc %ebx
    jmp 2b
5:  mov sectors, %edi
    mov $0x200000, %eax
    call *%rax
    mov $0x8900, %dx            # ends the emulator
    mov $shutdown, %esi
6:  lodsb
    out %al, %dx
    test %al, %al
    jnz 6b
7:  hlt
    jmp 7b
shutdown:
    .asciz "Shutdown"
    .balign 8
gdt:
    .quad 0, 0x00209a0000000000, 0x0000920000000000
gdtr:
    .word 23
    .long gdt
    .org 506
sectors:
    .long 0
    .word 0xaa55
