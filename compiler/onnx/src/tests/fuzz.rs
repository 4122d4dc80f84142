//! Bytes that nobody wrote: the check of the bytes against the decoder, and the whole importer.
//!
//! A run takes a few hundred inputs; `PROPTEST_CASES=1000000 cargo test --release -p kiln-onnx fuzz` takes long ones.
//! Everything runs on a thread of ordinary size, so that recursion which the check lets through is a crash.

use std::io::Cursor;

use kiln_ir::{Limits, graph};
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, Message, ModelProto, NodeProto, SparseTensorProto,
};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use protobuf::MessageField;

use crate::testing::*;
use crate::{from_bytes, tensor_from_bytes, wire};

/// What Rust gives to threads.
const STACK_BYTES: usize = 2 << 20;

/// The default.
const DEPTH: usize = 100;

fn limits() -> Limits {
    let limits = Limits { max_tensor_bytes: 1 << 20, ..Limits::default() };
    assert_eq!(limits.max_depth, DEPTH);
    limits
}

/// Runs a property on bytes of a strategy.
fn fuzz<S: Strategy<Value = Vec<u8>> + 'static>(inputs: fn() -> S, property: fn(&[u8]) -> TestCaseResult) {
    let work = move || {
        // Seeds of failures are not files of the repository: a failure becomes a test of its own.
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
        let found = TestRunner::new(config).run(&inputs(), |bytes| property(&bytes));
        found.map_err(|e| e.to_string())
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap();
    if let Err(e) = thread.join().unwrap() {
        panic!("{e}");
    }
}

/// What the check accepts the decoder reads, up to the contents of strings and packed numbers, which the check does
/// not look at. (The decoder accepts some files that are cut off, which the check refuses.)
fn the_decoder_reads_what_the_check_accepts(bytes: &[u8]) -> TestCaseResult {
    if wire::check(&mut Cursor::new(bytes), bytes.len() as u64, DEPTH).is_ok()
        && let Err(e) = crate::file::decode(&mut Cursor::new(bytes), &limits())
    {
        let message = e.to_string();
        let inside = ["UTF-8", "Incorrect varint", "Unexpected EOF", "Truncated message"];
        prop_assert!(inside.iter().any(|part| message.contains(part)), "accepted, then: {message}");
    }
    Ok(())
}

/// The importer gives a sound graph, or an error that is not Kiln's own.
fn import_survives(bytes: &[u8]) -> TestCaseResult {
    match from_bytes(bytes, None, &limits()) {
        Ok(found) => {
            let verified = graph::verify_structure(&found);
            prop_assert!(verified.is_ok(), "{}", verified.unwrap_err());
            let _ = found.to_string();
        }
        Err(errors) => prop_assert!((3..=4).contains(&errors.exit_code()), "{errors}"),
    }
    if let Err(e) = tensor_from_bytes(bytes, &limits()) {
        prop_assert!(e.kind != kiln_ir::ErrorKind::Internal, "{e}");
    }
    Ok(())
}

fn both(bytes: &[u8]) -> TestCaseResult {
    the_decoder_reads_what_the_check_accepts(bytes)?;
    import_survives(bytes)
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// A field: number, wire type and what follows, which need not be what the type says.
fn field(number: u64, wire: u64, payload: &[u8], honest: bool) -> Vec<u8> {
    let mut out = varint(number << 3 | wire);
    if wire == 2 {
        let claimed = if honest { payload.len() as u64 } else { payload.len() as u64 * 3 + (1 << 40) };
        out.extend(varint(claimed));
    }
    out.extend(payload);
    out
}

/// Fields inside fields, mostly as a file may have them.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        any::<u64>().prop_map(varint),
        "[a-z]{0,6}".prop_map(String::into_bytes),
    ];
    leaf.prop_recursive(12, 200, 6, |inner| {
        let number = prop_oneof![8 => 1u64..26, 1 => 0u64..200, 1 => any::<u32>().prop_map(u64::from)];
        let wire = prop_oneof![12 => Just(2u64), 3 => Just(0), 1 => Just(5), 1 => Just(1), 1 => 0u64..8];
        let honest = prop::bool::weighted(0.98);
        let one =
            (number, wire, inner, any::<u64>(), honest).prop_map(|(number, wire, payload, n, honest)| {
                match wire {
                    0 => field(number, 0, &varint(n), true),
                    1 => field(number, 1, &n.to_le_bytes(), true),
                    5 => field(number, 5, &n.to_le_bytes()[..4], true),
                    _ => field(number, wire, &payload, honest),
                }
            });
        prop::collection::vec(one, 0..6).prop_map(|fields| fields.concat())
    })
}

