//! The table of qshape(1).

use std::fmt::Write;

use control::shape::{Row, Table};

/// Least width of the column of names, as in qshape.
const NAME_WIDTH_MIN: usize = 18;
/// Least width of the other columns.
const COUNT_WIDTH_MIN: usize = 3;
/// The width of the table, unless its columns need more.
pub(crate) const SHAPE_WIDTH: usize = 80;

/// The table with its heading, `width` columns wide; at most `rows` rows when a number is given. Widths
/// follow the heading and the row of totals, and names take what is left, as in qshape.
pub(crate) fn shape(table: &Table, width: usize, rows: Option<usize>) -> String {
    let mut heading = vec!["T".to_owned()];
    heading.extend(table.buckets().headings());
    let all = table.rows();
    let totals = all.iter().find(|row| row.name == "TOTAL").map(cells).unwrap_or_default();
    let widths: Vec<usize> = heading
        .iter()
        .zip(&totals)
        .map(|(heading, total)| COUNT_WIDTH_MIN.max(heading.len().max(total.len()) + 1))
        .collect();
    let name_width = NAME_WIDTH_MIN.max(width.saturating_sub(widths.iter().sum()));
    let mut out = line("", &heading, name_width, &widths);
    for row in all.iter().take(rows.unwrap_or(usize::MAX)) {
        out.push_str(&line(&row.name, &cells(row), name_width, &widths));
    }
    out
}

fn cells(row: &Row) -> Vec<String> {
    std::iter::once(&row.total).chain(&row.counts).map(u64::to_string).collect()
}

fn line(name: &str, cells: &[String], name_width: usize, widths: &[usize]) -> String {
    let mut line = format!("{:>name_width$}", short(name, name_width));
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(line, "{cell:>width$}");
    }
    line.push('\n');
    line
}

/// A name that is too long loses its beginning: `+` takes its place, in a parent's row `.+`.
fn short(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let mark = if name.starts_with('.') { ".+" } else { "+" };
    let kept = width - mark.len();
    format!("{mark}{}", name.chars().skip(length - kept).collect::<String>())
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
        assert_eq!(shape(&table, 0, None), expected);
        assert!(shape(&table, SHAPE_WIDTH, None).lines().all(|line| line.len() == SHAPE_WIDTH));
        assert_eq!(shape(&table, 0, Some(1)).lines().count(), 2);
    }
}
