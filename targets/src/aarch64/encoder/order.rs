//! The order of instructions for cores that start them in the order of the text, two in a cycle.
//!
//! Such a core waits where an operand is not there yet, and what follows waits too. So within straight code loads come
//! before the products that read them by as long as they take, each beside a product, which goes another way. Registers
//! that straight code takes and gives back are dealt out in turn first, so that what is loaded early does not have to wait
//! for its register.
//!
//! ```text
//!   ldr q0, [x1]; ldr q1, [x2]          ldr q0, [x1]; ldr q1, [x2]; ldr q4, [x1, #16]
//!   fmla v8, v0, v1.s[0]                fmla v8, v0, v1.s[0]; ldr q5, [x1, #32]
//!   ldr q0, [x1, #16]             ->    fmla v8, v4, v1.s[1]
//!   fmla v8, v0, v1.s[1]                fmla v8, v5, v1.s[2]
//!   ..                                  ..
//! ```

use std::collections::VecDeque;

use super::parts::VECTORS;
use crate::aarch64::isa::{ALL, Field, LDR_Q_LITERAL, Op};

/// Instructions that are put in order together.
const MOST: usize = 512;
/// Instructions that start in a cycle.
const STARTS: u32 = 2;
/// General registers come behind those of vectors.
const GENERAL: usize = 32;
const FLAGS: usize = 64;
/// What pointers lead to, and what is in the frame.
const MEMORY: usize = 65;
const FRAME: usize = 66;
const RESOURCES: usize = 67;

/// Where an instruction is carried out: one starts in each in a cycle.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Vectors,
    Memory,
    General,
}

/// What an instruction reads and writes.
struct Effects {
    op: &'static Op,
    /// Resources by field; fields without any are left out.
    reads: Vec<(usize, usize)>,
    writes: Vec<(usize, usize)>,
    /// What is written is read too.
    adds: bool,
    way: Way,
    latency: u32,
}

/// Instructions that change a part of what they write, or add to it.
const ADDS: &[&str] = &[
    "fmla", "fmlal", "fmlal2", "mla", "sdot", "udot", "usdot", "sudot", "smmla", "usmmla", "smlal", "smlal2",
    "umlal", "sadalp", "bif", "ins", "movk", "ld1", "uqxtn2", "sqxtun2",
];
/// Those that leave straight code.
const LEAVES: &[&str] = &["b", "b.eq", "b.ne", "b.le", "b.hs", "cbz", "cbnz", "ret"];

/// Cycles until a result can be read: of a Cortex-A53, whose are the longest.
fn latency(op: &Op, way: Way) -> u32 {
    match way {
        Way::Memory => 4,
        Way::General => 1,
        Way::Vectors if op.name.starts_with('f') => 8,
        Way::Vectors => 6,
    }
}

