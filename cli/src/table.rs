//! Tables and lists of facts as aligned text.
//!
//! Job: lays out cells; nothing else. In: cells with a [`Tone`]. Out: text with two spaces between columns.
//! Must not: cut values (a shortened measurement is made by the caller, with [`shortened`]) or trust their
//! characters.

use crate::console::{Paint, Tone, printable};

/// One cell: text and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in a tone.
    pub fn new(tone: Tone, text: impl AsRef<str>) -> Self {
        Self { text: printable(text.as_ref()).into_owned(), tone }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Tone::Plain, text)
    }
}

/// A table, with a head line or without.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these column names.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        let head = head.iter().map(|name| Cell::new(Tone::Dim, name)).collect();
        Self { rows: vec![head] }
    }

    /// A table without a head line.
    pub fn headless() -> Self {
        Self::default()
    }

    /// Adds a row; a missing cell is empty.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// The table as text, each line ended.
    pub fn render(&self, paint: Paint) -> String {
        layout(&self.rows, paint, "")
    }
}

/// A list of labelled facts: `label  value`.
#[derive(Debug, Default)]
pub struct Facts {
    rows: Vec<Vec<Cell>>,
}

impl Facts {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fact.
    pub fn add(&mut self, label: &str, value: impl Into<Cell>) {
        self.rows.push(vec![Cell::new(Tone::Dim, label), value.into()]);
    }

    /// The list as text, each line indented by two spaces and ended.
    pub fn render(&self, paint: Paint) -> String {
        layout(&self.rows, paint, "  ")
    }
}

fn layout(rows: &[Vec<Cell>], paint: Paint, indent: &str) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(Cell::width).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        text.push_str(indent);
        let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate().take(last + 1) {
            text.push_str(&paint.text(cell.tone, &cell.text));
            // No trailing blanks: results get compared and pasted.
            if column < last {
                text.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
            }
        }
        text.push('\n');
    }
    text
}

/// A long hex value as its first 12 and last 6 digits; short values unchanged. JSON output has all digits.
pub fn shortened(hex: &str) -> String {
    let count = hex.chars().count();
    if count <= 24 {
        return hex.to_owned();
    }
    let head: String = hex.chars().take(12).collect();
    let tail: String = hex.chars().skip(count - 6).collect();
    format!("{head}…{tail}")
}

/// A byte count for people: `1023 B`, `4.0 KiB`, `2.5 GiB`.
pub fn byte_count(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("PiB");
    format!("{value:.1} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(["KEY", "EPOCH", "POLICY"]);
        table.row(["kbs:///acme/model-key/kjv".into(), "1".into(), "yes".into()]);
        table.row(["kbs:///a/b/c".into(), "12".into(), "".into()]);
        assert_eq!(
            table.render(Paint::Plain),
            "KEY                        EPOCH  POLICY\n\
             kbs:///acme/model-key/kjv  1      yes\n\
             kbs:///a/b/c               12\n"
        );
    }

    #[test]
    fn colour_does_not_change_the_alignment() {
        let mut table = Table::new(["A", "B"]);
        table.row([Cell::new(Tone::Good, "✓ ok"), "x".into()]);
        let colored = table.render(Paint::Colored);
        assert!(colored.contains("\u{1b}["), "{colored:?}");
        let mut plain = String::new();
        let mut rest = colored.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').map_or("", |(_, tail)| tail);
        }
        plain.push_str(rest);
        assert_eq!(plain, table.render(Paint::Plain));
    }

    #[test]
    fn control_characters_from_outside_are_shown_not_sent() {
        let mut facts = Facts::new();
        facts.add("name", "evil\u{1b}[2J\u{202e}gnp");
        assert_eq!(facts.render(Paint::Plain), "  name  evil\\u{1b}[2J\\u{202e}gnp\n");
    }

    #[test]
    fn long_hex_keeps_both_ends() {
        assert_eq!(shortened(&"ab".repeat(48)), "abababababab…ababab");
        assert_eq!(shortened("00ff"), "00ff");
    }

    #[test]
    fn byte_counts_change_unit_before_they_read_1024() {
        assert_eq!(byte_count(0), "0 B");
        assert_eq!(byte_count(1023), "1023 B");
        assert_eq!(byte_count(4096), "4.0 KiB");
        assert_eq!(byte_count(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(byte_count(5 * 1024 * 1024 * 1024 / 2), "2.5 GiB");
        assert_eq!(byte_count(u64::MAX), "16384.0 PiB");
    }
}
