//! Bad models through the command: an exit code of 3 or 4, a message that names the place, nothing written, in
//! bounded time and memory; never a panic, a signal or a hang.
//!
//! Every case goes through `compile` at `--opt 0` and `--opt 2` and through `run`. Some only must survive: they may
//! be refused or give any answer.

mod build;
mod damage;
mod files;
mod names;
mod operators;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::text;
use libtest_mimic::{Arguments, Failed, Trial};

const KILN: &str = env!("CARGO_BIN_EXE_kiln-under-test");

/// Far more than any of these needs, on a busy machine too.
const TIME: Duration = Duration::from_secs(60);

/// Address space: stacks, the JIT's reserve, and room for a model of a few kilobytes.
const MEMORY_KIB: u64 = 4 << 20;

/// Makes the files of a case in a folder.
type Files = Box<dyn Fn(&Path) -> std::io::Result<()> + Send>;

/// A bad model and what is expected.
pub(crate) struct Case {
    name: String,
    files: Files,
    codes: Vec<i32>,
    says: Vec<String>,
    /// Whether the model is sound, and only its inputs are not.
    compiles: bool,
}

impl Case {
    /// A model file, to be refused.
    pub(crate) fn new(name: &str, file: Vec<u8>) -> Self {
        Self::at(name, move |folder| std::fs::write(folder.join("model.onnx"), &file))
    }

    /// Files around `model.onnx`, to be refused.
    pub(crate) fn at(name: &str, files: impl Fn(&Path) -> std::io::Result<()> + Send + 'static) -> Self {
        Self {
            name: name.to_owned(),
            files: Box::new(files),
            codes: vec![3, 4],
            says: Vec::new(),
            compiles: false,
        }
    }

    /// The message must hold this.
    pub(crate) fn says(mut self, part: &str) -> Self {
        self.says.push(part.to_owned());
        self
    }

    /// The one exit code.
    pub(crate) fn code(mut self, code: i32) -> Self {
        self.codes = vec![code];
        self
    }

    /// It compiles, and is refused when it runs.
    pub(crate) fn at_run_time(mut self) -> Self {
        self.compiles = true;
        self
    }

    /// It may work as well.
    pub(crate) fn survives(mut self) -> Self {
        self.codes.push(0);
        self
    }

    fn check(&self) -> Result<(), Failed> {
        let folder = tempfile::tempdir()?;
        (self.files)(folder.path())?;
        let before = entries(folder.path())?;
        let (model, out) = (folder.path().join("model.onnx"), folder.path().join("out"));
        let all: [&[&OsStr]; 3] = [
            &[
                "compile".as_ref(),
                model.as_ref(),
                "-o".as_ref(),
                out.as_ref(),
                "--opt".as_ref(),
                "0".as_ref(),
            ],
            &[
                "compile".as_ref(),
                model.as_ref(),
                "-o".as_ref(),
                out.as_ref(),
                "--opt".as_ref(),
                "2".as_ref(),
            ],
            &["run".as_ref(), model.as_ref(), "--output-dir".as_ref(), out.as_ref()],
        ];
        for arguments in all {
            let (code, stderr) = run(arguments)?;
            let wrong = |what: String| format!("{arguments:?} {what}\nexit code {code}, stderr: {stderr}");
            let sound = self.compiles && arguments[0] != "run";
            let codes = if sound { &[0][..] } else { &self.codes };
            if !codes.contains(&code) {
                return Err(wrong(format!("must end with one of {codes:?}")).into());
            }
            if stderr.contains("panicked") || stderr.contains("RUST_BACKTRACE") {
                return Err(wrong("panicked".to_owned()).into());
            }
            if stderr.chars().any(|c| c.is_control() && c != '\n') {
                return Err(wrong("prints control characters".to_owned()).into());
            }
            if code == 0 {
                std::fs::remove_dir_all(&out)?;
            }
            if entries(folder.path())? != before {
                return Err(wrong("leaves something behind".to_owned()).into());
            }
            if code == 0 {
                continue;
            }
            if let Some(part) = self.says.iter().find(|part| !stderr.contains(&***part)) {
                return Err(wrong(format!("must say {part}")).into());
            }
        }
        Ok(())
    }
}

/// What lies in a folder.
fn entries(folder: &Path) -> std::io::Result<BTreeSet<OsString>> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Exit code and diagnostics, within the limits.
fn run(arguments: &[&OsStr]) -> Result<(i32, String), Failed> {
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\""), KILN])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || stderr.map(std::io::read_to_string));
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if start.elapsed() > TIME => {
                child.kill()?;
                child.wait()?;
                return Err(format!("{arguments:?} does not end").into());
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let stderr = reader.join().ok().flatten().transpose().map_err(text)?.unwrap_or_default();
    Ok((status.code().unwrap_or(-1), stderr))
}

fn main() -> ExitCode {
    let cases = operators::cases().into_iter().chain(files::cases()).chain(names::cases());
    let mut trials: Vec<Trial> =
        cases.map(|case| Trial::test(case.name.clone(), move || case.check())).collect();
    trials.extend(damage::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
