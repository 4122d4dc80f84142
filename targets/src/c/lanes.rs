//! Helpers that compute on registers: one meaning for a lane, and where the compiler has vectors the same of all of them.

use super::helper::Helper;

/// A type of lanes: name, of C, of vectors of C.
struct Type {
    name: &'static str,
    c: &'static str,
    vector: &'static str,
    float: bool,
    wide: bool,
}

const TYPES: &[Type] = &[
    Type { name: "f32", c: "float", vector: "k_vf32", float: true, wide: false },
    Type { name: "i32", c: "int32_t", vector: "k_vi32", float: false, wide: false },
    Type { name: "u32", c: "uint32_t", vector: "k_v", float: false, wide: false },
    Type { name: "f64", c: "double", vector: "k_vf64", float: true, wide: true },
    Type { name: "i64", c: "int64_t", vector: "k_vi64", float: false, wide: true },
    Type { name: "u64", c: "uint64_t", vector: "k_vu64", float: false, wide: true },
];

impl Type {
    fn of(&self, bits: &str) -> String {
        if self.float { format!("k_{}_of({bits})", self.name) } else { format!("({})({bits})", self.c) }
    }

    fn bits(&self, value: &str) -> String {
        let word = self.word();
        if self.float { format!("k_bits_of_{}({value})", self.name) } else { format!("({word})({value})") }
    }

    fn word(&self) -> &'static str {
        if self.wide { "uint64_t" } else { "uint32_t" }
    }

    /// All lanes of `p`, and of `q` if it is there, by a function of one.
    fn each(&self, function: &str, second: bool) -> String {
        let (take, n, make) = if self.wide { ("K_D", 2, "K_W") } else { ("K_L", 4, "K_V") };
        let one = |i: usize| {
            if second {
                format!("{function}({take}(p, {i}), {take}(q, {i}))")
            } else {
                format!("{function}({take}(p, {i}))")
            }
        };
        let lanes: Vec<String> = (0..n).map(one).collect();
        format!("{make}({})", lanes.join(", "))
    }
}

/// The helper of a name, if it is one of these.
pub(super) fn helper(name: &str) -> Option<Helper> {
    if let Some(ty) = TYPES.iter().find(|ty| ty.vector == name && ty.name != "u32") {
        let Type { c, vector, .. } = ty;
        return Some(Helper::both("", format!("typedef {c} {vector} __attribute__((vector_size(16)));\n")));
    }
    if let Some(short) = match name {
        "k_vi16" => Some("int16_t"),
        "k_vu16" => Some("uint16_t"),
        "k_vu8" => Some("uint8_t"),
        _ => None,
    } {
        return Some(Helper::both("", format!("typedef {short} {name} __attribute__((vector_size(16)));\n")));
    }
    if let Some(helper) = whole(name) {
        return Some(helper);
    }
    let (op, ty) = name.strip_prefix("k_")?.rsplit_once('_')?;
    let ty = TYPES.iter().find(|t| t.name == ty)?;
    binary(name, op, ty).or_else(|| unary(name, op, ty))
}

/// What a lane becomes of `x` and `y`; whether that is a mask; and what vectors of `x` and `y` become.
fn binary(name: &str, op: &str, ty: &Type) -> Option<Helper> {
    let simple = |sign: &str| (format!("x {sign} y"), false, Some(format!("x {sign} y")));
    let (lane, mask, vector) = match op {
        "add" => simple("+"),
        "sub" => simple("-"),
        "mul" => simple("*"),
        "div" if ty.float => simple("/"),
        "lt" => ("x < y".to_owned(), true, Some("x < y".to_owned())),
        "le" => ("x <= y".to_owned(), true, Some("x <= y".to_owned())),
        "eq" => ("x == y".to_owned(), true, Some("x == y".to_owned())),
        // The second operand where that is beyond the first, else the first: a NaN there stays.
        "min" => ("y < x ? y : x".to_owned(), false, None),
        "max" => ("x < y ? y : x".to_owned(), false, None),
        "minnan" if ty.float => ("y < x || y != y ? y : x".to_owned(), false, None),
        "maxnan" if ty.float => ("x < y || y != y ? y : x".to_owned(), false, None),
        "raise" if ty.float => ("x > y ? x : y".to_owned(), false, None),
        "shl" if !ty.float => (format!("y < {} ? x << (y & {}) : 0", bits(ty), bits(ty) - 1), false, None),
        "shr" if !ty.float => (format!("y < {} ? x >> (y & {}) : 0", bits(ty), bits(ty) - 1), false, None),
        _ => return None,
    };
    let word = ty.word();
    let result = if mask { format!("{lane} ? ({word})-1 : 0") } else { ty.bits(&lane) };
    let one = format!(
        "K_INLINE {word} {name}_lane({word} a, {word} b) {{
    {c} x = {}, y = {};
    return {result};
}}\n",
        ty.of("a"),
        ty.of("b"),
        c = ty.c,
    );
    let each = format!(
        "K_INLINE k_v {name}(k_v p, k_v q) {{ return {}; }}\n",
        ty.each(&format!("{name}_lane"), true)
    );
    let lanes = format!("{one}{each}");
    let v = ty.vector;
    let on = |body: String| {
        format!("K_INLINE k_v {name}(k_v p, k_v q) {{\n    {v} x = ({v})p, y = ({v})q;\n    {body}\n}}\n")
    };
    let chosen = |mask: &str| format!("k_v m = (k_v)({mask});\n    return (m & q) | (~m & p);");
    let vector = match (vector, op) {
        (Some(body), _) => on(format!("return (k_v)({body});")),
        (None, "min" | "max" | "raise") if ty.name == "f32" => {
            let (mask, sse) = match op {
                "min" => ("y < x", "minps(y, x)"),
                "max" => ("x < y", "maxps(y, x)"),
                _ => ("!(x > y)", "maxps(x, y)"),
            };
            let plain = match op {
                "raise" => "k_v m = (k_v)(x > y);\n    return (m & p) | (~m & q);".to_owned(),
                _ => chosen(mask),
            };
            on(format!(
                "#if defined(__SSE2__)\n    return (k_v)__builtin_ia32_{sse};\n#else\n    {plain}\n#endif"
            )
            .replace("    #if", "#if"))
        }
        (None, "min") => on(chosen("y < x")),
        (None, "max") => on(chosen("x < y")),
        (None, "minnan") => on(chosen("(y < x) | (y != y)")),
        (None, "maxnan") => on(chosen("(x < y) | (y != y)")),
        (None, "raise") => on("k_v m = (k_v)(x > y);\n    return (m & p) | (~m & q);".to_owned()),
        _ => lanes.clone(),
    };
    Some(Helper::both(lanes, vector))
}

