//! Helpers that read and write memory, which need not be aligned.

use super::helper::Helper;
use crate::order::Order;

/// The type of numbers of so many bytes: name, type of C, bytes.
const NUMBERS: &[(&str, &str, usize)] = &[
    ("u16", "uint16_t", 2),
    ("u32", "uint32_t", 4),
    ("u64", "uint64_t", 8),
    ("f32", "float", 4),
    ("f64", "double", 8),
];

/// The helper of a name, if it is one of these.
pub(super) fn helper(name: &str, order: Order) -> Option<Helper> {
    let fixed = match name {
        "k_f32_of" => union("k_f32_of", "float", "uint32_t"),
        "k_bits_of_f32" => union("k_bits_of_f32", "uint32_t", "float"),
        "k_f64_of" => union("k_f64_of", "double", "uint64_t"),
        "k_bits_of_f64" => union("k_bits_of_f64", "uint64_t", "double"),
        "k_get_u8" => "K_INLINE uint32_t k_get_u8(intptr_t p) { return *(const uint8_t *)p; }\n".to_owned(),
        "k_get_i8" => {
            "K_INLINE uint32_t k_get_i8(intptr_t p) { return (uint32_t)(int32_t)*(const int8_t *)p; }\n"
                .to_owned()
        }
        "k_get_i16" => {
            "K_INLINE uint32_t k_get_i16(intptr_t p) { return (uint32_t)(int32_t)(int16_t)k_get_u16(p); }\n"
                .to_owned()
        }
        "k_put_u8" => {
            "K_INLINE void k_put_u8(intptr_t p, uint32_t x) { *(uint8_t *)p = (uint8_t)x; }\n".to_owned()
        }
        // A word of the frame, of the lists in it or of a table: a pointer or a number.
        "k_word" => {
            "K_INLINE intptr_t k_word(intptr_t p) { return (intptr_t)*(const int64_t *)p; }\n".to_owned()
        }
        "k_word_u64" => {
            "K_INLINE uint64_t k_word_u64(intptr_t p) { return *(const uint64_t *)p; }\n".to_owned()
        }
        "k_put_word" => "K_INLINE void k_put_word(intptr_t p, int64_t x) { *(int64_t *)p = x; }\n".to_owned(),
        // What no pointer can count is outside of every axis.
        "k_index64" => "K_INLINE intptr_t k_index64(intptr_t p) {
    int64_t i = (int64_t)k_get_u64(p);
    return i == (intptr_t)i ? (intptr_t)i : INTPTR_MAX;
}\n"
        .to_owned(),
        "k_index32" => {
            "K_INLINE intptr_t k_index32(intptr_t p) { return (intptr_t)(int32_t)k_get_u32(p); }\n".to_owned()
        }
        _ => String::new(),
    };
    if !fixed.is_empty() {
        return Some(Helper::plain(fixed));
    }
    let number = |prefix: &str| {
        let suffix = name.strip_prefix(prefix)?;
        NUMBERS.iter().find(|(n, ..)| *n == suffix)
    };
    if let Some(number) = number("k_get_") {
        return Some(Helper::plain(get(number, order)));
    }
    if let Some(number) = number("k_put_") {
        return Some(Helper::plain(put(number, order)));
    }
    Some(match name {
        // Elements, in place too.
        "k_turn" => Helper::plain(
            "K_INLINE void k_turn(void *to, const void *from, size_t n, size_t bytes) {
    unsigned char *t = (unsigned char *)to;
    const unsigned char *f = (const unsigned char *)from;
    size_t i, j;
    for (i = 0; i < n; i++, t += bytes, f += bytes) {
        for (j = 0; j < bytes / 2; j++) {
            unsigned char a = f[j], b = f[bytes - 1 - j];
            t[j] = b;
            t[bytes - 1 - j] = a;
        }
    }
}\n",
        ),
        "k_load" => Helper::both(
            "K_INLINE k_v k_load(intptr_t p) {
    return K_V(k_get_u32(p), k_get_u32(p + 4), k_get_u32(p + 8), k_get_u32(p + 12));
}\n",
            "typedef struct { k_v v; } K_LOOSE k_loose_v;
K_INLINE k_v k_load(intptr_t p) { return ((const k_loose_v *)p)->v; }\n",
        ),
        "k_store" => Helper::both(
            "K_INLINE void k_store(intptr_t p, k_v x) {
    k_put_u32(p, K_L(x, 0));
    k_put_u32(p + 4, K_L(x, 1));
    k_put_u32(p + 8, K_L(x, 2));
    k_put_u32(p + 12, K_L(x, 3));
}\n",
            "typedef struct { k_v v; } K_LOOSE k_loose_to;
K_INLINE void k_store(intptr_t p, k_v x) { ((k_loose_to *)p)->v = x; }\n",
        ),
        "k_load_u8" => narrow("u8"),
        "k_load_i8" => narrow("i8"),
        "k_load_u16" => narrow("u16"),
        "k_load_i16" => narrow("i16"),
        _ => return None,
    })
}

