//! The functions that kernels in C call: a file gets those that it needs, each with what it is made of.
//!
//! Every one has a definition over lanes, which any compiler of C99 takes; what is called in inner loops has another over
//! vectors of 128 bits, for gcc and clang on machines that have these.

use std::collections::{BTreeMap, BTreeSet};

pub use super::helper::Helper;
use super::{lanes, memory};
use crate::order::Order;

/// What of the compiler's habits would change results, and what it can do.
const HABITS: &str = "/* Products and sums are rounded one by one, on every machine alike. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize (\"fp-contract=off\")
#endif

#if defined(__GNUC__)
#define K_INLINE static inline __attribute__((always_inline, unused))
#define K_ALIGNED(n) __attribute__((aligned(n)))
#define K_PLACED(name) __attribute__((section(name)))
#define K_LOOSE __attribute__((packed, may_alias))
#else
#define K_INLINE static inline
#define K_ALIGNED(n)
#define K_PLACED(name)
#endif

/* Reordering before registers are assigned costs more of them than small cores have. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__arm__) && !defined(__ARM_NEON)
#pragma GCC optimize (\"no-schedule-insns\")
#endif

/* Helium takes the least floats for zero, so that what gcc makes vectors of would have other results. */
#if defined(__ARM_FEATURE_MVE) && __ARM_FEATURE_MVE > 1 && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize (\"no-tree-loop-vectorize\", \"no-tree-slp-vectorize\")
#endif
";
const REGISTER: &str = "
/* A register: four lanes of 32 bits, or two of 64 whose low words come first. */
";
/// Debian's gcc for s390x computes floats as doubles when it is asked for a standard, and rounds where they are stored.
const EXCESS: &str = "
/* Floats are not carried as doubles, whatever the standard that is asked for allows. */
#if defined(__s390__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize (\"excess-precision=fast\")
#endif
";
/// Where compilers have vectors; those that they load lie as the machine stores numbers.
const VECTORS: &str = "#if defined(__GNUC__) && (defined(__SSE2__) || defined(__ARM_NEON) || defined(__ALTIVEC__) || defined(__wasm_simd128__))
#define K_VECTORS 1
typedef uint32_t k_v __attribute__((vector_size(16)));
#define K_L(v, i) ((v)[i])
#define K_V(a, b, c, d) ((k_v){ (a), (b), (c), (d) })
#else
";
const LANES: &str = "#define K_VECTORS 0
typedef struct { uint32_t l[4]; } k_v;
#define K_L(v, i) ((v).l[i])
#define K_V(a, b, c, d) ((k_v){ { (a), (b), (c), (d) } })
";
/// Inlined, a kernel would keep its variables on the stack of the whole call.
const KERNEL: &str = "#if defined(__GNUC__) && !K_VECTORS
#define K_KERNEL static __attribute__((noinline))
#else
#define K_KERNEL static
#endif
";
const WIDE: &str = "#define K_D(v, i) ((uint64_t)K_L(v, 2 * (i)) | (uint64_t)K_L(v, 2 * (i) + 1) << 32)
#define K_W(a, b) K_V((uint32_t)(a), (uint32_t)((a) >> 32), (uint32_t)(b), (uint32_t)((b) >> 32))
";

/// What stands before all helpers: a refusal of the machines that the file is not for, the type of a register and its lanes.
pub fn prelude(order: Order) -> String {
    let (wanted, first) = (order.of_compilers(), order.first());
    let registers = match order {
        Order::LowFirst => [REGISTER, VECTORS, LANES, "#endif\n"].concat(),
        Order::HighFirst => [EXCESS, REGISTER, LANES].concat(),
    };
    format!(
        "#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != {wanted}
#error \"this file is for machines that store the {first} byte of a number first; kiln's --target makes one for others\"
#endif

{HABITS}{registers}{WIDE}{KERNEL}"
    )
}

/// What a helper's name stands for.
pub fn helper(name: &str, order: Order) -> Option<Helper> {
    memory::helper(name, order).or_else(|| lanes::helper(name))
}

/// The text of these helpers and of all that they call, each behind what it calls.
pub fn definitions(names: &BTreeSet<String>, bytes: Order) -> String {
    let mut known: BTreeMap<String, Helper> = BTreeMap::new();
    let mut order = Vec::new();
    names.iter().for_each(|name| add(name, bytes, &mut known, &mut order));
    let (mut out, mut lanes, mut vectors) = (String::new(), String::new(), String::new());
    // Those that are alike on all machines come first, without those that call others.
    let mut twice: BTreeSet<&str> = BTreeSet::new();
    for name in &order {
        let helper = &known[name];
        let differs = helper.vector.is_some() || calls(&helper.lanes).iter().any(|n| twice.contains(&**n));
        if differs {
            twice.insert(name);
            lanes += &helper.lanes;
            vectors += helper.vector.as_ref().unwrap_or(&helper.lanes);
        } else {
            out += &helper.lanes;
        }
    }
    if !lanes.is_empty() {
        out = format!("{out}\n#if K_VECTORS\n{vectors}#else\n{lanes}#endif\n");
    }
    out
}

fn add(name: &str, bytes: Order, known: &mut BTreeMap<String, Helper>, order: &mut Vec<String>) {
    if known.contains_key(name) {
        return;
    }
    let Some(helper) = helper(name, bytes) else { return };
    known.insert(name.to_owned(), helper.clone());
    let both = [Some(&helper.lanes), helper.vector.as_ref()];
    for text in both.into_iter().flatten() {
        calls(text).iter().for_each(|name| add(name, bytes, known, order));
    }
    order.push(name.to_owned());
}

/// Names in a text that may be helpers'.
pub fn calls(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|w| w.starts_with("k_")).map(str::to_owned).collect()
}
