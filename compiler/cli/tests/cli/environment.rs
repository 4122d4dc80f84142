//! What the machine does to a run: signals, limits, full devices, closed pipes. None of it is a bug of Kiln, and
//! nothing is left behind.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::{code, json, kiln, resnet8, stderr};

/// `kiln ARGS` in a shell that has limited itself first.
fn limited(limit: &str, args: &[&str]) -> Output {
    let script = format!("{limit} && exec \"$0\" \"$@\"");
    Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_kiln")]).args(args).output().unwrap()
}

fn entries(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).map(|d| d.flatten().map(|e| e.file_name()).collect());
    names.unwrap_or_else(|_| Vec::new()).iter().map(|n| n.to_string_lossy().into_owned()).collect()
}

/// A compilation that is sent `signal` while its files are staged; gives its end and what is left.
fn compilation_with(signal: &str) -> (ExitStatus, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/out");
    // Listings keep it busy after the folder is there.
    let args = ["--cpu", "baseline,avx,avx2", "--target", super::X86, "--emit", "lib,header,asm,clif,report"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["compile", &resnet8(), "-o", &out.display().to_string()])
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while !entries(&out).iter().any(|n| n.starts_with(".kiln-")) && Instant::now() < patience {
        std::thread::sleep(Duration::from_micros(200));
    }
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    (child.wait().unwrap(), entries(folder.path()))
}

#[test]
fn signals_leave_nothing_and_end_as_signals_do() {
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1), ("XCPU", 24)] {
        // Unless it was done before the signal came.
        let ends = (0..5).map(|_| compilation_with(name)).find(|(end, _)| !end.success());
        let (end, left) = ends.expect("every compilation ended before the signal");
        assert_eq!(end.signal(), Some(number), "{name}: {end}");
        assert_eq!(left, [""; 0], "{name}");
    }
}

#[test]
fn a_limit_on_files_is_1_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output =
        limited("ulimit -f 16", &["compile", &resnet8(), "-o", &out.display().to_string(), "--json"]);
    assert_eq!(code(&output), 1, "{output:?}");
    assert_eq!(json(&output)["error"]["kind"], "environment");
    assert!(stderr(&output).contains("libtiny_ic_resnet8") || stderr(&output).contains("tiny_ic_resnet8.o"));
    assert!(stderr(&output).contains("ulimit -f"), "{}", stderr(&output));
    assert_eq!(entries(folder.path()), [""; 0]);
    let output = limited("ulimit -f 0", &["run", &resnet8(), "--output-dir", &out.display().to_string()]);
    assert_eq!(code(&output), 1, "{output:?}");
    assert_eq!(entries(folder.path()), [""; 0]);
}

#[test]
fn too_little_memory_is_1_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    // From too little for anything to enough, in KiB of address space.
    for kib in (200_000..1_000_000).step_by(40_000) {
        for args in [&["compile", &*resnet8(), "-o", &*out][..], &["run", &*resnet8(), "--threads", "2"]] {
            let output = limited(&format!("ulimit -v {kib}"), args);
            let told = stderr(&output);
            assert!(matches!(code(&output), 0 | 1), "{kib} {args:?}: {output:?}");
            assert_eq!(told.contains("error: "), code(&output) == 1, "{kib}: {told}");
            assert!(!told.contains("internal") && !told.contains("panicked"), "{kib}: {told}");
            if code(&output) == 1 {
                assert_eq!(entries(folder.path()), [""; 0], "{kib}");
            } else {
                let _ = std::fs::remove_dir_all(&out);
            }
        }
    }
}

#[test]
fn output_that_is_lost_is_told() {
    for args in [&["list", "ops"][..], &["list", "ops", "--json"], &["--help"], &["inspect", &*resnet8()]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_kiln")).args(args).stdout(full).output().unwrap();
        assert_eq!(code(&output), 1, "{args:?}: {output:?}");
        assert!(stderr(&output).contains("cannot write to standard output: No space left"), "{output:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["list", "ops"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output)), (0, String::new()));
}

#[test]
fn folders_that_nobody_may_write_to_are_1() {
    // Not even root may make folders there.
    if Path::new("/sys").is_dir() {
        let output = kiln(&["compile", &resnet8(), "-o", "/sys/kiln"]);
        assert_eq!(code(&output), 1, "{output:?}");
        assert!(stderr(&output).contains("cannot write /sys/kiln"), "{}", stderr(&output));
    }
    // A file where a folder is asked for is wrong usage.
    assert_eq!(code(&kiln(&["compile", &resnet8(), "-o", "/dev/null/x"])), 2);
}
