//! Runs code of the encoder for AArch64 under the user-mode emulator: for the tests of this crate.
//!
//! One process runs many functions, since it takes long to begin: a program made here that reads a function and its data, calls
//! it, and writes the data.

use std::cell::RefCell;
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::aarch64::isa::*;

const QEMU: &str = "qemu-aarch64-static";
/// Where the program lies, and what it reads.
const BASE: i64 = 0x40_0000;
const REQUEST: i64 = BASE + 0x1000;
const SAVED_BEFORE: i64 = BASE + 0x1100;
const SAVED_AFTER: i64 = BASE + 0x1200;
const CODE: i64 = BASE + 0x10000;
/// Off any alignment.
const DATA: i64 = BASE + 0x40_0001;
const ROOM: i64 = 0x40_0000;
/// Headers of the file and of its only segment.
const HEADERS: usize = 64 + 56;
const START: usize = 128;
/// Registers that belong to the caller: x19 to x28, the low halves of v8 to v15.
const SAVED: i64 = 18;
/// Branch and link to a register; a call of the system, and which.
const BLR_X9: u32 = 0xd63f_0120;
const SVC: u32 = 0xd400_0001;
const READ: i64 = 63;
const WRITE: i64 = 64;
const EXIT: i64 = 93;
/// Words of a request: lengths of code and data, begin and end.
const WORDS: usize = 4;

/// Whether the emulator is there. On CI it has to be.
pub(crate) fn exists() -> bool {
    static EXISTS: OnceLock<bool> = OnceLock::new();
    *EXISTS.get_or_init(|| {
        let found = Command::new(QEMU).arg("--version").output().is_ok_and(|o| o.status.success());
        let on_ci = std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0");
        assert!(found || !on_ci, "{QEMU} not found: apt-get install qemu-user-static");
        found
    })
}

/// An emulator that waits for functions, and its program.
struct Machine {
    child: Child,
    _program: tempfile::TempPath,
}

thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

/// What a kernel's code makes of the data, which is off any alignment. Registers of the caller's stay as they are.
pub(crate) fn run(code: &[u8], data: &[u8], begin: i64, end: i64) -> Vec<u8> {
    assert!((code.len().max(data.len()) as i64) < ROOM - 0x10000);
    MACHINE.with_borrow_mut(|machine| machine.get_or_insert_with(Machine::new).run(code, data, begin, end))
}

impl Machine {
    fn new() -> Self {
        let mut program = tempfile::NamedTempFile::new().expect("a file");
        program.write_all(&executable()).expect("room for a file");
        let program = program.into_temp_path();
        std::fs::set_permissions(&program, Permissions::from_mode(0o700)).expect("a file of our own");
        let mut command = Command::new(QEMU);
        command.args(["-cpu", "max"]).arg(&program).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self { child: command.spawn().expect("an emulator"), _program: program }
    }