fn bits(ty: &Type) -> u32 {
    if ty.wide { 64 } else { 32 }
}

/// What a lane becomes of `x`.
fn unary(name: &str, op: &str, ty: &Type) -> Option<Helper> {
    if let Some((lane, call)) = match (op, ty.float) {
        ("sqrt", true) => Some(("k_sqrt", ty.name)),
        ("floor", true) => Some(("k_floor", ty.name)),
        ("ceil", true) => Some(("k_ceil", ty.name)),
        ("round", true) => Some(("k_round", ty.name)),
        _ => None,
    } {
        let one = format!("{lane}_one_{call}");
        let lanes = format!(
            "K_INLINE {w} {name}_lane({w} a) {{ return {}; }}
K_INLINE k_v {name}(k_v p) {{ return {}; }}\n",
            ty.bits(&format!("{one}({})", ty.of("a"))),
            ty.each(&format!("{name}_lane"), false),
            w = ty.word(),
        );
        let vector = match (op, ty.name) {
            ("floor" | "ceil" | "round", "f32") => rounded(name, op),
            ("sqrt", "f32") => format!(
                "#if defined(__SSE2__)
K_INLINE k_v {name}(k_v p) {{ return (k_v)__builtin_ia32_sqrtps((k_vf32)p); }}
#else
{lanes}#endif\n"
            ),
            _ => lanes.clone(),
        };
        return Some(Helper::both(lanes, vector));
    }
    let word = ty.word();
    let (lane, vector) = match op {
        "abs" if ty.name.starts_with('i') => ("(x < 0 ? 0 - a : a)".to_owned(), None),
        "neg" if !ty.float => ("(0 - a)".to_owned(), Some("-x".to_owned())),
        _ => return None,
    };
    let lanes = format!(
        "K_INLINE {word} {name}_lane({word} a) {{ {c} x = {}; (void)x; return {lane}; }}
K_INLINE k_v {name}(k_v p) {{ return {}; }}\n",
        ty.of("a"),
        ty.each(&format!("{name}_lane"), false),
        c = ty.c,
    );
    let v = ty.vector;
    let vector = vector.map_or(lanes.clone(), |body| {
        format!("K_INLINE k_v {name}(k_v p) {{ {v} x = ({v})p; return (k_v)({body}); }}\n")
    });
    Some(Helper::both(lanes, vector))
}

/// Rounding of vectors of f32, as `k_round_one_f32` does it for one.
fn rounded(name: &str, op: &str) -> String {
    let step = match op {
        "floor" => "    r = (k_vf32)r - (k_vf32)((k_v)(x < r) & one);\n",
        "ceil" => "    r = (k_vf32)r + (k_vf32)((k_v)(r < x) & one);\n",
        _ => "",
    };
    let one = if step.is_empty() {
        ""
    } else {
        "    const k_v one = K_V(0x3f800000u, 0x3f800000u, 0x3f800000u, 0x3f800000u);\n"
    };
    format!(
        "K_INLINE k_v {name}(k_v p) {{
{one}    const k_v signs = K_V(0x80000000u, 0x80000000u, 0x80000000u, 0x80000000u);
    const k_v large = K_V(0x4b000000u, 0x4b000000u, 0x4b000000u, 0x4b000000u);
    k_v sign = p & signs, small;
    k_vf32 x = (k_vf32)p, magic = (k_vf32)(large | sign), r = (x + magic) - magic;
{step}    small = (k_v)((k_vf32)(p & ~signs) < (k_vf32)large);
    return (small & ((k_v)r | sign)) | (~small & p);
}}\n"
    )
}

