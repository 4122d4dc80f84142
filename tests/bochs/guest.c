/* What a driver needs of a machine without an operating system: its inputs lie behind the guest's symbol
 * `guest_inputs`, its outputs go to the disk, behind the guest.
 *
 * The first sector of the outputs is written last: "done", the driver's status, the number of bytes. */
#include <stddef.h>
#include <stdint.h>

#define SECTOR 512

extern const unsigned char guest_inputs[], guest_inputs_end[];

void *memset(void *to, int value, size_t n) {
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
    return start;
}
void *memcpy(void *to, const void *from, size_t n) {
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return start;
}

static unsigned char in_byte(uint16_t port) {
    unsigned char value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static void out_byte(uint16_t port, unsigned char value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static void write_sector(uint32_t number, const void *bytes) {
    while (in_byte(0x1f7) & 0x80) {}
    out_byte(0x1f2, 1);
    for (int i = 0; i < 4; i++) out_byte((uint16_t)(0x1f3 + i), (unsigned char)(number >> 8 * i) | (i == 3 ? 0xe0 : 0));
    out_byte(0x1f7, 0x30);
    while ((in_byte(0x1f7) & 0x88) != 8) {}
    size_t words = SECTOR / 2;
    __asm__ volatile("rep outsw" : "+S"(bytes), "+c"(words) : "d"((uint16_t)0x1f0) : "memory");
}

static const unsigned char *next_input = guest_inputs;
static unsigned char sector[SECTOR];
static uint32_t outputs_at, filled, written;

static int take(void *to, size_t n) {
    if ((size_t)(guest_inputs_end - next_input) < n) return 0;
    memcpy(to, next_input, n);
    next_input += n;
    return 1;
}
static int at_end(void) { return next_input == guest_inputs_end; }
static int give(const void *from, size_t n) {
    const unsigned char *bytes = from;
    for (size_t i = 0; i < n; i++) {
        sector[filled++] = bytes[i];
        written++;
        if (filled == SECTOR) {
            write_sector(outputs_at + 1 + (written - 1) / SECTOR, sector);
            filled = 0;
        }
    }
    return 1;
}

/* Memory between guard bytes; it ends where a cache line does, as that of hosted drivers ends where a page does. */
#define GUARD 64
extern unsigned char guest_bss[], guest_bss_end[];
static unsigned char *next_room;
static struct { unsigned char *from, *to, *behind; } guards[1000];
static int rooms;
static void *room(size_t n) {
    unsigned char *from = next_room, *behind = from + (n + 2 * GUARD - 1) / GUARD * GUARD;
    if (rooms == 1000 || behind + GUARD > (unsigned char *)0x10000000) return 0;
    guards[rooms].from = from;
    guards[rooms].to = behind - n;
    guards[rooms].behind = behind;
    memset(from, 0xa5, (size_t)(behind - n - from));
    memset(behind, 0xa5, GUARD);
    next_room = behind + GUARD;
    return guards[rooms++].to;
}
static int intact(void) {
    for (int i = 0; i < rooms; i++) {
        for (unsigned char *p = guards[i].from; p < guards[i].to; p++) if (*p != 0xa5) return 0;
        for (int k = 0; k < GUARD; k++) if (guards[i].behind[k] != 0xa5) return 0;
    }
    return 1;
}

static int drive(void);

__attribute__((section(".text.start"))) void guest(uint32_t sectors) {
    memset(guest_bss, 0, (size_t)(guest_bss_end - guest_bss));
    next_room = (unsigned char *)(((uintptr_t)guest_bss_end + GUARD - 1) / GUARD * GUARD);
    outputs_at = 1 + sectors;
    uint32_t status = (uint32_t)drive();
    if (filled) write_sector(outputs_at + 1 + written / SECTOR, sector);
    uint32_t head[SECTOR / 4] = {0x656e6f64, status, written};
    write_sector(outputs_at, head);
}
