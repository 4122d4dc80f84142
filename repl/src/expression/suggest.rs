//! What somebody may have meant.

/// The name that is most like `wrong`, if one is.
pub(crate) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (wrong.chars().count() / 3).clamp(1, 3);
    let ranked = names.into_iter().map(|name| (distance(wrong, name), name));
    ranked.filter(|(d, _)| *d <= most).min_by_key(|(d, _)| *d).map(|(_, name)| name)
}

/// `did you mean 'NAME'?`, or nothing.
pub(crate) fn hint<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, names).map_or_else(String::new, |name| format!("did you mean '{name}'?"))
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour; case counts half as nothing.
fn distance(a: &str, b: &str) -> usize {
    let lower = |s: &str| s.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (a, b) = (lower(a), lower(b));
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes() {
        let names = ["Relu", "Elu", "Softmax", "MatMul"];
        assert_eq!(nearest("relu", names), Some("Relu"));
        assert_eq!(nearest("Sotfmax", names), Some("Softmax"));
        assert_eq!(nearest("matmul", names), Some("MatMul"));
        assert_eq!(nearest("Conv", names), None);
    }
}