    fn run(&mut self, code: &[u8], data: &[u8], begin: i64, end: i64) -> Vec<u8> {
        let mut request = [code.len() as i64, data.len() as i64, begin, end].map(i64::to_le_bytes).concat();
        request.extend_from_slice(code);
        request.extend_from_slice(data);
        let (Some(stdin), Some(stdout)) = (&mut self.child.stdin, &mut self.child.stdout) else {
            panic!("an emulator without pipes")
        };
        stdin.write_all(&request).expect("an emulator that reads");
        stdin.flush().expect("an emulator that reads");
        let mut out = vec![0; data.len()];
        let mut saved = vec![0; 8 * SAVED as usize];
        let read = stdout.read_exact(&mut out).and_then(|()| stdout.read_exact(&mut saved));
        if read.is_err() {
            panic!("code that fails: {:?}", self.child.wait());
        }
        assert_eq!(saved, pattern(), "a register of the caller's");
        out
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Without another request the program ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What the caller's registers hold.
fn pattern() -> Vec<u8> {
    (0..8 * SAVED).map(|i| (i * 37 + 11) as u8).collect()
}

/// The program under construction.
struct Words(Vec<u32>);

impl Words {
    fn put(&mut self, op: Op, operands: &[i64]) {
        self.0.push(op.word(operands));
    }

    fn number(&mut self, register: i64, value: i64) {
        self.put(MOVZ, &[register, value & 0xffff, 0]);
        self.put(MOVK, &[register, (value >> 16) & 0xffff, 1]);
    }

    fn system(&mut self, call: i64) {
        self.number(8, call);
        self.0.push(SVC);
    }

    /// Moves x20 bytes at x19, as many at a time as come.
    fn transfer(&mut self, file: i64, call: i64) {
        let head = self.0.len() as i64;
        // To the instruction behind the branch back.
        self.put(CBZ, &[20, 11]);
        self.number(0, file);
        self.put(ORR, &[1, 31, 19, 0]);
        self.put(ORR, &[2, 31, 20, 0]);
        self.system(call);
        self.put(ADD, &[19, 19, 0, 0]);
        self.put(SUB, &[20, 20, 0, 0]);
        self.put(B, &[head - self.0.len() as i64]);
        assert_eq!(self.0.len() as i64, head + 11);
    }

    fn saved(&mut self, at: i64, general: Op, vectors: Op) {
        self.number(9, at);
        for i in 0..SAVED / 2 {
            let (op, register) = if i < 5 { (general, 19 + 2 * i) } else { (vectors, 2 * i - 2) };
            self.put(op, &[register, register + 1, 9, 16 * i]);
        }
    }
}

/// The program's file.
fn executable() -> Vec<u8> {
    let mut words = Words(Vec::new());
    let request = |words: &mut Words, register: i64, i: i64| {
        words.number(9, REQUEST);
        words.put(LDR_X, &[register, 9, 8 * i]);
    };
    words.number(19, REQUEST);
    words.number(20, 8 * WORDS as i64);
    // The end of the input is found here: nothing was read of what was asked for.
    words.number(0, 0);
    words.put(ORR, &[1, 31, 19, 0]);
    words.put(ORR, &[2, 31, 20, 0]);
    words.system(READ);
    words.put(CBNZ, &[0, 4]);
    words.system(EXIT);
    words.put(ADD, &[19, 19, 0, 0]);
    words.put(SUB, &[20, 20, 0, 0]);
    words.transfer(0, READ);
    for (i, at) in [(0, CODE), (1, DATA)] {
        words.number(19, at);
        request(&mut words, 20, i);
        words.transfer(0, READ);
    }
    words.saved(SAVED_BEFORE, LDP_X, LDP_D);
    words.number(0, DATA);
    request(&mut words, 1, 2);
    request(&mut words, 2, 3);
    words.number(9, CODE);
    words.0.push(BLR_X9);
    words.saved(SAVED_AFTER, STP_X, STP_D);
    words.number(19, DATA);
    request(&mut words, 20, 1);
    words.transfer(1, WRITE);
    words.number(19, SAVED_AFTER);
    words.number(20, 8 * SAVED);
    words.transfer(1, WRITE);
    let back = -(words.0.len() as i64);
    words.put(B, &[back]);

    let mut file = vec![0; (SAVED_AFTER - BASE) as usize];
    header(&mut file);
    for (word, place) in words.0.iter().zip(file[START..].chunks_exact_mut(4)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let pattern = pattern();
    file[(SAVED_BEFORE - BASE) as usize..][..pattern.len()].copy_from_slice(&pattern);
    file
}

/// ELF of 64 bits for AArch64, of one segment that may be read, written and run.
fn header(file: &mut [u8]) {
    let size = [file.len() as i64, DATA + ROOM - BASE];
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header.extend([2u16, 183].map(u16::to_le_bytes).concat());
    header.extend(1u32.to_le_bytes());
    header.extend([BASE + START as i64, 64, 0].map(i64::to_le_bytes).concat());
    header.extend(0u32.to_le_bytes());
    header.extend([64u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    header.extend([1u32, 7].map(u32::to_le_bytes).concat());
    header.extend([0, BASE, BASE, size[0], size[1], 4096].map(i64::to_le_bytes).concat());
    assert_eq!(header.len(), HEADERS);
    file[..HEADERS].copy_from_slice(&header);
}
