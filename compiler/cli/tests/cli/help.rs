//! What the tool says of itself: help that is true, messages that are whole.

use super::{code, json, kiln, resnet8, stderr};

const COMMANDS: [&str; 12] = [
    "compile", "run", "check", "bench", "inspect", "explain", "dump", "quantize", "prune", "report", "repl",
    "list",
];

fn help(command: &str) -> String {
    String::from_utf8(kiln(&[command, "--help"]).stdout).unwrap()
}

#[test]
fn help_lists_what_exists_and_shows_how() {
    let compile = help("compile");
    for present in [
        "shared:",
        "hpp:",
        "zephyr:",
        "platformio:",
        "arduino:",
        "esp-idf:",
        "lib:",
        "header:",
        "rust:",
        "cmake:",
        "pkgconfig:",
        "asm:",
        "--weights <",
        "--arena-limit <",
        "native",
        "baseline",
    ] {
        assert!(compile.contains(present), "{present}: {compile}");
    }
    for command in COMMANDS {
        let text = help(command);
        let examples = text.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("{command}: {text}"));
        assert!(examples.lines().count() >= 2 && examples.contains(&format!("kiln {command} ")), "{text}");
        // A flag without a sentence has nothing behind it or on the next line.
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate().filter(|(_, l)| is_flag(l)) {
            let told = line.trim().contains("  ") || lines.get(i + 1).is_some_and(|l| !l.trim().is_empty());
            assert!(told, "{command}: {line}");
        }
    }
}

fn is_flag(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('-') && !line.starts_with("- ")
}

#[test]
fn examples_name_flags_that_exist() {
    for command in COMMANDS {
        let text = help(command);
        let (flags, examples) = text.split_once("Examples:").unwrap();
        let words = examples.split_whitespace().filter(|w| w.starts_with("--"));
        for flag in words {
            assert!(flags.contains(flag), "{command}: {flag}");
        }
    }
}

#[test]
fn json_has_the_whole_message_of_wrong_usage() {
    let missing = kiln(&["inspect", "--json"]);
    let message = json(&missing)["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("<MODEL>") && !message.contains("Usage:"), "{message}");
    let wrong = kiln(&["compile", "m.onnx", "-o", "out", "--emit", "nonsense", "--json"]);
    let message = json(&wrong)["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("header") && message.contains("nonsense"), "{message}");
    // People read it on stderr as they would without --json.
    assert!(stderr(&wrong).contains("--help"), "{}", stderr(&wrong));
}

#[test]
fn tables_fit_eighty_columns() {
    for what in ["ops", "rules", "targets", "kernels"] {
        let text = String::from_utf8(kiln(&["list", what]).stdout).unwrap();
        let widest = text.lines().map(|l| l.chars().count()).max().unwrap();
        assert!(widest <= 80, "{what}: {widest}");
    }
    let kernels = String::from_utf8(kiln(&["list", "kernels"]).stdout).unwrap();
    assert!(kernels.contains("transform"), "{kernels}");
    let inspected = String::from_utf8(kiln(&["inspect", &resnet8()]).stdout).unwrap();
    assert!(inspected.lines().all(|l| l.chars().count() <= 80), "{inspected}");
}

#[test]
fn quiet_and_verbose_exclude_each_other() {
    assert_eq!(code(&kiln(&["list", "ops", "--quiet", "--verbose"])), 2);
}