/// `None` for what is not straight code.
fn effects(word: u32) -> Option<Effects> {
    let op = ALL.iter().find(|op| op.is(word))?;
    if LEAVES.contains(&op.name) {
        return None;
    }
    let (store, ask) = (op.name.starts_with("st"), op.name.starts_with("prf"));
    let load = op.name.starts_with("ld");
    let results = match op.name {
        "ldp" => 2,
        _ if store || ask => 0,
        _ => 1,
    };
    let adds = ADDS.contains(&op.name);
    let (mut reads, mut writes, mut frame, mut of_vectors) = (Vec::new(), Vec::new(), false, false);
    for (i, field) in op.fields.iter().enumerate() {
        let (a, b) = field.values(word);
        let (a, b) = (a as usize, b as usize);
        let mut all = Vec::new();
        if field.vector_at().is_some() {
            all.push(a);
            of_vectors = true;
        }
        match *field {
            Field::List(_, 1, _) => {}
            Field::Half => all.push(a),
            // Registers that follow each other.
            Field::List(..) => return None,
            Field::X(_) | Field::W(_) if a == 31 => {}
            Field::X(_) | Field::P(_) | Field::W(_) => all.push(GENERAL + a),
            Field::Mem(_) | Field::Near | Field::Pair(_) | Field::Base => all.push(GENERAL + a),
            Field::Indexed => all.extend([GENERAL + a, GENERAL + b]),
            Field::Next => {
                all.extend([GENERAL + a, GENERAL + b]);
                writes.push((i, GENERAL + a));
            }
            Field::Condition(_) => all.push(FLAGS),
            _ => {}
        }
        frame |= matches!(field, Field::Mem(_) | Field::Near | Field::Pair(_)) && a == 31;
        let to = if i < results { &mut writes } else { &mut reads };
        to.extend(all.into_iter().map(|resource| (i, resource)));
    }
    let none = op.fields.len();
    if op.name == "subs" {
        writes.push((none, FLAGS));
    }
    let memory = if frame { FRAME } else { MEMORY };
    if store {
        writes.push((none, memory));
    } else if load && *op != LDR_Q_LITERAL {
        reads.push((none, memory));
    }
    let way = match () {
        () if store || ask || load => Way::Memory,
        () if of_vectors => Way::Vectors,
        () => Way::General,
    };
    Some(Effects { op, reads, writes, adds, way, latency: latency(op, way) })
}

/// The word with another vector register in a field that has one.
fn with_register(word: u32, field: Field, register: u32) -> u32 {
    field.vector_at().map_or(word, |at| word & !(0x1f << at) | register << at)
}

/// Deals out the registers of a pool, to values that begin and end in the code, in turn. `false`, with nothing changed,
/// where there are too few.
fn rename(words: &mut [u32], all: &mut [Effects], pool: u32) -> bool {
    let of_pool = |resource: usize| resource < 32 && pool >> resource & 1 == 1;
    // Elements of 16 bits are multiplied from some registers only.
    if all.iter().any(|effects| effects.op.fields.contains(&Field::Half)) {
        return false;
    }
    // The value of each resource of each instruction, and where it is read or added to for the last time.
    let mut value: [Option<usize>; 32] = [None; 32];
    let mut last: Vec<usize> = Vec::new();
    let (mut read, mut written) = (Vec::new(), Vec::new());
    for (i, effects) in all.iter().enumerate() {
        for &(field, r) in effects.reads.iter().filter(|(_, r)| of_pool(*r)) {
            let Some(v) = value[r] else { return false };
            last[v] = i;
            read.push((i, field, v));
        }
        for &(field, r) in effects.writes.iter().filter(|(_, r)| of_pool(*r)) {
            let v = match value[r] {
                Some(v) if effects.adds => v,
                _ => {
                    last.push(i);
                    last.len() - 1
                }
            };
            last[v] = i;
            value[r] = Some(v);
            written.push((i, field, v));
        }
    }
    let mut free: VecDeque<u32> = VECTORS.into_iter().filter(|r| of_pool(*r as usize)).collect();
    let mut register: Vec<Option<u32>> = vec![None; last.len()];
    let mut ends: Vec<Vec<usize>> = vec![Vec::new(); all.len()];
    last.iter().enumerate().for_each(|(v, at)| ends[*at].push(v));
    let (mut reads, mut writes) = (read.into_iter().peekable(), written.into_iter().peekable());
    let mut renamed = Vec::new();
    for (i, ended) in ends.iter().enumerate() {
        while let Some((_, field, v)) = reads.next_if(|read| read.0 == i) {
            let Some(register) = register[v] else { return false };
            renamed.push((i, field, false, register));
        }
        // Where an operand ends its result may go.
        let (begins, given): (Vec<usize>, Vec<usize>) = ended.iter().partition(|v| register[**v].is_none());
        free.extend(given.iter().filter_map(|v| register[*v]));
        while let Some((_, field, v)) = writes.next_if(|write| write.0 == i) {
            let to = match register[v] {
                Some(register) => register,
                None => {
                    let Some(to) = free.pop_front() else { return false };
                    register[v] = Some(to);
                    to
                }
            };
            renamed.push((i, field, true, to));
        }
        free.extend(begins.iter().filter_map(|v| register[*v]));
    }
    for (i, field, write, register) in renamed {
        words[i] = with_register(words[i], all[i].op.fields[field], register);
        let list = if write { &mut all[i].writes } else { &mut all[i].reads };
        list.iter_mut().filter(|(f, _)| *f == field).for_each(|(_, r)| *r = register as usize);
    }
    true
}