fn union(name: &str, to: &str, from: &str) -> String {
    format!(
        "K_INLINE {to} {name}({from} x) {{ union {{ {from} from; {to} to; }} u; u.from = x; return u.to; }}\n"
    )
}

/// How a number of so many bytes is taken from words.
fn of_bytes(name: &str) -> (&'static str, &'static str) {
    match name {
        "f32" => ("k_f32_of", "k_bits_of_f32"),
        "f64" => ("k_f64_of", "k_bits_of_f64"),
        _ => ("", ""),
    }
}

fn get((name, ty, bytes): &(&str, &str, usize), order: Order) -> String {
    let from = format!("((const k_loose_{name} *)p)->x");
    let from = match (order, of_bytes(name).0) {
        (Order::LowFirst, _) => from,
        (Order::HighFirst, "") => format!("__builtin_bswap{}({from})", 8 * bytes),
        (Order::HighFirst, of) => {
            return format!(
                "K_INLINE {ty} k_get_{name}(intptr_t p) {{ return {of}(k_get_u{}(p)); }}\n",
                8 * bytes
            );
        }
    };
    let word = if *bytes == 8 { "uint64_t" } else { "uint32_t" };
    let sum: Vec<String> = (0..*bytes).map(|i| format!("({word})b[{i}] << {}", 8 * i)).collect();
    let (of, _) = of_bytes(name);
    let cast = if of.is_empty() { format!("({ty})") } else { of.to_owned() };
    format!(
        "#if defined(__GNUC__)
typedef struct {{ {ty} x; }} K_LOOSE k_loose_{name};
K_INLINE {ty} k_get_{name}(intptr_t p) {{ return {from}; }}
#else
K_INLINE {ty} k_get_{name}(intptr_t p) {{
    const uint8_t *b = (const uint8_t *)p;
    return {cast}({});
}}
#endif\n",
        sum.join(" | ")
    )
}

fn put((name, ty, bytes): &(&str, &str, usize), order: Order) -> String {
    let (_, bits) = of_bytes(name);
    let value = match (order, bits) {
        (Order::LowFirst, _) => "x".to_owned(),
        (Order::HighFirst, "") => format!("__builtin_bswap{}(x)", 8 * bytes),
        (Order::HighFirst, bits) => {
            return format!(
                "K_INLINE void k_put_{name}(intptr_t p, {ty} x) {{ k_put_u{}(p, {bits}(x)); }}\n",
                8 * bytes
            );
        }
    };
    let word = if *bytes == 8 { "uint64_t" } else { "uint32_t" };
    let bits = if bits.is_empty() { "x".to_owned() } else { format!("{bits}(x)") };
    let each: String = (0..*bytes).map(|i| format!("    b[{i}] = (uint8_t)(w >> {});\n", 8 * i)).collect();
    format!(
        "#if defined(__GNUC__)
typedef struct {{ {ty} x; }} K_LOOSE k_loose_to_{name};
K_INLINE void k_put_{name}(intptr_t p, {ty} x) {{ ((k_loose_to_{name} *)p)->x = {value}; }}
#else
K_INLINE void k_put_{name}(intptr_t p, {ty} x) {{
    uint8_t *b = (uint8_t *)p;
    {word} w = {bits};
{each}}}
#endif\n"
    )
}

/// Four short integers, one a lane.
fn narrow(name: &str) -> Helper {
    let bytes = if name.ends_with("16") { 2 } else { 1 };
    let get = |i: usize| format!("k_get_{name}(p + {})", i * bytes);
    let lanes = format!(
        "K_INLINE k_v k_load_{name}(intptr_t p) {{ return K_V({}, {}, {}, {}); }}\n",
        get(0),
        get(1),
        get(2),
        get(3)
    );
    let (short, word) =
        (format!("{}int{}_t", if name.starts_with('u') { "u" } else { "" }, 8 * bytes), 4 * bytes);
    let wide = if name.starts_with('u') { "uint32_t" } else { "int32_t" };
    let raw = if bytes == 1 { "uint32_t" } else { "uint64_t" };
    let from = if bytes == 1 { "k_get_u32" } else { "k_get_u64" };
    let vector = format!(
        "#if defined(__clang__) || __GNUC__ >= 9
typedef {short} k_four_{name} __attribute__((vector_size({word})));
typedef {wide} k_wide_{name} __attribute__((vector_size(16)));
K_INLINE k_v k_load_{name}(intptr_t p) {{
    union {{ {raw} raw; k_four_{name} four; }} u;
    u.raw = {from}(p);
    return (k_v)__builtin_convertvector(u.four, k_wide_{name});
}}
#else
{lanes}#endif\n"
    );
    Helper::both(lanes, vector)
}