/// Helpers that are not one operation for all types.
fn whole(name: &str) -> Option<Helper> {
    let four = |lane: &dyn Fn(usize) -> String| (0..4).map(lane).collect::<Vec<_>>().join(", ");
    let bitwise = |lane: &dyn Fn(usize) -> String, vector: &str| {
        Helper::both(
            format!("K_INLINE k_v {name}(k_v p, k_v q) {{ return K_V({}); }}\n", four(lane)),
            format!("K_INLINE k_v {name}(k_v p, k_v q) {{ return {vector}; }}\n"),
        )
    };
    Some(match name {
        "k_and" => bitwise(&|i| format!("K_L(p, {i}) & K_L(q, {i})"), "p & q"),
        "k_or" => bitwise(&|i| format!("K_L(p, {i}) | K_L(q, {i})"), "p | q"),
        "k_xor" => bitwise(&|i| format!("K_L(p, {i}) ^ K_L(q, {i})"), "p ^ q"),
        "k_andnot" => bitwise(&|i| format!("~K_L(p, {i}) & K_L(q, {i})"), "~p & q"),
        "k_choose" => Helper::both(
            format!(
                "/* p where m is set, else q. */
K_INLINE k_v k_choose(k_v m, k_v p, k_v q) {{ return K_V({}); }}\n",
                four(&|i| format!("(K_L(m, {i}) & K_L(p, {i})) | (~K_L(m, {i}) & K_L(q, {i}))"))
            ),
            "/* p where m is set, else q. */
K_INLINE k_v k_choose(k_v m, k_v p, k_v q) { return (m & p) | (~m & q); }\n",
        ),
        "k_any" => Helper::plain(
            "K_INLINE int k_any(k_v m) { return (K_L(m, 0) | K_L(m, 1) | K_L(m, 2) | K_L(m, 3)) != 0; }\n",
        ),
        "k_splat" => Helper::plain("K_INLINE k_v k_splat(uint32_t x) { return K_V(x, x, x, x); }\n"),
        "k_splat_f32" => Helper::plain(
            "K_INLINE k_v k_splat_f32(float f) { uint32_t x = k_bits_of_f32(f); return K_V(x, x, x, x); }\n",
        ),
        "k_wide" => Helper::plain("K_INLINE k_v k_wide(uint64_t x, uint64_t y) { return K_W(x, y); }\n"),
        "k_splat_u64" => Helper::plain("K_INLINE k_v k_splat_u64(uint64_t x) { return K_W(x, x); }\n"),
        "k_swap_halves" => Helper::plain(
            "K_INLINE k_v k_swap_halves(k_v p) { return K_V(K_L(p, 2), K_L(p, 3), K_L(p, 0), K_L(p, 1)); }\n",
        ),
        "k_swap_pairs" => Helper::plain(
            "K_INLINE k_v k_swap_pairs(k_v p) { return K_V(K_L(p, 1), K_L(p, 0), K_L(p, 3), K_L(p, 2)); }\n",
        ),
        "k_shl" | "k_shr" | "k_sar" => shift(name),
        "k_shl_wide" | "k_shr_wide" | "k_sar_wide" => shift_wide(name),
        "k_toint" => Helper::both(
            "/* To the nearest integer; magnitudes up to 2^22. */
K_INLINE uint32_t k_toint_lane(uint32_t a) {
#if defined(__GNUC__) && defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4)
    /* By the rounding mode, as the sum below: one instruction for its three. */
    float x = k_f32_of(a);
    __asm__(\"vcvtr.s32.f32 %0, %0\" : \"+t\"(x));
    return k_bits_of_f32(x);
#else
    return k_bits_of_f32(k_f32_of(a) + 12582912.0f) - 0x4b400000u;
#endif
}
K_INLINE k_v k_toint(k_v p) {
    return K_V(k_toint_lane(K_L(p, 0)), k_toint_lane(K_L(p, 1)), k_toint_lane(K_L(p, 2)), k_toint_lane(K_L(p, 3)));
}\n",
            "/* To the nearest integer; magnitudes up to 2^22. */
K_INLINE k_v k_toint(k_v p) {
    const k_vf32 magic = { 12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f };
    return (k_v)((k_vf32)p + magic) - (k_v)magic;
}\n",
        ),
        "k_tofloat" => Helper::both(
            "K_INLINE uint32_t k_tofloat_lane(uint32_t a) { return k_bits_of_f32((float)(int32_t)a); }
K_INLINE k_v k_tofloat(k_v p) {
    return K_V(k_tofloat_lane(K_L(p, 0)), k_tofloat_lane(K_L(p, 1)), k_tofloat_lane(K_L(p, 2)), k_tofloat_lane(K_L(p, 3)));
}\n",
            "#if defined(__clang__) || __GNUC__ >= 9
K_INLINE k_v k_tofloat(k_v p) { return (k_v)__builtin_convertvector((k_vi32)p, k_vf32); }
#else
K_INLINE uint32_t k_tofloat_lane(uint32_t a) { return k_bits_of_f32((float)(int32_t)a); }
K_INLINE k_v k_tofloat(k_v p) {
    return K_V(k_tofloat_lane(K_L(p, 0)), k_tofloat_lane(K_L(p, 1)), k_tofloat_lane(K_L(p, 2)), k_tofloat_lane(K_L(p, 3)));
}
#endif\n",
        ),
        "k_interleave_32_low" => {
            Helper::plain("K_INLINE k_v k_interleave_32_low(k_v p, k_v q) { return K_V(K_L(p, 0), K_L(q, 0), K_L(p, 1), K_L(q, 1)); }\n")
        }
        "k_interleave_32_high" => {
            Helper::plain("K_INLINE k_v k_interleave_32_high(k_v p, k_v q) { return K_V(K_L(p, 2), K_L(q, 2), K_L(p, 3), K_L(q, 3)); }\n")
        }
        "k_interleave_64_low" => {
            Helper::plain("K_INLINE k_v k_interleave_64_low(k_v p, k_v q) { return K_V(K_L(p, 0), K_L(p, 1), K_L(q, 0), K_L(q, 1)); }\n")
        }
        "k_interleave_64_high" => {
            Helper::plain("K_INLINE k_v k_interleave_64_high(k_v p, k_v q) { return K_V(K_L(p, 2), K_L(p, 3), K_L(q, 2), K_L(q, 3)); }\n")
        }
        "k_interleave_16_low" | "k_interleave_16_high" | "k_interleave_8_low" | "k_interleave_8_high" => {
            interleave_short(name)
        }
        _ => return super::lanes::numbers(name),
    })
}

fn shift(name: &str) -> Helper {
    let (lane, vector) = match name {
        "k_shl" => ("a << n", "p << n"),
        "k_shr" => ("a >> n", "p >> n"),
        _ => ("(uint32_t)((int32_t)a >> n)", "(k_v)((k_vi32)p >> n)"),
    };
    let at = |i: usize| lane.replace('a', &format!("K_L(p, {i})"));
    Helper::both(
        format!(
            "K_INLINE k_v {name}(k_v p, int n) {{ return K_V({}, {}, {}, {}); }}\n",
            at(0),
            at(1),
            at(2),
            at(3)
        ),
        format!("K_INLINE k_v {name}(k_v p, int n) {{ return {vector}; }}\n"),
    )
}

fn shift_wide(name: &str) -> Helper {
    let lane = |i: usize| match name {
        "k_shl_wide" => format!("K_D(p, {i}) << n"),
        "k_shr_wide" => format!("K_D(p, {i}) >> n"),
        _ => format!("(uint64_t)((int64_t)K_D(p, {i}) >> n)"),
    };
    Helper::plain(format!(
        "K_INLINE k_v {name}(k_v p, int n) {{ uint64_t a = {}, b = {}; return K_W(a, b); }}\n",
        lane(0),
        lane(1)
    ))
}

/// Elements of 8 or 16 bits of two registers in turn.
fn interleave_short(name: &str) -> Helper {
    let from = if name.ends_with("high") { 2 } else { 0 };
    let lane = |v: &str, i: usize, name: &str| {
        // Result lane i: of words those numbered 2 i and 2 i + 1, of bytes 4 i .. 4 i + 3.
        if name.contains("16") {
            let at = i % 2 * 16;
            format!("(K_L({v}, {}) >> {at} & 0xffffu)", from + i / 2)
        } else {
            String::new()
        }
    };
    let body: Vec<String> = (0..4)
        .map(|i| {
            if name.contains("16") {
                format!("{} | {} << 16", lane("p", i, name), lane("q", i, name))
            } else {
                let byte =
                    |v: &str, n: usize| format!("(K_L({v}, {}) >> {} & 0xffu)", from + n / 4, n % 4 * 8);
                let n = 2 * i;
                format!(
                    "{} | {} << 8 | {} << 16 | {} << 24",
                    byte("p", n),
                    byte("q", n),
                    byte("p", n + 1),
                    byte("q", n + 1)
                )
            }
        })
        .collect();
    Helper::plain(format!(
        "K_INLINE k_v {name}(k_v p, k_v q) {{\n    return K_V({});\n}}\n",
        body.join(",\n        ")
    ))
}

/// Products of short integers, conversions, and scalars.
pub(super) fn numbers(name: &str) -> Option<Helper> {
    let text = match name {
        "k_madd_one" => "#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
#include <arm_acle.h>
K_INLINE uint32_t k_madd_one(uint32_t a, uint32_t b, uint32_t sum) { return (uint32_t)__smlad((int16x2_t)a, (int16x2_t)b, (int32_t)sum); }
#else
K_INLINE uint32_t k_madd_one(uint32_t a, uint32_t b, uint32_t sum) {
    int32_t low = (int16_t)(a & 0xffffu) * (int16_t)(b & 0xffffu), high = (int16_t)(a >> 16) * (int16_t)(b >> 16);
    return sum + (uint32_t)low + (uint32_t)high;
}
#endif\n",
        // In the order of the text and in place: moved apart, more sums and words are alive than there are registers.
        "k_madd_to" => "#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__GNUC__)
K_INLINE uint32_t k_madd_to(uint32_t sum, uint32_t a, uint32_t b) {
    __asm__ volatile(\"smlad %0, %1, %2, %0\" : \"+r\"(sum) : \"r\"(a), \"r\"(b));
    return sum;
}
#else
K_INLINE uint32_t k_madd_to(uint32_t sum, uint32_t a, uint32_t b) { return k_madd_one(a, b, sum); }
#endif\n",
        "k_even_bytes" => "/* Bytes 0 and 2 with their signs as words. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__GNUC__)
K_INLINE uint32_t k_even_bytes(uint32_t a) {
    uint32_t r;
    __asm__ volatile(\"sxtb16 %0, %1\" : \"=r\"(r) : \"r\"(a));
    return r;
}
K_INLINE uint32_t k_odd_bytes(uint32_t a) {
    uint32_t r;
    __asm__ volatile(\"sxtb16 %0, %1, ror #8\" : \"=r\"(r) : \"r\"(a));
    return r;
}
#else
K_INLINE uint32_t k_even_bytes(uint32_t a) {
    uint32_t low = (uint32_t)(int32_t)(int8_t)(a & 0xffu), high = (uint32_t)(int32_t)(int8_t)(a >> 16 & 0xffu);
    return (low & 0xffffu) | high << 16;
}
K_INLINE uint32_t k_odd_bytes(uint32_t a) { return k_even_bytes(a >> 8); }
#endif\n",
        // The words of `a` times the bytes of two steps of four columns, two at `b` and two at `c`.
        "k_fma_crossed" => "K_INLINE void k_fma_crossed(k_v *d, intptr_t a, intptr_t b, intptr_t c) {
    uint32_t p = k_get_u32(a), x = k_get_u32(b);
    K_L(*d, 0) = k_madd_to(K_L(*d, 0), p, k_even_bytes(x));
    K_L(*d, 1) = k_madd_to(K_L(*d, 1), p, k_odd_bytes(x));
    x = k_get_u32(c);
    K_L(*d, 2) = k_madd_to(K_L(*d, 2), p, k_even_bytes(x));
    K_L(*d, 3) = k_madd_to(K_L(*d, 3), p, k_odd_bytes(x));
}\n",
        "k_fma_crossed_two" => "K_INLINE void k_fma_crossed_two(k_v *d, k_v *e, intptr_t a, intptr_t f, intptr_t b, intptr_t c) {
    uint32_t p = k_get_u32(a), q = k_get_u32(f), x = k_get_u32(b), y = k_even_bytes(x);
    K_L(*d, 0) = k_madd_to(K_L(*d, 0), p, y);
    K_L(*e, 0) = k_madd_to(K_L(*e, 0), q, y);
    x = k_odd_bytes(x);
    K_L(*d, 1) = k_madd_to(K_L(*d, 1), p, x);
    K_L(*e, 1) = k_madd_to(K_L(*e, 1), q, x);
    x = k_get_u32(c);
    y = k_even_bytes(x);
    K_L(*d, 2) = k_madd_to(K_L(*d, 2), p, y);
    K_L(*e, 2) = k_madd_to(K_L(*e, 2), q, y);
    x = k_odd_bytes(x);
    K_L(*d, 3) = k_madd_to(K_L(*d, 3), p, x);
    K_L(*e, 3) = k_madd_to(K_L(*e, 3), q, x);
}\n",
        "k_words_of" => "/* Two bytes with signs as words; b = 0: the low ones, 1: the high ones. */
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
#include <arm_acle.h>
K_INLINE k_v k_words_of(uint32_t a, uint32_t b) {
    uint32_t a0 = (uint32_t)__sxtb16((int8x4_t)a), a1 = (uint32_t)__sxtb16((int8x4_t)(a >> 8 | a << 24));
    uint32_t b0 = (uint32_t)__sxtb16((int8x4_t)b), b1 = (uint32_t)__sxtb16((int8x4_t)(b >> 8 | b << 24));
    return K_V((a0 & 0xffffu) | a1 << 16, a0 >> 16 | (a1 & 0xffff0000u), (b0 & 0xffffu) | b1 << 16, b0 >> 16 | (b1 & 0xffff0000u));
}
#else
K_INLINE uint32_t k_two_words(uint32_t a) {
    return ((uint32_t)(int32_t)(int8_t)(a & 0xffu) & 0xffffu) | (uint32_t)(int32_t)(int8_t)(a >> 8 & 0xffu) << 16;
}
K_INLINE k_v k_words_of(uint32_t a, uint32_t b) {
    return K_V(k_two_words(a), k_two_words(a >> 16), k_two_words(b), k_two_words(b >> 16));
}
#endif\n",
        "k_load_words_i8" => {
            return Some(Helper::both(
                "K_INLINE k_v k_load_words_i8(intptr_t p) { return k_words_of(k_get_u32(p), k_get_u32(p + 4)); }\n",
                words_of_vectors("i8", "int8_t", "int16_t", "k_vi16"),
            ));
        }
        "k_load_words_u8" => {
            return Some(Helper::both(
                "K_INLINE k_v k_load_words_u8(intptr_t p) {
    uint32_t a = k_get_u32(p), b = k_get_u32(p + 4);
    return K_V((a & 0xffu) | (a >> 8 & 0xffu) << 16, (a >> 16 & 0xffu) | a >> 24 << 16, (b & 0xffu) | (b >> 8 & 0xffu) << 16,
        (b >> 16 & 0xffu) | b >> 24 << 16);
}\n",
                words_of_vectors("u8", "uint8_t", "uint16_t", "k_vu16"),
            ));
        }
        "k_pair_words" => {
            return Some(Helper::both(
                "/* The low halves of p and q, those of q above. */
K_INLINE uint32_t k_pair_words_lane(uint32_t a, uint32_t b) {
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP && defined(__GNUC__)
    uint32_t r;
    __asm__(\"pkhbt %0, %1, %2, lsl #16\" : \"=r\"(r) : \"r\"(a), \"r\"(b));
    return r;
#else
    return (a & 0xffffu) | (b << 16);
#endif
}
K_INLINE k_v k_pair_words(k_v p, k_v q) {
    return K_V(k_pair_words_lane(K_L(p, 0), K_L(q, 0)), k_pair_words_lane(K_L(p, 1), K_L(q, 1)),
        k_pair_words_lane(K_L(p, 2), K_L(q, 2)), k_pair_words_lane(K_L(p, 3), K_L(q, 3)));
}\n",
                "/* The low halves of p and q, those of q above. */
K_INLINE k_v k_pair_words(k_v p, k_v q) { return (p & 0xffffu) | (q << 16); }\n",
            ));
        }
        "k_fma_words" => {
            return Some(Helper::both(
                "/* Sums of the products of two words. */
K_INLINE k_v k_fma_words(k_v d, k_v p, k_v q) {
    return K_V(k_madd_one(K_L(p, 0), K_L(q, 0), K_L(d, 0)), k_madd_one(K_L(p, 1), K_L(q, 1), K_L(d, 1)),
        k_madd_one(K_L(p, 2), K_L(q, 2), K_L(d, 2)), k_madd_one(K_L(p, 3), K_L(q, 3), K_L(d, 3)));
}\n",
                "/* Sums of the products of two words. */
K_INLINE k_v k_fma_words(k_v d, k_v p, k_v q) {
#if defined(__SSE2__)
    return d + (k_v)__builtin_ia32_pmaddwd128((k_vi16)p, (k_vi16)q);
#else
    k_vi32 x = (k_vi32)p, y = (k_vi32)q;
    return d + (k_v)((k_vi32)(p << 16) >> 16) * (k_v)((k_vi32)(q << 16) >> 16) + (k_v)(x >> 16) * (k_v)(y >> 16);
#endif
}\n",
            ));
        }
        "k_add_words" => {
            return Some(Helper::both(
                "K_INLINE uint32_t k_add_words_lane(uint32_t a, uint32_t b) { return ((a + b) & 0xffffu) | ((a & 0xffff0000u) + (b & 0xffff0000u)); }
K_INLINE k_v k_add_words(k_v p, k_v q) {
    return K_V(k_add_words_lane(K_L(p, 0), K_L(q, 0)), k_add_words_lane(K_L(p, 1), K_L(q, 1)), k_add_words_lane(K_L(p, 2), K_L(q, 2)),
        k_add_words_lane(K_L(p, 3), K_L(q, 3)));
}\n",
                "K_INLINE k_v k_add_words(k_v p, k_v q) { return (k_v)((k_vu16)p + (k_vu16)q); }\n",
            ));
        }
        "k_sub_words" => {
            return Some(Helper::both(
                "K_INLINE uint32_t k_sub_words_lane(uint32_t a, uint32_t b) { return ((a - b) & 0xffffu) | ((a & 0xffff0000u) - (b & 0xffff0000u)); }
K_INLINE k_v k_sub_words(k_v p, k_v q) {
    return K_V(k_sub_words_lane(K_L(p, 0), K_L(q, 0)), k_sub_words_lane(K_L(p, 1), K_L(q, 1)), k_sub_words_lane(K_L(p, 2), K_L(q, 2)),
        k_sub_words_lane(K_L(p, 3), K_L(q, 3)));
}\n",
                "K_INLINE k_v k_sub_words(k_v p, k_v q) { return (k_v)((k_vu16)p - (k_vu16)q); }\n",
            ));
        }
        "k_max_bytes" => {
            return Some(Helper::both(
                "K_INLINE uint32_t k_max_bytes_lane(uint32_t a, uint32_t b) {
    uint32_t r = 0, i, x, y;
    for (i = 0; i < 32; i += 8) { x = a >> i & 0xffu; y = b >> i & 0xffu; r |= (x < y ? y : x) << i; }
    return r;
}
K_INLINE k_v k_max_bytes(k_v p, k_v q) {
    return K_V(k_max_bytes_lane(K_L(p, 0), K_L(q, 0)), k_max_bytes_lane(K_L(p, 1), K_L(q, 1)), k_max_bytes_lane(K_L(p, 2), K_L(q, 2)),
        k_max_bytes_lane(K_L(p, 3), K_L(q, 3)));
}\n",
                "K_INLINE k_v k_max_bytes(k_v p, k_v q) { k_v m = (k_v)((k_vu8)p < (k_vu8)q); return (m & q) | (~m & p); }\n",
            ));
        }
        "k_shl_words" => {
            return Some(Helper::both(
                "K_INLINE uint32_t k_shl_words_lane(uint32_t a, int n) { return (a << n & 0xffffu) | (a & 0xffff0000u) << n; }
K_INLINE k_v k_shl_words(k_v p, int n) {
    return K_V(k_shl_words_lane(K_L(p, 0), n), k_shl_words_lane(K_L(p, 1), n), k_shl_words_lane(K_L(p, 2), n), k_shl_words_lane(K_L(p, 3), n));
}\n",
                "K_INLINE k_v k_shl_words(k_v p, int n) { return (k_v)((k_vu16)p << n); }\n",
            ));
        }
        _ => return scalars(name).map(Helper::plain),
    };
    Some(Helper::plain(text))
}

fn words_of_vectors(suffix: &str, byte: &str, word: &str, vector: &str) -> String {
    format!(
        "#if defined(__clang__) || __GNUC__ >= 9
typedef {byte} k_eight_{suffix} __attribute__((vector_size(8)));
typedef {word} k_words_{suffix} __attribute__((vector_size(16)));
K_INLINE k_v k_load_words_{suffix}(intptr_t p) {{
    union {{ uint64_t raw; k_eight_{suffix} eight; }} u;
    u.raw = k_get_u64(p);
    return (k_v)__builtin_convertvector(u.eight, k_words_{suffix});
}}
#else
K_INLINE k_v k_load_words_{suffix}(intptr_t p) {{
    {vector} r;
    int i;
    for (i = 0; i < 8; i++) r[i] = ({word})*((const {byte} *)p + i);
    return (k_v)r;
}}
#endif\n"
    )
}

/// Functions of single numbers.
fn scalars(name: &str) -> Option<String> {
    let text = match name {
        // Digit by digit: exact, and rounded once, to nearest.
        "k_sqrt_one_f32" => "K_INLINE float k_sqrt_one_f32(float x) {
#if defined(__GNUC__) && defined(__SSE2__)
    __asm__(\"sqrtss %1, %0\" : \"=x\"(x) : \"x\"(x));
    return x;
#elif defined(__GNUC__) && defined(__aarch64__)
    __asm__(\"fsqrt %s0, %s1\" : \"=w\"(x) : \"w\"(x));
    return x;
#elif defined(__GNUC__) && defined(__ARM_FP) && (__ARM_FP & 4)
    __asm__(\"vsqrt.f32 %0, %1\" : \"=t\"(x) : \"t\"(x));
    return x;
#else
    uint32_t b = k_bits_of_f32(x), m = b & 0x7fffffu, root = 0, bit;
    int e = (int)(b >> 23 & 0xff);
    uint64_t rest;
    if (b << 1 == 0 || x != x || b == 0x7f800000u) return x;
    if (b >> 31) return k_f32_of(0x7fc00000u);
    if (e == 0) for (e = 1; m < 0x800000u; e--) m <<= 1;
    else m |= 0x800000u;
    e -= 127;
    rest = (uint64_t)m << (25 + (e & 1));
    for (bit = 1u << 24; bit; bit >>= 1) {
        uint64_t more = (uint64_t)(root | bit) * (root | bit);
        if (more <= rest) root |= bit;
    }
    /* One bit more than a number has: a root is never half way. */
    return k_f32_of(((uint32_t)((e - (e & 1)) / 2 + 127) << 23) + ((root + 1) >> 1) - 0x800000u);
#endif
}\n",
        "k_sqrt_one_f64" => "K_INLINE double k_sqrt_one_f64(double x) {
#if defined(__GNUC__) && defined(__SSE2__)
    __asm__(\"sqrtsd %1, %0\" : \"=x\"(x) : \"x\"(x));
    return x;
#elif defined(__GNUC__) && defined(__aarch64__)
    __asm__(\"fsqrt %d0, %d1\" : \"=w\"(x) : \"w\"(x));
    return x;
#else
    uint64_t b = k_bits_of_f64(x), m = b & 0xfffffffffffffu, root = 0, rest = 0;
    int e = (int)(b >> 52 & 0x7ff), i;
    if (b << 1 == 0 || x != x || b == 0x7ff0000000000000u) return x;
    if (b >> 63) return k_f64_of(0x7ff8000000000000u);
    if (e == 0) for (e = 1; m < 0x10000000000000u; e--) m <<= 1;
    else m |= 0x10000000000000u;
    e -= 1023;
    m <<= e & 1;
    /* 54 digits of the root of m * 2^54, two bits of that at a time. */
    for (i = 53; i >= 0; i--) {
        int at = 2 * i - 54;
        uint64_t two = at >= 0 ? m >> at & 3 : at == -1 ? (m & 1) << 1 : 0, trial;
        rest = rest << 2 | two;
        trial = root << 2 | 1;
        root <<= 1;
        if (trial <= rest) { rest -= trial; root |= 1; }
    }
    return k_f64_of(((uint64_t)((e - (e & 1)) / 2 + 1023) << 52) + ((root + 1) >> 1) - 0x10000000000000u);
#endif
}\n",
        "k_round_one_f32" => "K_INLINE float k_round_one_f32(float x) {
    uint32_t b = k_bits_of_f32(x), sign = b & 0x80000000u;
    float magic = k_f32_of(0x4b000000u | sign), r = (x + magic) - magic;
    return (b & 0x7fffffffu) < 0x4b000000u ? k_f32_of(k_bits_of_f32(r) | sign) : x;
}\n",
        "k_floor_one_f32" => "K_INLINE float k_floor_one_f32(float x) {
    float r = k_round_one_f32(x);
    return x < r ? k_f32_of(k_bits_of_f32(r - 1.0f) | (k_bits_of_f32(x) & 0x80000000u)) : r;
}\n",
        "k_ceil_one_f32" => "K_INLINE float k_ceil_one_f32(float x) {
    float r = k_round_one_f32(x);
    return r < x ? k_f32_of(k_bits_of_f32(r + 1.0f) | (k_bits_of_f32(x) & 0x80000000u)) : r;
}\n",
        "k_round_one_f64" => "K_INLINE double k_round_one_f64(double x) {
    uint64_t b = k_bits_of_f64(x), sign = b & 0x8000000000000000u;
    double magic = k_f64_of(0x4330000000000000u | sign), r = (x + magic) - magic;
    return (b & 0x7fffffffffffffffu) < 0x4330000000000000u ? k_f64_of(k_bits_of_f64(r) | sign) : x;
}\n",
        "k_floor_one_f64" => "K_INLINE double k_floor_one_f64(double x) {
    double r = k_round_one_f64(x);
    return x < r ? k_f64_of(k_bits_of_f64(r - 1.0) | (k_bits_of_f64(x) & 0x8000000000000000u)) : r;
}\n",
        "k_ceil_one_f64" => "K_INLINE double k_ceil_one_f64(double x) {
    double r = k_round_one_f64(x);
    return r < x ? k_f64_of(k_bits_of_f64(r + 1.0) | (k_bits_of_f64(x) & 0x8000000000000000u)) : r;
}\n",
        "k_i32_of_f64" => "K_INLINE uint32_t k_i32_of_f64(double x) {
    if (x != x) return 0;
    return (uint32_t)(x >= 2147483647.0 ? INT32_MAX : x <= -2147483648.0 ? INT32_MIN : (int32_t)x);
}\n",
        "k_i32_of_f32" => "K_INLINE uint32_t k_i32_of_f32(float x) {
    if (x != x) return 0;
    return (uint32_t)(x >= 2147483648.0f ? INT32_MAX : x < -2147483648.0f ? INT32_MIN : (int32_t)x);
}\n",
        "k_i64_of_f32" => "K_INLINE uint64_t k_i64_of_f32(float x) { return k_i64_of_f64((double)x); }\n",
        "k_i64_of_f64" => "K_INLINE uint64_t k_i64_of_f64(double x) {
    if (x != x) return 0;
    return (uint64_t)(x >= 9223372036854775808.0 ? INT64_MAX : x < -9223372036854775808.0 ? INT64_MIN : (int64_t)x);
}\n",
        "k_u32_of_f32" => "K_INLINE uint32_t k_u32_of_f32(float x) { return k_u32_of_f64((double)x); }\n",
        "k_u32_of_f64" => "K_INLINE uint32_t k_u32_of_f64(double x) {
    return !(x > 0) ? 0 : x >= 4294967295.0 ? UINT32_MAX : (uint32_t)x;
}\n",
        "k_u64_of_f32" => "K_INLINE uint64_t k_u64_of_f32(float x) { return k_u64_of_f64((double)x); }\n",
        "k_u64_of_f64" => "K_INLINE uint64_t k_u64_of_f64(double x) {
    return !(x > 0) ? 0 : x >= 18446744073709551616.0 ? UINT64_MAX : (uint64_t)x;
}\n",
        // NaN if either is NaN; of zeros the one with the sign that the extreme has.
        "k_fmin_f32" => "K_INLINE float k_fmin_f32(float x, float y) {
    if (x != x || y != y) return x + y;
    if (x == y) return k_f32_of(k_bits_of_f32(x) | k_bits_of_f32(y));
    return x < y ? x : y;
}\n",
        "k_fmax_f32" => "K_INLINE float k_fmax_f32(float x, float y) {
    if (x != x || y != y) return x + y;
    if (x == y) return k_f32_of(k_bits_of_f32(x) & k_bits_of_f32(y));
    return x < y ? y : x;
}\n",
        "k_fmin_f64" => "K_INLINE double k_fmin_f64(double x, double y) {
    if (x != x || y != y) return x + y;
    if (x == y) return k_f64_of(k_bits_of_f64(x) | k_bits_of_f64(y));
    return x < y ? x : y;
}\n",
        "k_fmax_f64" => "K_INLINE double k_fmax_f64(double x, double y) {
    if (x != x || y != y) return x + y;
    if (x == y) return k_f64_of(k_bits_of_f64(x) & k_bits_of_f64(y));
    return x < y ? y : x;
}\n",
        _ => return None,
    };
    Some(text.to_owned())
}
