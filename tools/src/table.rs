//! Tables that fit the terminal.

use std::io::IsTerminal;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Width where there is no terminal to ask.
const DEFAULT_WIDTH: usize = 80;
/// No column that can give way gets narrower.
const LEAST: usize = 12;
const GAP: &str = "  ";

/// Room for a table.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Columns of characters.
    pub width: usize,
    /// Whether names may be shortened: for eyes, not where a program or a file takes them.
    pub elide: bool,
}

impl Room {
    /// That of the terminal behind stdout, or what `COLUMNS` says.
    pub fn of_stdout() -> Self {
        let asked = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let terminal = std::io::stdout().is_terminal();
        let found = || terminal_size::terminal_size().filter(|_| terminal).map(|(w, _)| usize::from(w.0));
        let elide = terminal || asked.is_some();
        Self { width: asked.or_else(found).unwrap_or(DEFAULT_WIDTH).max(40), elide }
    }
}

/// How a column uses its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// As wide as its widest entry, which is text.
    Text(&'static str),
    /// The same for numbers, which stand to the right.
    Number(&'static str),
    /// Names, shortened in the middle where there is no room.
    Name(&'static str),
    /// Sentences or lists, broken between words.
    Prose(&'static str),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Text(t) | Self::Number(t) | Self::Name(t) | Self::Prose(t) => t,
        }
    }

    fn gives_way(self, room: Room) -> bool {
        matches!(self, Self::Prose(_)) || (matches!(self, Self::Name(_)) && room.elide)
    }
}

/// The table's lines: a header, then one or more for each row.
pub fn lines(columns: &[Column], rows: &[Vec<String>], room: Room) -> Vec<String> {
    let header: Vec<String> = columns.iter().map(|c| c.title().to_owned()).collect();
    let widths = widths(columns, std::iter::once(&header).chain(rows), room);
    let mut out = Vec::new();
    for row in std::iter::once(&header).chain(rows) {
        let cells: Vec<Vec<String>> = (columns.iter().zip(row).zip(&widths))
            .map(|((column, cell), &width)| match column {
                Column::Prose(_) => wrap(cell, width),
                _ if cell.width() > width => vec![elide(cell, width)],
                _ => vec![cell.clone()],
            })
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(1);
        for line in 0..height {
            let mut text = String::new();
            for ((column, cell), &width) in columns.iter().zip(&cells).zip(&widths) {
                let part = cell.get(line).map_or("", String::as_str);
                let blank = " ".repeat(width.saturating_sub(part.width()));
                let right = matches!(column, Column::Number(_));
                text += &if right { format!("{blank}{part}") } else { format!("{part}{blank}") };
                text += GAP;
            }
            out.push(text.trim_end().to_owned());
        }
    }
    out
}

fn widths<'a>(
    columns: &[Column],
    rows: impl Iterator<Item = &'a Vec<String>> + Clone,
    room: Room,
) -> Vec<usize> {
    let natural = |i: usize| rows.clone().filter_map(|r| r.get(i)).map(|c| c.width()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..columns.len()).map(natural).collect();
    let giving: Vec<usize> = (0..columns.len()).filter(|&i| columns[i].gives_way(room)).collect();
    // The widest of those that give way are made equally wide.
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
    while total(&widths) > room.width {
        let Some(&widest) = giving.iter().max_by_key(|&&i| widths[i]) else { break };
        if widths[widest] <= LEAST {
            break;
        }
        widths[widest] -= 1;
    }
    widths
}

/// The text with its middle left out, `width` columns wide.
pub fn elide(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let keep = width.saturating_sub(1);
    let take = |chars: &mut dyn Iterator<Item = char>, room: usize| {
        let mut used = 0;
        let mut taken = Vec::new();
        for c in chars {
            used += c.width().unwrap_or(0);
            if used > room {
                break;
            }
            taken.push(c);
        }
        taken
    };
    let head = take(&mut text.chars(), keep.div_ceil(2));
    let mut tail = take(&mut text.chars().rev(), keep / 2);
    tail.reverse();
    head.into_iter().chain(['…']).chain(tail).collect()
}

/// The text in lines of at most `width` columns, unless a word is longer.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').flat_map(|word| parts(word, width)) {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last] = word;
        } else if lines[last].width() + 1 + word.width() <= width {
            lines[last] = format!("{} {word}", lines[last]);
        } else {
            lines.push(word);
        }
    }
    lines
}

/// A word that is too wide is broken behind its dots, as names of domains can be.
fn parts(word: &str, width: usize) -> Vec<String> {
    if word.width() <= width {
        return vec![word.to_owned()];
    }
    let mut parts = vec![String::new()];
    for piece in word.split_inclusive('.') {
        match parts.last_mut() {
            Some(last) if last.is_empty() || last.width() + piece.width() <= width => last.push_str(piece),
            _ => parts.push(piece.to_owned()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|c| (*c).to_owned()).collect()
    }

    #[test]
    fn lines_break_between_words_and_behind_dots() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("ai.onnx.preview.training", 16), ["ai.onnx.preview.", "training"]);
        assert_eq!(wrap("a longest_word.b", 8), ["a", "longest_word.", "b"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [row(&["Conv", "1"]), row(&["ReduceMean", "13"])];
        let columns = [Column::Text("name"), Column::Number("since")];
        let room = Room { width: 80, elide: true };
        assert_eq!(
            lines(&columns, &rows, room),
            ["name        since", "Conv            1", "ReduceMean     13"]
        );
    }

    #[test]
    fn names_are_shortened_for_eyes_only() {
        let name = "/model/encoder/layer.11/attention/self/query/MatMul";
        let rows = [row(&["1.0", name]), row(&["200.5", "y"])];
        let columns = [Column::Number("us"), Column::Name("kernel")];
        let fits = lines(&columns, &rows, Room { width: 40, elide: true });
        assert!(fits.iter().all(|l| l.width() <= 40), "{fits:?}");
        assert_eq!(fits[1], "  1.0  /model/encoder/l…elf/query/MatMul");
        let whole = lines(&columns, &rows, Room { width: 40, elide: false });
        assert!(whole[1].ends_with(name));
    }

    #[test]
    fn prose_is_broken_between_words() {
        let rows = [row(&["Pad", "pads that are computed at run time; modes other than constant"])];
        let columns = [Column::Text("name"), Column::Prose("unsupported")];
        assert_eq!(
            lines(&columns, &rows, Room { width: 40, elide: false }),
            [
                "name  unsupported",
                "Pad   pads that are computed at run",
                "      time; modes other than constant"
            ]
        );
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(elide("層層層層層層", 7), "層…層");
        assert_eq!(elide("ab", 7), "ab");
    }
}
