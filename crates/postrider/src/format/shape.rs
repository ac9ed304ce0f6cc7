//! The table of qshape(1).

use std::borrow::Cow;

use control::shape::{Row, Table};

/// Least width of the column of names, as in qshape.
const NAME_WIDTH_MIN: usize = 18;
/// Least width of the other columns.
const COUNT_WIDTH_MIN: usize = 3;
/// Bytes that are written at once: what a pipe holds.
const PIECE: usize = 64 << 10;
/// The width of the table, unless its columns need more.
pub(crate) const SHAPE_WIDTH: usize = 80;

/// The table with its heading, `width` columns wide; at most `rows` rows when a number is given. Widths
/// follow the heading and the row of totals, and names take what is left, as in qshape.
/// `put` gets it in pieces, so that whoever reads it can begin.
pub(crate) fn shape<E>(
    table: &Table,
    width: usize,
    rows: Option<usize>,
    mut put: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let mut heading = vec!["T".to_owned()];
    heading.extend(table.buckets().headings());
    let all = table.rows();
    let totals = all.iter().find(|row| row.name == "TOTAL").map(cells).into_iter().flatten();
    let widths: Vec<usize> = heading
        .iter()
        .zip(totals)
        .map(|(heading, total)| COUNT_WIDTH_MIN.max(heading.len().max(total.to_string().len()) + 1))
        .collect();
    let name_width = NAME_WIDTH_MIN.max(width.saturating_sub(widths.iter().sum()));
    let rows = all.len().min(rows.unwrap_or(usize::MAX));
    let line = name_width + widths.iter().sum::<usize>() + 1;
    let mut out = String::with_capacity(PIECE + 2 * line);
    padded(&mut out, "", name_width);
    heading.iter().zip(&widths).for_each(|(heading, width)| padded(&mut out, heading, *width));
    out.push('\n');
    for row in &all[..rows] {
        padded(&mut out, &short(row.name, name_width), name_width);
        cells(row).zip(&widths).for_each(|(cell, width)| number(&mut out, cell, *width));
        out.push('\n');
        if out.len() >= PIECE {
            put(&out)?;
            out.clear();
        }
    }
    put(&out)
}

fn cells<'r>(row: &'r Row<'_>) -> impl Iterator<Item = u64> + 'r {
    std::iter::once(row.total).chain(row.counts.iter().copied())
}

fn padded(out: &mut String, text: &str, width: usize) {
    let length = if text.is_ascii() { text.len() } else { text.chars().count() };
    blanks(out, width.saturating_sub(length));
    out.push_str(text);
}

fn blanks(out: &mut String, mut count: usize) {
    const BLANKS: &str = "                                                                ";
    while count > 0 {
        let piece = count.min(BLANKS.len());
        out.push_str(&BLANKS[..piece]);
        count -= piece;
    }
}

/// A table of a hundred thousand sites has a million numbers, most of them 0.
fn number(out: &mut String, number: u64, width: usize) {
    match number {
        0..=9 => {
            blanks(out, width - 1);
            out.push(char::from(b'0' + number as u8));
        }
        _ => padded(out, &number.to_string(), width),
    }
}

/// A name that is too long loses its beginning: `+` takes its place, in a parent's row `.+`.
fn short(name: &str, width: usize) -> Cow<'_, str> {
    if name.len() <= width {
        return Cow::Borrowed(name);
    }
    let length = name.chars().count();
    if length <= width {
        return Cow::Borrowed(name);
    }
    let mark = if name.starts_with('.') { ".+" } else { "+" };
    let kept = width - mark.len();
    Cow::Owned(format!("{mark}{}", name.chars().skip(length - kept).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::shape::Buckets;
    use std::time::Duration;

    #[test]
    fn names_are_cut_on_the_left() {
        assert_eq!(short("a.test", 18), "a.test");
        assert_eq!(short("abcdefghijklmnopqrstuvwxyz", 18), "+jklmnopqrstuvwxyz");
        assert_eq!(short(".bcdefghijklmnopqrstuvwxyz", 18), ".+klmnopqrstuvwxyz");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(Buckets { count: 3, ..Buckets::default() });
        table.add("a.test", Duration::ZERO);
        table.add("a.test", Duration::from_secs(300));
        let expected = "                    T  5 10 10+\n\
                        \x20            TOTAL  2  1  1   0\n\
                        \x20           a.test  2  1  1   0\n";
        let text = |width, rows| {
            let mut text = String::new();
            let put = |piece: &str| -> Result<(), std::convert::Infallible> {
                text.push_str(piece);
                Ok(())
            };
            shape(&table, width, rows, put).unwrap();
            text
        };
        assert_eq!(text(0, None), expected);
        assert!(text(SHAPE_WIDTH, None).lines().all(|line| line.len() == SHAPE_WIDTH));
        assert_eq!(text(0, Some(1)).lines().count(), 2);
    }
}
