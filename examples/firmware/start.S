/* Start of a program without an operating system, on one AArch64 core: vectors on, memory mapped, stack painted. */

.section .text.start, "ax"
.global _start
_start:
    /* Only the first core goes on. */
    mrs     x0, mpidr_el1
    and     x0, x0, #0xff
    cbnz    x0, halt

    /* The compiled model uses vector registers: they must not trap. */
    mov     x0, #(3 << 20)
    msr     cpacr_el1, x0
    isb

    /* With the MMU off all memory is device memory, of which elements must be aligned to the size of an access. The
     * model reads vectors at the alignment of their elements, so RAM is mapped as normal memory, where it lies. */
    adr     x0, table
    msr     ttbr0_el1, x0
    ldr     x0, =0xff04             /* attributes 0: device, 1: normal and cached */
    msr     mair_el1, x0
    ldr     x0, =0x00803519         /* addresses of 39 bits, pages of 4 KiB, table walks through caches, no TTBR1 */
    msr     tcr_el1, x0
    dsb     sy
    isb
    mrs     x0, sctlr_el1
    ldr     x1, =0x1005             /* MMU, data cache, instruction cache */
    orr     x0, x0, x1
    msr     sctlr_el1, x0
    isb

    /* Memory that begins as zeros. */
    ldr     x0, =bss_begin
    ldr     x1, =bss_end
1:  cmp     x0, x1
    b.hs    2f
    str     xzr, [x0], #8
    b       1b

    /* The stack, painted from end to end: main tells how much of it was used. */
2:  ldr     x0, =stack_begin
    ldr     x1, =stack_end
    ldr     x2, =0xa5a5a5a5a5a5a5a5
3:  str     x2, [x0], #8
    cmp     x0, x1
    b.lo    3b
    mov     sp, x1
    bl      main
    bl      finish
halt:
    wfi
    b       halt

/* Semihosting: w0 is the operation, x1 its argument; a debugger or an emulator answers. */
.global semihosting
semihosting:
    hlt     #0xf000
    ret

/* A gigabyte an entry: devices below 0x40000000, RAM behind. Bits: valid block, attribute, inner shareable, accessed. */
.section .rodata.table, "a"
.balign 4096
table:
    .quad   0x00000000 | 0x401
    .quad   0x40000000 | 0x705
    .fill   510, 8, 0
