//! The `kiln` command, built with the tests so that they never meet a stale one.

fn main() -> std::process::ExitCode {
    kiln_cli::main()
}
