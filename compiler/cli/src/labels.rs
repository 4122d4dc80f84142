//! What samples show: a label for each, in a text file or a `.npy`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kiln_ir::{Error, Result, bail_invalid};

use kiln_tools::npy;

/// Reads the labels of `count` samples. A line is a label, in the order of the samples, or the name of a file and a label;
/// `files` are those of a folder of images.
pub(super) fn read(path: &Path, count: usize, files: Option<&[PathBuf]>) -> Result<Vec<i64>> {
    let found = if path.extension().is_some_and(|e| e == "npy") {
        npy::read(path)?
            .to_i64s()
            .map_err(|e| Error { message: format!("{}: {}", path.display(), e.message), ..e })?
    } else {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::invalid(format!("cannot read {}: {e}", path.display())))?;
        parse(&text, files)
            .map_err(|e| Error { message: format!("{}: {}", path.display(), e.message), ..e })?
    };
    if found.len() != count {
        bail_invalid!("{} holds {} labels, and there are {count} samples", path.display(), found.len());
    }
    Ok(found)
}

fn parse(text: &str, files: Option<&[PathBuf]>) -> Result<Vec<i64>> {
    let mut in_order = Vec::new();
    let mut named: HashMap<&str, i64> = HashMap::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let (name, label) = match line.trim().rsplit_once([',', '\t', ' ']) {
            Some((name, label)) => (Some(name.trim()), label),
            None => (None, line.trim()),
        };
        let label: i64 = label
            .trim()
            .parse()
            .map_err(|_| Error::invalid(format!("line {}: '{label}' is not the number of a class", i + 1)))?;
        match name {
            Some(name) => _ = named.insert(name, label),
            None => in_order.push(label),
        }
    }
    match (named.is_empty(), files) {
        (true, _) => Ok(in_order),
        (false, _) if !in_order.is_empty() => bail_invalid!("some lines name a file and others do not"),
        (false, None) => bail_invalid!("lines name files, and the data is no folder of images"),
        (false, Some(files)) => files
            .iter()
            .map(|file| {
                let own = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                let known = named.get(own).copied();
                known.ok_or_else(|| Error::invalid(format!("there is no label for {own}")))
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_or_by_name() {
        assert_eq!(parse("3\n\n 4 \n", None).unwrap(), [3, 4]);
        let files = ["d/b.png", "d/a b.png"].map(PathBuf::from);
        assert_eq!(parse("a b.png,7\nb.png 2\nother.png 5", Some(&files)).unwrap(), [2, 7]);
        for (text, files) in
            [("x", None), ("a.png 1", None), ("1\na.png 1", Some(&files[..])), ("c 1", Some(&files))]
        {
            assert!(parse(text, files).is_err(), "{text}");
        }
    }
}