/// Sound models with something of everything.
fn models() -> Vec<Vec<u8>> {
    let halves = |name: &str, n: usize| raw(name, 1, &[n as i64], 0.5f32.to_le_bytes().repeat(n));
    let add = || node("Add", &["x", "w"], &["y"]);
    let plain = model(graph(vec![x()], vec![halves("w", 3)], vec![add()]));
    let body =
        |op: &str| GraphProto { input: vec![], ..graph(vec![], vec![], vec![node(op, &["x"], &["y"])]) };
    let nested = subgraph("then_branch", body("Relu"));
    let branches = vec![nested, subgraph("else_branch", body("Neg"))];
    let control = model(graph(
        vec![x()],
        vec![raw("c", 9, &[], vec![1])],
        vec![with(node("If", &["c"], &["y"]), branches)],
    ));
    let mut call = node("Twice", &["x"], &["y"]);
    call.domain = "own".into();
    let reference = AttributeProto { ref_attr_name: "along".into(), ..int("axis", 0) };
    let function = FunctionProto {
        name: "Twice".into(),
        domain: "own".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        attribute: vec!["along".into()],
        node: vec![with(node("Softmax", &["a"], &["b"]), vec![reference])],
        opset_import: vec![opset("", 17)],
        ..Default::default()
    };
    let mut functions =
        model(graph(vec![x()], vec![], vec![NodeProto { attribute: vec![int("along", 1)], ..call }]));
    functions.functions = vec![function];
    functions.opset_import.push(opset("own", 1));
    let sparse = SparseTensorProto {
        values: MessageField::some(halves("w", 1)),
        indices: MessageField::some(raw("", 7, &[1], vec![2, 0, 0, 0, 0, 0, 0, 0])),
        dims: vec![3],
        ..Default::default()
    };
    let mut sparse_model = model(graph(vec![x()], vec![], vec![add()]));
    if let Some(graph) = sparse_model.graph.as_mut() {
        graph.sparse_initializer = vec![sparse];
    }
    [plain, control, functions, sparse_model].iter().map(bytes).collect()
}

/// One change of a file.
#[derive(Clone, Debug)]
enum Change {
    Flip(u8),
    Set(u8),
    Cut,
    Remove(usize),
    /// A part of another file, or of the same.
    Splice(usize, prop::sample::Index, usize),
    /// A number where there was another: lengths of petabytes, of 0, of one too many.
    Number(u64),
    /// The rest of the file inside messages.
    Wrap(u8, usize),
}