/// The order in which instructions start.
fn order(all: &[Effects]) -> Vec<usize> {
    // Behind each instruction those that wait for it, and how long.
    let mut waits: Vec<Vec<(usize, u32)>> = vec![Vec::new(); all.len()];
    let mut missing = vec![0u32; all.len()];
    let mut writer: [Option<usize>; RESOURCES] = [None; RESOURCES];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); RESOURCES];
    for (i, effects) in all.iter().enumerate() {
        let mut wait = |from: usize, latency: u32| {
            if from != i {
                waits[from].push((i, latency));
                missing[i] += 1;
            }
        };
        let added = effects.writes.iter().filter(|_| effects.adds);
        for &(_, r) in effects.reads.iter().chain(added) {
            if let Some(from) = writer[r] {
                wait(from, all[from].latency);
            }
        }
        for &(_, r) in &effects.writes {
            readers[r].iter().for_each(|from| wait(*from, 0));
            if let Some(from) = writer[r] {
                wait(from, 1);
            }
        }
        for &(_, r) in &effects.reads {
            readers[r].push(i);
        }
        for &(_, r) in &effects.writes {
            writer[r] = Some(i);
            readers[r].clear();
        }
    }
    let mut earliest = vec![0u32; all.len()];
    let mut ready: Vec<usize> = (0..all.len()).filter(|i| missing[*i] == 0).collect();
    let mut out = Vec::with_capacity(all.len());
    let mut cycle = 0;
    while out.len() < all.len() {
        let (mut started, mut taken) = (0, Vec::new());
        while started < STARTS {
            let can = |i: &usize| {
                earliest[*i] <= cycle && (all[*i].way == Way::General || !taken.contains(&all[*i].way))
            };
            let next = ready.iter().copied().enumerate().filter(|(_, i)| can(i));
            // The text goes through sums in turn.
            let Some((place, i)) = next.min_by_key(|(_, i)| *i) else { break };
            ready.swap_remove(place);
            out.push(i);
            taken.push(all[i].way);
            started += 1;
            for &(to, latency) in &waits[i] {
                earliest[to] = earliest[to].max(cycle + latency);
                missing[to] -= 1;
                if missing[to] == 0 {
                    ready.push(to);
                }
            }
        }
        cycle += 1;
    }
    out
}

/// What became of straight code: where each of its words is now, and the vector registers that it writes besides.
pub(super) struct Ordered {
    pub(super) place: Vec<usize>,
    pub(super) used: u32,
}

/// Puts straight code in order; `pool`: vector registers that it takes and gives back. Leaves alone what it does not know.
pub(super) fn put_in_order(words: &mut [u32], pool: u32) -> Option<Ordered> {
    let mut all = words.iter().map(|word| effects(*word)).collect::<Option<Vec<Effects>>>()?;
    let mut used = 0;
    if rename(words, &mut all, pool) {
        let written = all.iter().flat_map(|e| &e.writes).filter(|(_, r)| *r < GENERAL);
        used = pool & written.fold(0, |used, (_, r)| used | 1 << r);
    }
    let mut place = vec![0; words.len()];
    let mut sorted = Vec::with_capacity(words.len());
    for chunk in (0..words.len()).step_by(MOST) {
        let end = (chunk + MOST).min(words.len());
        for i in order(&all[chunk..end]) {
            place[chunk + i] = sorted.len();
            sorted.push(words[chunk + i]);
        }
    }
    words.copy_from_slice(&sorted);
    Some(Ordered { place, used })
}
