//! `kiln report` and what it reads.

use std::path::Path;

use serde_json::Value;

use super::schema::wrong;
use super::{code, done, json, kiln, resnet8, stderr};

/// Compiles the shipped model for a level; the path of its report.
fn compiled(folder: &Path, cpu: &str) -> String {
    let out = folder.join(cpu.replace(',', "_")).display().to_string();
    let target = ["--target", "x86_64-unknown-none", "--cpu", cpu, "--emit", "obj,report,html"];
    done(&[&["compile", &*resnet8(), "-o", &*out, "--json"], &target[..]].concat());
    format!("{out}/tiny_ic_resnet8.report.json")
}

#[test]
fn a_report_tells_what_a_model_takes() {
    let folder = tempfile::tempdir().unwrap();
    let path = compiled(folder.path(), "avx2");
    let report = json(&done(&["report", &path, "--json"]));
    let sum = |list: &str, field: &str| -> u64 {
        report[list].as_array().unwrap().iter().filter_map(|e| e[field].as_u64()).sum()
    };
    // 12.5 million multiplications, those of minimal filtering fewer.
    assert!((5_000_000..13_000_000).contains(&sum("kernels", "macs")), "{}", sum("kernels", "macs"));
    assert!(sum("kernels", "code_bytes") <= report["code_bytes"].as_u64().unwrap());
    let ways = report["shrink"].as_array().unwrap();
    assert!(
        ways.iter().any(|w| w["part"] == "weights" && w["what"].as_str().unwrap().contains("int8")),
        "{ways:?}"
    );
    let text = String::from_utf8(done(&["report", &path]).stdout).unwrap();
    for part in [
        "tiny_ic_resnet8 for x86_64-unknown-none",
        "read-only data",
        "alive at the peak",
        "saves about",
        "more kernels",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let page = std::fs::read_to_string(path.replace(".json", ".html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</body></html>\n"));
    assert_eq!(page.matches("<rect class=\"slot\"").count(), report["arena"].as_array().unwrap().len());
    // Nothing is fetched from elsewhere.
    assert!(!page.contains("http") && !page.contains("<script"));
}

#[test]
fn reports_are_as_their_schema_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/report.schema.json");
    let read = |path: &str| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let schema = read(path);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("c").display().to_string();
    done(&[
        "compile",
        &resnet8(),
        "-o",
        &out,
        "--emit",
        "c,zephyr,report",
        "--target",
        "thumbv7em-none-eabihf",
    ]);
    let c = format!("{out}/tiny_ic_resnet8.report.json");
    for path in [compiled(folder.path(), "avx2"), compiled(folder.path(), "sse2,avx2"), c] {
        let report = read(&path);
        let found = wrong(&schema, &report);
        assert!(found.is_empty(), "{path}: {found:#?}");
        // The schema says everything there is.
        let mut more = report.clone();
        more["variants"][0]["unheard"] = Value::Null;
        assert_eq!(wrong(&schema, &more).len(), 1);
        // What is alive at the peak is what its kernel sees.
        let part = if report["kernels"].is_array() { &report } else { &report["variants"][0] };
        let (peak, slots) = (&part["peak"], part["arena"].as_array().unwrap());
        let kernel = peak["kernel"].as_u64().unwrap();
        let alive = slots.iter().filter(|s| {
            (s["first_kernel"].as_u64().unwrap()..=s["last_kernel"].as_u64().unwrap()).contains(&kernel)
        });
        assert_eq!(alive.map(|s| s["bytes"].as_u64().unwrap()).sum::<u64>(), peak["bytes"].as_u64().unwrap());
    }
}

#[test]
fn two_reports_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (compiled(folder.path(), "sse2"), compiled(folder.path(), "avx2"));
    let changes = json(&done(&["report", &a, &b, "--json"]));
    let of = |path: &str| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let code = &changes["totals"]["code_bytes"];
    assert_eq!((&code["before"], &code["after"]), (&of(&a)["code_bytes"], &of(&b)["code_bytes"]));
    assert!(!changes["kernels"].as_array().unwrap().is_empty());
    let text = String::from_utf8(done(&["report", &a, &b]).stdout).unwrap();
    assert!(text.contains("before: tiny_ic_resnet8") && text.contains(" %"), "{text}");
    let same = String::from_utf8(done(&["report", &a, &a]).stdout).unwrap();
    assert!(same.contains("every kernel has code of the same size"), "{same}");
    // Of several levels each has its kernels.
    let both = compiled(folder.path(), "sse2,avx2");
    let text = String::from_utf8(done(&["report", &both]).stdout).unwrap();
    assert!(text.contains("for sse2:") && text.contains("for avx2:"), "{text}");
}

#[test]
fn what_is_no_report_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in
        [("text", &b"hello"[..]), ("other", b"{\"name\": 3}"), ("empty", b""), ("list", b"[[[]]]")]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let output = kiln(&["report", &path.display().to_string()]);
        assert_eq!(code(&output), 3, "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains("report.json"), "{}", stderr(&output));
    }
    // A report whose parts are of other kinds than they should be is shown as far as it goes.
    let odd = folder.path().join("odd");
    let text = r#"{"kiln": "0", "variants": [3, {"cpu": 1}], "kernels": [7], "arena": [{"bytes": -1}], "shrink": {}}"#;
    std::fs::write(&odd, text).unwrap();
    done(&["report", &odd.display().to_string()]);
}