fn change() -> impl Strategy<Value = Change> {
    use Change::*;
    prop_oneof![
        6 => (0u8..8).prop_map(Flip),
        4 => any::<u8>().prop_map(Set),
        1 => Just(Cut),
        2 => (1usize..40).prop_map(Remove),
        4 => (0usize..4, any::<prop::sample::Index>(), 1usize..60).prop_map(|(m, at, n)| Splice(m, at, n)),
        2 => prop_oneof![any::<u64>(), Just(1 << 31), Just(1 << 40), Just(u64::MAX), 0u64..40].prop_map(Number),
        1 => (any::<u8>(), 1usize..100).prop_map(|(tag, n)| Wrap(tag, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, at: usize, change: &Change, others: &[Vec<u8>]) {
    match change {
        Change::Flip(bit) => bytes[at] ^= 1 << bit,
        Change::Set(value) => bytes[at] = *value,
        Change::Cut => bytes.truncate(at),
        Change::Remove(n) => drop(bytes.drain(at..(at + n).min(bytes.len()))),
        Change::Splice(from, start, n) => {
            let from = &others[from % others.len()];
            let start = start.index(from.len());
            let part = from[start..(start + n).min(from.len())].to_vec();
            drop(bytes.splice(at..at, part));
        }
        Change::Number(n) => drop(bytes.splice(at..at + 1, varint(*n))),
        Change::Wrap(tag, times) => {
            let mut rest = bytes.split_off(at);
            for _ in 0..*times {
                rest = field(u64::from(tag >> 3), 2, &rest, true);
            }
            bytes.extend(rest);
        }
    }
}

/// Sound models after a few changes.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let all = models();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), change()), 1..8);
    (0..all.len(), changes).prop_map(move |(i, changes)| {
        let mut bytes = all[i].clone();
        for (at, change) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                apply(&mut bytes, at, &change, &all);
            }
        }
        bytes
    })
}

#[test]
fn random_messages() {
    fuzz(messages, both);
}

#[test]
fn damaged_models() {
    fuzz(damaged, both);
}

#[test]
fn the_models_are_sound() {
    for bytes in models() {
        wire::check(&mut Cursor::new(&bytes), bytes.len() as u64, DEPTH).unwrap();
        if let Err(e) = from_bytes(&bytes, None, &limits()) {
            assert_eq!(e.exit_code(), 4, "{e}");
        }
    }
}

#[test]
fn the_deepest_models_that_are_allowed() {
    // Fields from the outside in: graphs in attributes of nodes, types in sequences.
    let shapes: [(&[u64], &[u64]); 2] = [(&[7], &[1, 5, 6]), (&[7, 11, 2], &[4, 1])];
    let work = move || {
        for (outer, repeated) in shapes {
            let path: Vec<u64> =
                outer.iter().chain(repeated.iter().cycle()).copied().take(DEPTH - 1).collect();
            let file = path.iter().rev().fold(vec![], |inside, &number| field(number, 2, &inside, true));
            wire::check(&mut Cursor::new(&file), file.len() as u64, DEPTH).unwrap();
            assert!(from_bytes(&file, None, &limits()).is_err());
            let deeper = path.iter().chain(&[7]).rev().fold(vec![], |inside, &n| field(n, 2, &inside, true));
            let _ = from_bytes(&deeper, None, &limits());
        }
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap();
}

/// The check knows every field that the decoder descends into: in none can a group hide. Paths lead to each kind of
/// message there is; a group is put into every field behind each.
#[test]
fn no_group_gets_through() {
    let group = [0x0B; 50_000];
    let paths: [&[u64]; 17] = [
        &[],
        &[7],
        &[20],
        &[25],
        &[7, 1],
        &[7, 1, 5],
        &[7, 5],
        &[7, 15],
        &[7, 11],
        &[7, 14],
        &[7, 11, 2],
        &[7, 11, 2, 1],
        &[7, 11, 2, 4],
        &[7, 11, 2, 5],
        &[7, 11, 2, 9],
        &[7, 11, 2, 1, 2],
        &[7, 11, 2, 1, 2, 1],
    ];
    let work = move || {
        for path in paths {
            for last in 1..40 {
                let inside = field(last, 2, &group, true);
                let file = path.iter().rev().fold(inside, |inside, &number| field(number, 2, &inside, true));
                if wire::check(&mut Cursor::new(&file), file.len() as u64, DEPTH).is_ok() {
                    // Strings and numbers have no groups: the decoder finds bytes there, and has no stack for more.
                    let _ = ModelProto::parse_from_bytes(&file);
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap();
}
