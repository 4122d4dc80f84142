/* A plugin of QEMU 7.2 and later: how often each instruction ran, as lines "address count" in the file that its argument
 * names. Its functions are the emulator's; Debian has no header of them, so those that are used are declared here. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translated)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*ended)(qemu_plugin_id_t id, void *data);
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translated call);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, ended call, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, enum qemu_plugin_op op, void *at, uint64_t by);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* Counters stay where they are: code that runs adds to them. */
typedef struct counter { uint64_t address, count; struct counter *next; } counter;
static counter *buckets[1 << 16];
static char path[4096];

static uint64_t *of(uint64_t address) {
    counter **at = &buckets[address / 2 % (1 << 16)], *c;
    for (c = *at; c; c = c->next) if (c->address == address) return &c->count;
    c = calloc(1, sizeof *c);
    if (!c) abort();
    c->address = address;
    c->next = *at;
    *at = c;
    return &c->count;
}
static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t *count = of(qemu_plugin_insn_vaddr(insn));
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, count, 1);
    }
}
static void end(qemu_plugin_id_t id, void *data) {
    FILE *out = fopen(path, "w");
    (void)id, (void)data;
    if (!out) return;
    for (int i = 0; i < 1 << 16; i++)
        for (counter *c = buckets[i]; c; c = c->next)
            fprintf(out, "%llx %llu\n", (unsigned long long)c->address, (unsigned long long)c->count);
    fclose(out);
}
__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || sscanf(argv[0], "to=%4095s", path) != 1) return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, end, NULL);
    return 0;
}
