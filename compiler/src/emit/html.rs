//! `NAME.report.html`: the report as a page, which needs nothing but itself: the arena over time, code by kernel, weights.

use std::fmt::Write as _;

use serde_json::Value;

/// Width of pictures, in points.
const WIDTH: f64 = 960.0;
/// Height of the picture of the arena.
const HEIGHT: f64 = 320.0;
/// Rows of a table that are shown at once.
const FIRST: usize = 40;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
td,th{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #ddd;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.9em}svg{width:100%;height:auto}\
.bar{background:#4a7fb5;height:.7rem}rect.slot:hover{fill:#d9822b}.dim{color:#777}";

/// The page of a report.
pub fn render(report: &Value) -> String {
    let mut out = String::new();
    let name = text(&report["name"]);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body>\n<h1>{name}</h1>\n\
         <p>for {}, {}</p>\n",
        text(&report["target"]),
        text(&report["cpu"]),
    );
    totals(&mut out, report);
    ways(&mut out, report);
    match report["kernels"].as_array() {
        Some(_) => details(&mut out, report),
        None => {
            for variant in list(&report["variants"]) {
                let _ = writeln!(out, "<h1>{}</h1>", text(&variant["cpu"]));
                details(&mut out, variant);
            }
        }
    }
    let _ = write!(
        out,
        "<p class=\"dim\">kiln {}, {}</p>\n</body></html>\n",
        text(&report["kiln"]),
        text(&report["hash"])
    );
    out
}

fn totals(out: &mut String, report: &Value) {
    let _ = writeln!(out, "<table><tr><th></th><th class=\"n\">bytes</th><th></th></tr>");
    let least = count(&report["arena_lower_bound_bytes"]);
    let arena = count(&report["arena_bytes"]);
    let over = if least > 0 {
        format!("{:.1} % of the {least} that are alive at one time", 100.0 * arena as f64 / least as f64)
    } else {
        String::new()
    };
    for (what, key, note) in [
        ("code", "code_bytes", ""),
        ("read-only data", "weights_bytes", ""),
        ("arena", "arena_bytes", &*over),
        ("stack of a call", "stack_bytes", ""),
        ("arrays of a call on the stack", "local_bytes", "the rest of the stack is the C compiler's"),
    ] {
        if report[key].is_null() && key == "local_bytes" {
            continue;
        }
        let bytes = report[key].as_u64().map_or("in text".to_owned(), |n| n.to_string());
        let _ = writeln!(out, "<tr><td>{what}</td><td class=\"n\">{bytes}</td><td>{note}</td></tr>");
    }
    let _ = writeln!(out, "</table>");
}

fn ways(out: &mut String, report: &Value) {
    let ways = list(&report["shrink"]);
    if ways.is_empty() {
        return;
    }
    let _ = writeln!(out, "<h2>What would make it smaller</h2><table>");
    for way in ways {
        let saves = match count(&way["saves_bytes"]) {
            0 => String::new(),
            n => format!("about {n}"),
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{saves}</td></tr>",
            text(&way["part"]),
            text(&way["what"])
        );
    }
    let _ = writeln!(out, "</table>");
}

fn details(out: &mut String, entry: &Value) {
    arena(out, entry);
    kernels(out, entry);
    weights(out, entry);
}

/// Buffers as rectangles: kernels from left to right, bytes from the bottom up.
fn arena(out: &mut String, entry: &Value) {
    let (slots, kernels) = (list(&entry["arena"]), list(&entry["kernels"]));
    let top = slots.iter().map(|s| count(&s["offset"]) + count(&s["bytes"])).max().unwrap_or(0);
    if top == 0 {
        return;
    }
    let (x, y) = (WIDTH / kernels.len().max(1) as f64, HEIGHT / top as f64);
    let _ = writeln!(
        out,
        "<h2>The arena over time</h2>\n<p>{top} bytes from the bottom up, {} kernels from left to right; the line is the peak.</p>\n\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#f4f4f4\"/>",
        kernels.len()
    );
    for (i, slot) in slots.iter().enumerate() {
        let (first, last) = (count(&slot["first_kernel"]) as f64, count(&slot["last_kernel"]) as f64);
        let (offset, bytes) = (count(&slot["offset"]) as f64, count(&slot["bytes"]) as f64);
        let _ = writeln!(
            out,
            "<rect class=\"slot\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"hsl({} 45% 62%)\" stroke=\"#fff\" \
             stroke-width=\".5\"><title>{}: {} bytes at {}, kernels {first} to {last}{}</title></rect>",
            first * x,
            HEIGHT - (offset + bytes) * y,
            (last - first + 1.0) * x,
            bytes * y,
            i * 67 % 360,
            text(&slot["name"]),
            bytes,
            offset,
            slot["over"].as_str().map_or(String::new(), |_| format!(", over {}", text(&slot["over"]))),
        );
    }
    let Some(peak) = entry["peak"].as_object() else {
        let _ = writeln!(out, "</svg>");
        return;
    };
    let (kernel, bytes) = (count(&peak["kernel"]), count(&peak["bytes"]));
    let at = (kernel as f64 + 0.5) * x;
    let _ =
        writeln!(out, "<line x1=\"{at:.2}\" x2=\"{at:.2}\" y1=\"0\" y2=\"{HEIGHT}\" stroke=\"#b00\"/></svg>");
    let _ = writeln!(
        out,
        "<p>Alive at the peak, kernel {kernel} <code>{}</code>, {bytes} bytes:</p>\n<table>",
        kernels.get(kernel as usize).map(|k| text(&k["name"])).unwrap_or_default(),
    );
    for slot in list(&peak["slots"]).iter().filter_map(|i| slots.get(count(i) as usize)) {
        let _ = writeln!(
            out,
            "<tr><td><code>{}</code></td><td class=\"n\">{}</td></tr>",
            text(&slot["name"]),
            count(&slot["bytes"])
        );
    }
    let _ = writeln!(out, "</table>");
}

fn kernels(out: &mut String, entry: &Value) {
    let mut kernels: Vec<&Value> = list(&entry["kernels"]).iter().collect();
    let most = kernels.iter().map(|k| count(&k["code_bytes"])).max().unwrap_or(0).max(1);
    kernels.sort_by_key(|k| std::cmp::Reverse((count(&k["code_bytes"]), count(&k["macs"]))));
    let rows = kernels.iter().map(|kernel| {
        let code = count(&kernel["code_bytes"]);
        format!(
            "<tr><td class=\"n\">{code}</td><td><div class=\"bar\" style=\"width:{:.1}%\"></div></td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td>{}</td><td><code>{}</code><br><span class=\"dim\">{}</span></td></tr>",
            100.0 * code as f64 / most as f64,
            count(&kernel["macs"]),
            count(&kernel["stack_bytes"]),
            text(&kernel["form"]),
            text(&kernel["name"]),
            text(&kernel["why"]),
        )
    });
    let head = "<th class=\"n\">code</th><th style=\"width:12rem\"></th><th class=\"n\">MACs</th><th class=\"n\">stack</th><th>form</th><th>kernel</th>";
    table(out, &format!("{} kernels", kernels.len()), head, rows.collect());
}

fn weights(out: &mut String, entry: &Value) {
    let mut weights: Vec<&Value> = list(&entry["weights"]).iter().collect();
    let most = weights.iter().map(|w| count(&w["bytes"])).max().unwrap_or(0).max(1);
    weights.sort_by_key(|w| std::cmp::Reverse(count(&w["bytes"])));
    let rows = weights.iter().map(|weight| {
        let bytes = count(&weight["bytes"]);
        format!(
            "<tr><td class=\"n\">{bytes}</td><td><div class=\"bar\" style=\"width:{:.1}%\"></div></td><td>{}{}</td>\
             <td><code>{}</code></td></tr>",
            100.0 * bytes as f64 / most as f64,
            text(&weight["dtype"]),
            text(&Value::String(weight["shape"].to_string())),
            text(&weight["name"]),
        )
    });
    let head = "<th class=\"n\">bytes</th><th style=\"width:12rem\"></th><th>type</th><th>weights</th>";
    table(out, &format!("{} weights", weights.len()), head, rows.collect());
}

/// A table whose later rows are folded away.
fn table(out: &mut String, title: &str, head: &str, rows: Vec<String>) {
    if rows.is_empty() {
        return;
    }
    let (first, rest) = rows.split_at(rows.len().min(FIRST));
    let _ = writeln!(out, "<h2>{title}</h2>\n<table><tr>{head}</tr>\n{}\n</table>", first.join("\n"));
    if !rest.is_empty() {
        let _ = writeln!(
            out,
            "<details><summary>{} more</summary><table>\n{}\n</table></details>",
            rest.len(),
            rest.join("\n")
        );
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A text as HTML has it. Names are a model's: they may hold anything.
fn text(value: &Value) -> String {
    let mut out = String::new();
    for c in value.as_str().unwrap_or_default().chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_no_markup_and_the_peak_is_told() {
        let slot = |name: &str, offset: u64, first: u64, last: u64| json!({ "name": name, "offset": offset, "bytes": 64, "first_kernel": first, "last_kernel": last, "over": null });
        let kernel =
            |name: &str| json!({ "name": name, "form": "map", "why": "", "code_bytes": 10, "macs": 7 });
        let report = json!({
            "name": "m", "target": "t", "cpu": "c", "kiln": "0", "hash": "h",
            "code_bytes": 20, "weights_bytes": 0, "arena_bytes": 128, "arena_lower_bound_bytes": 128,
            "kernels": [kernel("a"), kernel("<script>")],
            "arena": [slot("x\"y", 0, 0, 1), slot("z", 64, 1, 1)],
            "peak": { "kernel": 1, "bytes": 128, "slots": [0, 1] },
            "weights": [], "shrink": [{ "part": "arena", "what": "less", "saves_bytes": 3 }],
        });
        let page = render(&report);
        assert!(page.contains("kernel 1 <code>&lt;script&gt;</code>, 128 bytes"), "{page}");
        assert!(page.contains("x&quot;y: 64 bytes at 0, kernels 0 to 1"), "{page}");
        assert!(page.contains("about 3") && page.contains("100.0 % of the 128"), "{page}");
        assert!(!page.contains("<script") && page.matches("<rect class").count() == 2);
    }
}
